"""Sweeps: every combination is a run, and a job that fails does not stop the others."""

import json
from datetime import datetime

import pytest
from support.commands import TINY, Ended, train

from dl_lab.sweeps import vectorized_launcher
from dl_lab.vectorized.autotune import StackSize
from dl_lab.vectorized.engine import StackedRuns

FILES = {"metrics.jsonl", "summary.json", *(f"checkpoints/{name}.pt" for name in ("best", "last", "previous"))}


def is_complete(ended: Ended, number: int) -> bool:
    names = {str(path.relative_to(ended.runs[number])) for path in ended.runs[number].rglob("*") if path.is_file()}
    return names >= {*FILES, ".hydra/config.yaml", ".hydra/overrides.yaml"} and len(names) == 8


def summaries(ended: Ended) -> list[dict[str, object]]:
    return [json.loads((run / "summary.json").read_text()) for run in ended.runs]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return train(tmp_path_factory.mktemp("good"), "-m", "optimizer=sgd,adam", "seed=range(2)", *TINY)


def test_a_sweep_has_one_numbered_run_folder_per_combination(good):
    assert good.status == 0
    assert good.err == ""
    assert [run.name for run in good.runs] == ["0", "1", "2", "3"]
    assert len({run.parent for run in good.runs}) == 1
    outputs, sweeps, date, time = good.runs[0].parent.parts[-4:]
    assert (outputs, sweeps) == ("outputs", "sweeps")
    assert datetime.strptime(f"{date} {time}", "%Y-%m-%d %H-%M-%S") <= datetime.now()
    # no other folder in that of the sweep, and no empty folder of a single run beside it
    assert sum(path.is_dir() for path in good.runs[0].parent.iterdir()) == 4
    assert list(good.runs[0].parents[3].iterdir()) == [good.runs[0].parents[2]]


def test_every_job_is_a_complete_run_with_its_own_choices(good):
    assert all(is_complete(good, number) for number in range(4))
    assert [summary["status"] for summary in summaries(good)] == ["completed"] * 4
    assert [summary["seed"] for summary in summaries(good)] == [0, 1, 0, 1]
    chosen = [(run / ".hydra" / "overrides.yaml").read_text() for run in good.runs]
    assert ["optimizer=sgd" in text for text in chosen] == [True, True, False, False]
    assert len({(run / "metrics.jsonl").read_bytes() for run in good.runs}) == 4


def test_a_job_of_a_sweep_equals_a_single_run(good, tmp_path):
    alone = train(tmp_path, "optimizer=adam", "seed=1", *TINY)
    assert (good.runs[3] / "metrics.jsonl").read_bytes() == (alone.run / "metrics.jsonl").read_bytes()


def test_a_sweep_prints_each_job_and_the_commands_that_show_it(good):
    first, *told = [line for line in good.out.splitlines() if line.startswith(("#", "4 jobs"))]
    assert first == f"4 jobs in {good.runs[0].parent}"
    assert [line.split()[:4] for line in told] == [
        ["#0", "optimizer=sgd", "seed=0", "val/loss"],
        ["#1", "optimizer=sgd", "seed=1", "val/loss"],
        ["#2", "optimizer=adam", "seed=0", "val/loss"],
        ["#3", "optimizer=adam", "seed=1", "val/loss"],
    ]
    where = good.out.splitlines()[-2].removeprefix("look     tensorboard --logdir ")
    started_in = good.runs[0].parents[4]
    assert started_in / where == good.runs[0].parent


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Invalid choices (#0 to #5), incompatible pairs (#6 to #8), and an invalid value (#10) between two valid jobs."""
    axes = ("optimizer=adamm,adam", "model=cnn,mlp", "optimizer.lr=0.01,-1,0.02")
    return train(tmp_path_factory.mktemp("mixed"), "-m", *axes, *TINY)


REASONS = {
    0: "optimizer=adamm is not known (nearest: adam)",
    6: "model=cnn does not fit dataset=iris",
    7: "optimizer.lr=-1 is not allowed",
    10: "optimizer.lr=-1 is not allowed; allowed: a number above 0",
}


def test_valid_jobs_complete_among_invalid_ones(mixed):
    ended = {int(run.name): summary for run, summary in zip(mixed.runs, summaries(mixed), strict=True)}
    assert sorted(ended) == list(range(12))
    completed = [number for number in sorted(ended) if ended[number]["status"] == "completed"]
    assert completed == [9, 11]
    for place, run in enumerate(mixed.runs):
        if int(run.name) in completed:
            assert is_complete(mixed, place)


def test_invalid_jobs_are_listed_at_the_end_and_the_exit_status_is_1(mixed):
    assert mixed.status == 1
    assert "Traceback" not in mixed.err
    head, *lines = mixed.err.splitlines()[-11:]
    assert head == "10 of 12 jobs failed:"
    assert [int(line.split()[0].removeprefix("#")) for line in lines] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    named = {int(line.split()[0].removeprefix("#")): line for line in lines}
    for number, reason in REASONS.items():
        assert reason in named[number]
    assert "model=mlp optimizer.lr=-1" in named[10].replace("optimizer=adam ", "")


def test_an_invalid_job_leaves_only_a_summary_with_its_reason(mixed):
    for run, summary in zip(mixed.runs, summaries(mixed), strict=True):
        if summary["status"] != "completed":
            assert summary["status"] == "failed"
            assert REASONS.get(int(run.name), "") in summary["reason"]
            assert "allowed: " in summary["reason"]
            assert [path.name for path in run.iterdir()] == ["summary.json"]


def test_a_diverged_job_does_not_stop_the_others(tmp_path):
    ended = train(
        tmp_path, "-m", "optimizer.lr=1e9,0.01", "dataset=diabetes", "model=linear", "optimizer=sgd", "train.steps=200"
    )
    assert ended.status == 1
    assert [summary["status"] for summary in summaries(ended)] == ["diverged", "completed"]
    assert ended.err.splitlines()[-2] == "1 of 2 jobs failed:"
    assert "diverged" in ended.err.splitlines()[-1]


def test_an_unknown_key_is_an_error_before_any_job_runs(tmp_path):
    ended = train(tmp_path, "-m", "optimizer.lr=0.1,0.2", "optimizer.learning_rate=1")
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: optimizer.learning_rate is not a key; allowed: ")
    assert list((tmp_path / "outputs").rglob("*")) == []


def test_a_job_retried_after_an_out_of_memory_split_is_printed_once(tmp_path, monkeypatch):
    step = StackedRuns.step

    def with_little_memory(self: StackedRuns, *batch: object) -> None:
        if len(self.plans) > 2 and self.step_number == 1:
            raise RuntimeError("CUDA out of memory")
        step(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(StackedRuns, "step", with_little_memory)
    monkeypatch.setattr(vectorized_launcher, "fastest", lambda plans, states, processes: StackSize(len(plans), 1))
    here = ("hydra/launcher=vectorized", "hydra.launcher.processes=1")
    ended = train(tmp_path, "-m", *here, "seed=range(4)", *TINY)
    assert "in halves" in ended.out
    told = [line.split()[0] for line in ended.out.splitlines() if line.startswith("#")]
    assert sorted(told) == ["#0", "#1", "#2", "#3"]


@pytest.mark.parametrize("made_by_user", [True, False])
def test_a_refused_sweep_leaves_only_folders_that_it_did_not_make(tmp_path, made_by_user):
    folder = tmp_path / "mine" / "sweep"
    if made_by_user:
        folder.mkdir(parents=True)
    assert train(tmp_path, "-m", "dataset=iris", "train.steps=-1", "seed=0,1", f"hydra.sweep.dir={folder}").status == 2
    assert list(tmp_path.rglob("*")) == ([folder.parent, folder] if made_by_user else [])
