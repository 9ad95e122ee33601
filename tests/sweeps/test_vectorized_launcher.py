"""hydra/launcher=vectorized: each member of a stack ends, fails, stops and continues like a single run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.commands import TINY, Ended, train
from support.configs import parsed
from support.sweeps import add_model, assert_close, by_number, metrics

from dl_lab.core import devices
from dl_lab.core.signals import Signals
from dl_lab.sweeps import vectorized_launcher
from dl_lab.training import setup
from dl_lab.vectorized import autotune
from dl_lab.vectorized.autotune import StackSize
from dl_lab.vectorized.engine import StackedRuns

VECTORIZED = ("-m", "hydra/launcher=vectorized", "hydra.launcher.processes=1")


OWN = """
from dl_lab.models.linear import Linear, LinearConfig
from dl_lab.registry import MODELS


@MODELS.register("{name}", LinearConfig, kinds={{"features"}})
class Own(Linear):
    def forward(self, inputs):
        {forward}
"""


@pytest.fixture(autouse=True)
def a_stack_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes one second, of a single run or of a stack, so that the clock decides nothing."""

    def one_second(step: autotune.Callable[[], object]) -> float:
        step()
        return 1.0

    monkeypatch.setattr(autotune, "seconds_of", one_second)


def summaries(ended: Ended) -> list[dict[str, object]]:
    return [json.loads((run / "summary.json").read_text()) for run in by_number(ended)]


def test_similar_jobs_form_a_stack_and_the_others_run_alone_with_a_reason(tmp_path):
    ended = train(tmp_path, *VECTORIZED, "optimizer=sgd,lbfgs,muon", "seed=range(3)", *TINY)
    assert (ended.status, ended.err) == (0, "")
    muon = 3 if hasattr(torch.optim, "Muon") else None
    assert [summary.get("together") for summary in summaries(ended)] == [3, 3, 3, None, None, None, *[muon] * 3]
    assert [summary["status"] for summary in summaries(ended)] == ["completed"] * 9
    assert "together: 3 runs as one stack" in ended.out
    assert "alone: 3 jobs, #3 #4 #5 (optimizer=lbfgs has no rule for a stack)" in ended.out


def test_folds_of_equal_size_form_a_stack_and_train_as_alone(tmp_path):
    """Of 121 rows outside the test split, the first of five folds has 25 and the others 24."""
    keys = ("dataset.test=29", "dataset.folds=5", *TINY)
    ended = train(tmp_path / "sweep", *VECTORIZED, "dataset.fold=range(5)", "seed=1,2", *keys)
    assert (ended.status, ended.err) == (0, "")
    assert [summary.get("together") for summary in summaries(ended)] == [2, 2, *[8] * 8]
    assert "apart: training splits of sizes 96 and 97 do not share a stack" in ended.out
    alone = train(tmp_path / "alone", "dataset.fold=3", "seed=2", *keys)
    assert_close(metrics(by_number(ended)[7]), metrics(alone.run))


def test_a_member_has_the_files_and_metrics_of_a_single_run(tmp_path):
    ended = train(tmp_path / "sweep", *VECTORIZED, "optimizer.lr=0.01,0.001", "seed=1,2", *TINY)
    alone = train(tmp_path / "alone", "optimizer.lr=0.001", "seed=2", *TINY)
    last = by_number(ended)[-1]
    names = [
        {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and "tfevents" not in path.name}
        for run in (last, alone.run)
    ]
    assert [path.parent.name for path in last.rglob("*tfevents*")] == ["lr=0.001 seed=2"]
    assert names[0] == names[1] - {"checkpoints/previous.pt"}  # a stack saves less often than it validates
    assert_close(metrics(last), metrics(alone.run))
    differing = {"together", "seconds", "best", "last", "test"}
    ours, theirs = summaries(ended)[-1], alone.summary
    assert {key: ours[key] for key in theirs.keys() - differing - {"command"}} == {
        key: theirs[key] for key in theirs.keys() - differing - {"command"}
    }
    assert ours["test"] == pytest.approx(theirs["test"], rel=1e-5)


def test_a_diverged_member_does_not_change_the_others(tmp_path):
    ended = train(tmp_path / "sweep", *VECTORIZED, "optimizer=sgd", "optimizer.lr=0.1,1e30", "seed=1,2", *TINY)
    alone = train(tmp_path / "alone", "optimizer=sgd", "optimizer.lr=0.1", "seed=2", *TINY)
    assert ended.status == 1
    assert [summary["status"] for summary in summaries(ended)] == ["completed", "completed", "diverged", "diverged"]
    assert "hint: lower optimizer.lr=1e+30" in ended.err
    assert_close(metrics(by_number(ended)[1]), metrics(alone.run))


def test_each_member_has_its_own_patience(tmp_path):
    often = ("train.steps=40", "train.validate_every=2", "train.best=accuracy", "train.patience=2")
    ended = train(tmp_path / "sweep", *VECTORIZED, "optimizer.lr=0.0001,0.01", *TINY, *often)
    steps = []
    for number, lr in enumerate(("0.0001", "0.01")):
        alone = train(tmp_path / lr, f"optimizer.lr={lr}", *TINY, *often)
        assert_close(metrics(by_number(ended)[number]), metrics(alone.run))
        assert summaries(ended)[number]["reason"] == alone.summary["reason"]
        steps.append(summaries(ended)[number]["steps"])
    assert steps[0] != steps[1]


def test_an_invalid_job_is_rejected_and_the_others_train(tmp_path):
    ended = train(tmp_path, *VECTORIZED, "train.batch_size=10,5000", "seed=1,2", *TINY[:-1])
    assert ended.status == 1
    assert [s["status"] for s in summaries(ended)] == ["completed", "completed", "failed", "failed"]
    assert ended.err.count("train.batch_size=5000 is not allowed") >= 2


def test_a_model_that_vmap_does_not_support_trains_alone(tmp_path):
    forward = "outputs = super().forward(inputs)\n        return outputs if outputs.sum() > 0 else 2 * outputs"
    add_model(tmp_path, "odd", OWN.format(name="odd", forward=forward), "bias: true")
    own = ("imports=[odd]", "model=odd")
    ended = train(tmp_path, "--config-dir", "own", *VECTORIZED, *own, "seed=1,2", *TINY)
    assert [summary["status"] for summary in summaries(ended)] == ["completed"] * 2
    assert "alone: 2 jobs, #0 #1 (its computation cannot be stacked" in ended.out


def test_a_failing_model_does_not_stop_the_others(tmp_path):
    forward = "return super().forward(inputs) if len(list(self.parameters())) == 2 else dict()['missing']"
    add_model(tmp_path, "bad", OWN.format(name="bad", forward=forward), "bias: true")
    own = ("imports=[bad]", "model=bad", "model.bias=false,true")
    ended = train(tmp_path, "--config-dir", "own", *VECTORIZED, *own, "seed=1,2", *TINY)
    assert ended.status == 1
    assert [summary["status"] for summary in summaries(ended)] == ["failed"] * 2 + ["completed"] * 2
    assert "KeyError" in str(summaries(ended)[0]["reason"])


def test_a_stack_that_runs_out_of_memory_trains_in_halves(tmp_path, monkeypatch):
    step, tried = StackedRuns.step, []

    def with_little_memory(self: StackedRuns, *batch: object) -> None:
        tried.append(len(self.plans))
        if len(self.plans) > 2 and self.step_number == 1:
            raise RuntimeError("CUDA out of memory")
        step(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(StackedRuns, "step", with_little_memory)
    monkeypatch.setattr(vectorized_launcher, "fastest", lambda plans, states, processes: StackSize(len(plans), 1))
    ended = train(tmp_path, *VECTORIZED, "seed=range(4)", *TINY)
    assert ended.status == 0
    assert [summary["status"] for summary in summaries(ended)] == ["completed"] * 4
    assert "not enough memory for 4 runs at once: in halves" in ended.out
    assert set(tried) == {4, 2}


def test_memory_limits_the_size_of_a_stack(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "available_memory", lambda: 2 * 8_000)
    monkeypatch.setattr(autotune, "bytes_of_run", lambda state, step: 4_000)
    ended = train(tmp_path, *VECTORIZED, "model=linear", "optimizer.lr=0.1,0.2,0.3,0.4,0.5", "seed=1", *TINY)
    assert [summary.get("together") for summary in summaries(ended)] == [2, 2, 2, 2, 1]


def test_models_are_built_only_when_memory_allows(tmp_path, monkeypatch):
    """A linear model on iris has 15 parameters; twelve copies of them are counted, 720 bytes."""
    monkeypatch.setattr(devices, "available_memory", lambda: 2 * (3 * 720 + 10))
    monkeypatch.setattr(vectorized_launcher, "has_room_for_one_more", lambda loaded, device, processes: True)
    monkeypatch.setattr(vectorized_launcher, "fastest", lambda plans, states, processes: StackSize(len(plans), 1))
    ended = train(tmp_path, *VECTORIZED, "model=linear", "seed=range(7)", *TINY)
    assert [summary.get("together") for summary in summaries(ended)] == [3, 3, 3, 3, 3, 3, 1]


def test_datasets_of_further_seeds_are_loaded_only_when_memory_allows(tmp_path, monkeypatch):
    run = parsed("dataset=iris")
    data = setup.on_device(run, setup.build_data(run))
    splits = (data.train, data.validation, data.test)
    size = sum(split.inputs.nbytes + split.targets.nbytes for split in splits)
    memory = 2 * (4 * size - 1)  # half of it is used: for the data of two seeds twice, but not of a third
    monkeypatch.setattr(devices, "available_memory", lambda: memory)
    ended = train(tmp_path, *VECTORIZED, "model=linear", "seed=range(5)", *TINY)
    assert [summary.get("together") for summary in summaries(ended)] == [2, 2, 2, 2, None]


def test_hopeless_members_are_pruned_and_the_best_are_not(tmp_path):
    longer = ("train.steps=60", "train.validate_every=10", "sweep.prune=median", "sweep.prune_after=20")
    ended = train(tmp_path, *VECTORIZED, "optimizer.lr=1e-6,2e-6,3e-6,0.003,0.01,0.03", *TINY, *longer)
    found = summaries(ended)
    assert ended.status == 0
    assert {summary["status"] for summary in found[:2]} == {"pruned"}
    assert [summary["status"] for summary in found[3:]] == ["completed"] * 3
    assert all(summary["steps"] == 20 for summary in found if summary["status"] == "pruned")
    assert all(summary["test"] is None for summary in found if summary["status"] == "pruned")


JOBS = ("optimizer.lr=0.01,0.001", "seed=1,2", *TINY, "train.steps=12", "train.validate_every=4")


@pytest.mark.parametrize("steps", [5, 6, 8])
def test_a_stopped_stack_continues_bit_for_bit(steps, tmp_path, monkeypatch):
    """Stopped between two points of the curves, at a point, and at a validation."""
    whole = train(tmp_path / "whole", *VECTORIZED, *JOBS)
    with monkeypatch.context() as patch:
        asked = []

        def after_some_steps(self: Signals) -> bool:
            asked.append(None)
            self._number = signal.SIGTERM if len(asked) >= steps else None
            return len(asked) >= steps

        patch.setattr(Signals, "received", after_some_steps)
        stopped = train(tmp_path / "stopped", *VECTORIZED, *JOBS)
    assert stopped.status == 143
    assert [(s["status"], s["steps"]) for s in summaries(stopped)] == [("stopped", steps)] * 4
    sweep = by_number(stopped)[0].parent
    again = train(tmp_path / "stopped", *VECTORIZED, *JOBS, f"sweep.resume={sweep}")
    assert again.status == 0
    for ours, theirs in zip(by_number(again), by_number(whole), strict=True):
        assert (ours / "metrics.jsonl").read_bytes() == (theirs / "metrics.jsonl").read_bytes()


def killed_at_the_ninth_step(sweep: Path) -> None:
    """Kill a stack after it has saved each member at its second validation, step 8."""
    fatal = (
        "import os, signal\nfrom dl_lab import train\nfrom dl_lab.sweeps import vectorized_launcher\n"
        "from dl_lab.vectorized import engine, loop\nfrom dl_lab.vectorized.autotune import StackSize\n"
        "loop.SAVE_SECONDS = 0\n"
        "vectorized_launcher.fastest = lambda plans, *_: StackSize(len(plans), 1)\nstep = engine.StackedRuns.step\n"
        "def fatal(self, *batch):\n"
        "    if self.step_number == 9:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    step(self, *batch)\n"
        "engine.StackedRuns.step = fatal\ntrain.main()\n"
    )
    environment = {**os.environ, "DL_LAB_DATA": str(sweep.parent / "data")}
    sweep.parent.mkdir()
    line = [sys.executable, "-c", fatal, *VECTORIZED, *JOBS, f"hydra.sweep.dir={sweep}"]
    process = subprocess.run(line, cwd=sweep.parent, env=environment, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.faults
def test_a_killed_stack_continues_from_its_checkpoints(tmp_path):
    whole = train(tmp_path / "whole", *VECTORIZED, *JOBS)
    sweep = tmp_path / "killed" / "sweep"
    killed_at_the_ninth_step(sweep)
    again = train(tmp_path / "killed", *VECTORIZED, *JOBS, f"sweep.resume={sweep}")
    assert again.status == 0
    for ours, theirs in zip(by_number(again), by_number(whole), strict=True):
        assert (ours / "metrics.jsonl").read_bytes() == (theirs / "metrics.jsonl").read_bytes()


@pytest.mark.faults
def test_a_member_of_a_killed_stack_continues_alone_and_records_it(tmp_path):
    """The sweep then continues with the other members."""
    whole = by_number(train(tmp_path / "whole", *VECTORIZED, *JOBS))
    sweep = tmp_path / "killed" / "sweep"
    killed_at_the_ninth_step(sweep)
    alone = train(tmp_path / "killed", f"resume={sweep / '0'}")
    assert alone.status == 0, alone.err
    assert_close(metrics(alone.run), metrics(whole[0]))
    assert (alone.summary["status"], alone.summary["steps"], alone.summary["together"]) == ("completed", 12, 4)
    before = (alone.run / "summary.json").read_bytes()
    again = train(tmp_path / "killed", *VECTORIZED, *JOBS, f"sweep.resume={sweep}")
    assert again.status == 0, again.err
    assert (alone.run / "summary.json").read_bytes() == before
    assert [summary["together"] for summary in summaries(again)] == [4, 3, 3, 3]
    for ours, theirs in zip(by_number(again), whole, strict=True):
        assert_close(metrics(ours), metrics(theirs))


def test_a_rerun_of_a_member_explains_the_different_last_digits(tmp_path):
    """One metric is changed, because whether the last digits differ is chance."""
    member = by_number(train(tmp_path, *VECTORIZED, "optimizer.lr=0.01,0.001", "seed=1,2", *TINY))[0]
    points = metrics(member)
    points[0]["loss"] *= 1 + 1e-7
    (member / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    ended = train(tmp_path, f"rerun={member}", "hydra.run.dir=again")
    assert ended.status == 1
    told = ended.out[ended.out.index("differs") :].splitlines()
    apart = float(told[1].split("largest relative difference is ")[1].split(" ")[0])
    assert 0 < apart < 1e-5
    assert "  the first run was in a stack of 4, whose sums are in another order: last digits differ" in told
    assert "together" not in json.loads((tmp_path / "again" / "summary.json").read_text())


def test_fail_fast_names_the_failed_member_and_stops_the_others(tmp_path):
    jobs = ("optimizer=sgd", "optimizer.lr=0.1,1e30", "seed=1,2", *TINY, "train.steps=40", "train.log_every=1")
    ended = train(tmp_path, *VECTORIZED, *jobs, "sweep.fail_fast=true")
    assert ended.status == 1
    assert "a job failed, and sweep.fail_fast=true:\n  #2 " in ended.err
    assert "Traceback" not in ended.err
    jobs = json.loads(next(tmp_path.rglob("sweep.json")).read_text())["jobs"]
    assert [job["status"] for job in jobs][:3] == ["stopped", "stopped", "diverged"]


def test_jobs_that_failed_before_training_run_again_once_their_data_exist(tmp_path):
    table = tmp_path / "table.csv"
    data = ("dataset=csv", f"dataset.path={table}", "dataset.targets=[y]", "model=linear", *TINY[1:])
    failed = train(tmp_path, *VECTORIZED, *data, "seed=1,2")
    assert failed.status == 1
    table.write_text("x,y\n" + "".join(f"{n},{2 * n}\n" for n in range(60)))
    sweep = by_number(failed)[0].parent
    again = train(tmp_path, *VECTORIZED, *data, "seed=1,2", f"sweep.resume={sweep}")
    assert again.status == 0
    assert [summary["status"] for summary in summaries(again)] == ["completed"] * 2


def test_a_stack_with_changed_data_does_not_continue(tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    table.write_text("x,y\n" + "".join(f"{n},{2 * n}\n" for n in range(60)))
    data = ("dataset=csv", f"dataset.path={table}", "dataset.targets=[y]", "model=linear", *TINY[1:])
    with monkeypatch.context() as patch:
        patch.setattr(Signals, "received", lambda self: setattr(self, "_number", signal.SIGTERM) is None)
        stopped = train(tmp_path, *VECTORIZED, *data, "seed=1,2")
    assert [summary["status"] for summary in summaries(stopped)] == ["stopped"] * 2
    table.write_text("x,y\n" + "".join(f"{n},{3 * n}\n" for n in range(60)))
    again = train(tmp_path, *VECTORIZED, *data, "seed=1,2", f"sweep.resume={by_number(stopped)[0].parent}")
    assert again.status == 1
    assert again.err.count("has changed since") >= 2


def test_a_damaged_summary_counts_as_missing(tmp_path):
    ended = train(tmp_path, *VECTORIZED, "seed=1,2", *TINY)
    sweep = by_number(ended)[0].parent
    manifest = json.loads((sweep / "sweep.json").read_text())
    manifest["jobs"][0]["status"] = "running"
    (sweep / "sweep.json").write_text(json.dumps(manifest))
    (sweep / "0" / "summary.json").write_text('{"sta')
    again = train(tmp_path, *VECTORIZED, "seed=1,2", *TINY, f"sweep.resume={sweep}")
    assert (again.status, again.err) == (0, "")
    assert [summary["status"] for summary in summaries(again)] == ["completed"] * 2


def test_a_run_does_not_continue_beyond_its_end(tmp_path):
    ended = train(tmp_path, *TINY, "train.steps=12")
    kept = (ended.run / "summary.json").read_bytes()
    again = train(tmp_path, f"resume={ended.run}", "train.steps=null", "train.epochs=1", "train.batch_size=10")
    assert again.status == 2
    shorter = train(tmp_path, f"resume={ended.run}", "train.steps=null", "train.epochs=1")
    assert shorter.status == 2
    assert "is at step 12, behind the last of" in shorter.err
    assert (ended.run / "summary.json").read_bytes() == kept
