"""The manifest of a sweep records how every job ended, whatever happens."""

import json
import threading
from datetime import datetime

import pytest
from filelock import FileLock
from support.commands import TINY, Ended, on_terminal, train
from support.sweeps import plant

from dl_lab.runs import folders
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.sweeps.manifest import Entry, Manifest

KINDS = {
    36: ("failed", "ZeroDivisionError: division by zero"),
    37: ("failed", "model.width=37 is not allowed; allowed: another"),
    38: ("failed", "there is not enough memory; hint: "),
    39: ("diverged", "the gradient norm is nan at step 1; hint: lower optimizer.lr"),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """40 jobs, five of each of four kinds of failure among them."""
    folder = tmp_path_factory.mktemp("planted")
    plant(folder)
    own = ("--config-dir", "own", "imports=[planted_models]", "model=planted")
    short = ("dataset=iris", "train.steps=1", "train.batch_size=5")
    return train(folder, "-m", *own, "model.width=range(32,40)", "seed=range(5)", *short)


def jobs_of(ended: Ended) -> list[dict[str, object]]:
    (path,) = {run.parent / "sweep.json" for run in ended.runs}
    return json.loads(path.read_text())["jobs"]


def test_20_failures_of_40_jobs_are_recorded_with_reasons_and_the_others_complete(planted):
    assert planted.status == 1
    jobs = jobs_of(planted)
    assert [job["number"] for job in jobs] == list(range(40))
    for job in jobs:
        width = 32 + job["number"] // 5
        status, reason = KINDS.get(width, ("completed", None))
        assert (job["status"], job["folder"]) == (status, str(job["number"]))
        assert job["reason"] is None if reason is None else job["reason"].startswith(reason)
        assert "\n" not in str(job["reason"])


def test_the_last_lines_list_every_failed_job(planted):
    head, *lines = planted.err.splitlines()[-21:]
    assert head == "20 of 40 jobs failed:"
    assert [int(line.split()[0].removeprefix("#")) for line in lines] == list(range(20, 40))
    assert all(KINDS[36 + place // 5][1] in line for place, line in enumerate(lines))


def test_the_same_traceback_is_printed_once(planted):
    assert planted.err.count("Traceback") == 1
    assert planted.err.count("print(1 / 0)") == 1


def test_the_manifest_agrees_with_the_run_folders(planted):
    for job, run in zip(jobs_of(planted), sorted(planted.runs, key=lambda run: int(run.name)), strict=True):
        summary = json.loads((run / "summary.json").read_text())
        assert summary["status"] == job["status"]
        assert summary.get("seconds") == job["seconds"]
        best = summary.get("best") or {}
        assert job["metrics"] == {name: value for name, value in best.items() if name != "epoch"}
        assert job["status"] != "completed" or set(job["metrics"]) > {"loss", "accuracy", "step"}


def test_the_manifest_records_the_command_and_overrides(tmp_path):
    ended = train(tmp_path, "-m", "optimizer.lr=0.1,0.2", "sweep.fail_fast=true", "train.best=accuracy", *TINY)
    saved = json.loads((ended.runs[0].parent / "sweep.json").read_text())
    assert saved["version"] == 2
    assert saved["command"].startswith("python -m dl_lab.train -m optimizer.lr=0.1,0.2 sweep.fail_fast=true")
    assert datetime.fromisoformat(saved["started"]) <= datetime.now()
    assert saved["objective"] == "val/accuracy"
    assert saved["search"] is None
    assert [job["overrides"][:2] for job in saved["jobs"]] == [
        [f"optimizer.lr={lr}", "train.best=accuracy"] for lr in (0.1, 0.2)
    ]
    # the settings of the sweep are not part of a run
    assert "sweep" not in (ended.runs[0] / ".hydra" / "config.yaml").read_text()
    assert "sweep" not in (ended.runs[0] / ".hydra" / "overrides.yaml").read_text()


def test_a_job_that_cannot_be_composed_fails_alone(tmp_path):
    ended = train(tmp_path, "-m", "model=3,mlp", *TINY)
    assert ended.status == 1
    assert "1 of 2 jobs failed:\n  #0" in ended.err
    assert [json.loads((run / "summary.json").read_text())["status"] for run in ended.runs] == ["failed", "completed"]


def test_fail_fast_ends_the_sweep_at_the_first_failure(tmp_path):
    ended = train(tmp_path, "-m", "optimizer.lr=0.1,-1,0.2", "sweep.fail_fast=true", *TINY)
    assert ended.status == 1
    assert [job["status"] for job in jobs_of(ended)] == ["completed", "failed", "pending"]
    assert "sweep.fail_fast=true" in ended.err
    assert ended.err.splitlines()[-1].startswith("  #1  optimizer.lr=-1")


def test_jobs_that_differ_only_in_the_device_are_separate_jobs(tmp_path):
    jobs = jobs_of(train(tmp_path, "-m", "device=cpu,auto", "seed=1", *TINY))
    assert [(job["number"], job["overrides"][0]) for job in jobs] == [(0, "device=cpu"), (1, "device=auto")]
    assert jobs[0]["signature"] == jobs[1]["signature"]


def test_two_sweeps_started_in_the_same_second_have_different_folders(tmp_path, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(folders, "datetime", Clock)
    first = train(tmp_path, "-m", "seed=1", *TINY)
    both = train(tmp_path, "-m", "seed=1", *TINY)
    assert first.status == both.status == 0
    assert [run.parent.name for run in both.runs] == ["03-04-05", "03-04-05-1"]
    made: list[str] = []
    at_once = [threading.Thread(target=lambda: made.append(reserve_run_folder(str(tmp_path)))) for _ in range(16)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    assert len(set(made)) == 16


def test_a_new_sweep_in_the_folder_of_another_is_rejected(tmp_path):
    once = train(tmp_path, "-m", "hydra.sweep.dir=here", "seed=1", *TINY)
    again = train(tmp_path, "-m", "hydra.sweep.dir=here", "seed=2", *TINY)
    assert (once.status, again.status) == (0, 2)
    assert again.err == f"error: hydra.sweep.dir={tmp_path}/here already holds a sweep; " + (
        f"hint: sweep.resume={tmp_path}/here\n"
    )


def test_a_sweep_that_another_process_writes_is_rejected(tmp_path):
    train(tmp_path, "-m", "hydra.sweep.dir=here", "seed=1", *TINY)
    with FileLock(tmp_path / "here" / ".lock"):
        ended = train(tmp_path, "-m", "sweep.resume=here", "seed=2", *TINY)
    assert ended.status == 2
    assert ended.err == f"error: {tmp_path}/here is being written by another sweep; hint: choose another folder\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("sweep.trials=3",), "sweep.trials is not a key"),
        (("sweep.resume=nowhere",), "sweep.resume=nowhere holds no sweep.json; allowed: the folder of a sweep"),
        (("sweep.fail_fast=perhaps",), "sweep.fail_fast=perhaps is not allowed; allowed: true or false"),
        (("sweep.prune=hope",), "sweep.prune=hope is not known; allowed: asha, median, none"),
        (("sweep.prune=median",), "sweep.prune=median compares runs while they train; hint: hydra/launcher="),
        (("sweep=randon",), "sweep=randon is not known (nearest: random)"),
        (("optimizer.lr=interval(0,1)",), "optimizer.lr=interval(0,1) is not a list of values; hint: sweep=random or"),
        (("sweep=random",), "sweep=random has nothing to search over; hint: for example"),
        (("seed=range(5,1)",), "seed=range(5,1) is not allowed; allowed: 1 to 100000 values"),
        (("seed=range(0,1e12)",), "seed=range(0,1e12) is not allowed; allowed: 1 to 100000 values"),
        (("seed=range(0,nan)",), "seed=range(0,nan) is not allowed; allowed: 1 to 100000 values"),
        (("seed=range(1,5,0)",), "seed=range(1,5,0) is not allowed; allowed: a step that is not 0"),
        (("model=glob(zzz*)",), "model=glob(zzz*) is not allowed; allowed: 1 to 100000 values"),
        (("seed=range(400)", "train.epochs=range(1,400)"), "400 x 399 jobs are too many; allowed: up to 100000"),
        (("sweep=optuna", "seed=range(1,1)"), "seed=range(1,1) is not allowed; allowed: 1 to 100000 values"),
        (("sweep=random", "optimizer.lr=interval(1,inf)"), "optimizer.lr=interval(1,inf) is not allowed; allowed: int"),
        (("sweep=random", "sweep.trials=0"), "sweep.trials=0 is not allowed; allowed: a whole number from 1 to 100000"),
        (
            ("sweep=random", "optimizer.lr=interval(1,0)"),
            "optimizer.lr=interval(1,0) is not allowed; allowed: interval",
        ),
        (("sweep=random", "optimizer.lr=tag(log,interval(0,1))"), "optimizer.lr=tag(log,interval(0,1)) is not allowed"),
        (("sweep=random", "seed=tag(log,range(1,5))"), "seed=tag(log,range(1,5)) is not an interval; allowed: tag("),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_in_a_sweep_is_one_line_before_any_job_runs(tmp_path, arguments, told):
    ended = train(tmp_path, "-m", *arguments)
    assert ended.status == 2
    assert ended.err.startswith(f"error: {told}")
    assert ended.err.count("\n") == 1
    assert list((tmp_path / "outputs").rglob("*")) == []


def test_a_single_run_rejects_keys_of_a_sweep(tmp_path):
    ended = train(tmp_path, "sweep.fail_fast=true", *TINY)
    assert ended.status == 2
    assert ended.err == "error: sweep.fail_fast=true applies to sweeps only; hint: -m starts a sweep\n"


def test_many_changes_share_few_writes(tmp_path, monkeypatch):
    writes: list[int] = []
    write = Manifest.write
    monkeypatch.setattr(Manifest, "write", lambda self: (writes.append(1), write(self)))
    kept = Manifest(tmp_path, "command")
    for number in range(500):
        kept.add(Entry(number=number, overrides=[], signature="", folder=str(number)))
        kept.write_soon()
    kept.write()
    assert len(json.loads((tmp_path / "sweep.json").read_text())["jobs"]) == 500
    assert len(writes) < 10


def test_an_unreadable_manifest_is_a_one_line_error(tmp_path):
    train(tmp_path, "-m", "hydra.sweep.dir=here", "seed=1", *TINY)
    (tmp_path / "here" / "sweep.json").write_text("{")
    ended = train(tmp_path, "-m", "sweep.resume=here", "seed=1", *TINY)
    assert ended.status == 2
    assert ended.err.startswith(f"error: {tmp_path}/here/sweep.json is damaged; hint: ")


def test_a_terminal_shows_one_bar_that_counts_running_and_failed_jobs(tmp_path):
    ended = []
    asked = ("-m", "optimizer.lr=0.1,-1,0.2", *TINY)
    written = on_terminal(lambda terminal: ended.append(train(tmp_path, *asked, terminal=terminal)))
    assert ended[0].status == 1
    assert "0/3 [00:00<?, ?job/s" in written
    assert "3/3 [" in written
    assert "1 running, 0 failed" in written
    assert "0 running, 1 failed" in written
    assert "error: #1  optimizer.lr=-1 is not allowed" in written
    told = [line.split()[0] for line in ended[0].out.splitlines() if line[0] != " "]
    assert told == ["3", "#0", "#2", "ranked", "sweep", "look", "compare"]
