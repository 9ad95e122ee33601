"""Resuming a sweep: after a kill or a signal, with failed jobs repeated and new jobs added."""

import json
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.commands import TINY, Ended, train
from support.sweeps import plant, run_until, table

from dl_lab.core.signals import Signals
from dl_lab.sweeps import vectorized_launcher
from dl_lab.training import loop, setup
from dl_lab.vectorized.autotune import StackSize

SWEEP = ("-m", "optimizer=sgd,adam", "seed=range(2)", "dropout=none,dropout", *TINY)
KILLS = 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A sweep that was never interrupted."""
    return train(tmp_path_factory.mktemp("whole"), *SWEEP, "hydra.sweep.dir=here")


@pytest.mark.faults
def test_a_sweep_killed_five_times_ends_like_an_uninterrupted_one(whole, tmp_path):
    assert whole.status == 0
    random_call = random.Random(1)
    for kill in range(KILLS):
        where = "sweep.resume=here" if (tmp_path / "here" / "sweep.json").exists() else "hydra.sweep.dir=here"
        assert run_until(tmp_path, *SWEEP, where, call=random_call.randrange(20, 120)) == -signal.SIGKILL, kill
    done = {path.parent.name: path.stat().st_mtime_ns for path in (tmp_path / "here").glob("*/summary.json")}
    assert 0 < len(done) < 8  # the sweep was killed between jobs and within them
    ended = train(tmp_path, *SWEEP, "sweep.resume=here")
    assert ended.status == 0
    assert table(tmp_path / "here") == table(whole.runs[0].parent)
    for run in whole.runs:
        mine = tmp_path / "here" / run.name
        assert (mine / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
        assert done.get(run.name) in (None, (mine / "summary.json").stat().st_mtime_ns)  # not run again


@pytest.mark.parametrize(
    ("number", "status", "of", "call"),
    [
        (signal.SIGINT, 130, loop.train_step, 2 * 6 + 4),
        (signal.SIGTERM, 143, setup.build_data, 3),
        (signal.SIGHUP, 129, loop.train_step, 2 * 6 + 4),
    ],
    ids=["Ctrl-C in a step", "SIGTERM before a run", "SIGHUP in a step"],
)
def test_a_sweep_stopped_by_a_signal_records_everything_and_continues(whole, tmp_path, number, status, of, call):
    """During a step, after which the run is saved, and before there is a run to save."""
    assert run_until(tmp_path, *SWEEP, "hydra.sweep.dir=here", call=call, of=of, number=number) == status
    statuses = [job["status"] for job in table(tmp_path / "here")]
    assert statuses == ["completed"] * 2 + ["stopped"] + ["pending"] * 5
    ended = train(tmp_path, *SWEEP, "sweep.resume=here")
    assert ended.status == 0
    assert table(tmp_path / "here") == table(whole.runs[0].parent)
    assert [line.split()[0] for line in ended.out.splitlines() if line.startswith("#")] == [
        f"#{n}" for n in range(2, 8)
    ]


def test_added_jobs_get_new_numbers_and_finished_jobs_are_unchanged(tmp_path):
    first = train(tmp_path, "-m", "hydra.sweep.dir=here", "seed=range(2)", "optimizer.lr=0.1", *TINY)
    before = {run: (run / "summary.json").read_bytes() for run in first.runs}
    ended = train(tmp_path, "-m", "sweep.resume=here", "seed=range(3)", "optimizer.lr=0.1,0.2", *TINY)
    assert ended.status == 0
    jobs = table(tmp_path / "here")
    assert [job["overrides"][:2] for job in jobs] == [
        ["seed=0", "optimizer.lr=0.1"],
        ["seed=1", "optimizer.lr=0.1"],
        ["seed=0", "optimizer.lr=0.2"],
        ["seed=1", "optimizer.lr=0.2"],
        ["seed=2", "optimizer.lr=0.1"],
        ["seed=2", "optimizer.lr=0.2"],
    ]
    assert [job["number"] for job in jobs] == list(range(6))
    assert {run: (run / "summary.json").read_bytes() for run in first.runs} == before


def test_changing_name_log_interval_or_threads_reruns_no_job(tmp_path):
    sweep = ("-m", "seed=0,1", *TINY)
    first = train(tmp_path, *sweep, "hydra.sweep.dir=here")
    before = {run: (run / "summary.json").read_bytes() for run in first.runs}
    changes = ("name=mine", "tags=[a]", "train.log_every=3", "train.pictures=1", "threads=1")
    again = train(tmp_path, *sweep, *changes, "sweep.resume=here")
    assert again.status == 0, again.err
    assert {run: (run / "summary.json").read_bytes() for run in again.runs} == before


def test_the_same_values_in_another_notation_are_the_same_jobs(tmp_path):
    train(tmp_path, "-m", "hydra.sweep.dir=here", "optimizer.lr=1,0.50", "train.max_grad_norm=1", *TINY)
    other = ("train.max_grad_norm=1.0", "model=mlp", "optimizer=adam", "optimizer.lr=5e-1,1.0")
    ended = train(tmp_path, "-m", "sweep.resume=here", *TINY, *other)
    assert ended.status == 0
    assert len(table(tmp_path / "here")) == 2
    assert "#" not in ended.out


def test_failed_jobs_run_again_and_diverged_jobs_do_not(tmp_path):
    plant(tmp_path)
    own = ("--config-dir", "own", "imports=[planted_models]", "model=planted", "model.width=1,37,39,40", *TINY)
    assert train(tmp_path, "-m", *own, "hydra.sweep.dir=here").status == 1
    module = tmp_path / "planted_models.py"
    module.write_text(module.read_text().replace("== 37", "== 370").replace("== 39", "== 390"))
    sys.modules.pop("planted_models")  # as in a new process
    from dl_lab.registry import MODELS

    MODELS._entries.pop("planted")
    ended = train(tmp_path, "-m", *own, "sweep.resume=here")
    assert [job["status"] for job in table(tmp_path / "here")] == ["completed", "completed", "diverged", "completed"]
    assert [line.split()[0] for line in ended.out.splitlines() if line.startswith("#")] == ["#1"]
    assert ended.status == 1  # a diverged job still counts as failed
    assert "1 of 4 jobs failed:\n  #2  " in ended.err


def test_a_job_whose_folder_was_deleted_runs_again(tmp_path):
    first = train(tmp_path, "-m", "hydra.sweep.dir=here", "seed=range(3)", *TINY)
    before = table(tmp_path / "here")
    shutil.rmtree(first.runs[1])
    ended = train(tmp_path, "-m", "sweep.resume=here", "seed=range(3)", *TINY)
    assert table(tmp_path / "here") == before
    assert [line.split()[0] for line in ended.out.splitlines() if line.startswith("#")] == ["#1"]


def test_a_job_that_could_not_be_composed_keeps_its_number_when_retried(tmp_path):
    asked = ("-m", "model=mlp,mlpp", *TINY)
    train(tmp_path, *asked, "hydra.sweep.dir=here")
    ended = train(tmp_path, *asked, "sweep.resume=here")
    assert ended.status == 1
    assert [job["status"] for job in table(tmp_path / "here")] == ["completed", "failed"]


PRUNED = (*TINY, "train.steps=60", "train.validate_every=10", "hydra/launcher=vectorized", "sweep.prune_after=20")
LRS = ("0.003", "0.01", "0.02", "0.03", "1e-6", "2e-6")


def all_at_once(plans: Sequence[object], *_: object) -> StackSize:
    """One stack, however long the trial steps take."""
    return StackSize(len(plans), 1)


def ends(folder: Path) -> list[tuple[str, int]]:
    """Return how each job ended, and at which step."""
    found = [json.loads((folder / job["folder"] / "summary.json").read_text()) for job in table(folder)]
    return [(summary["status"], summary["steps"]) for summary in found]


@pytest.mark.parametrize("rule", [("median", "sweep.prune_least=4"), ("asha", "sweep.prune_factor=2")], ids=" ".join)
def test_added_jobs_are_pruned_by_comparison_with_earlier_ones(tmp_path, monkeypatch, rule):
    """The two added jobs alone are too few for the median rule, and one of them would be the best for ASHA."""
    monkeypatch.setattr(vectorized_launcher, "fastest", all_at_once)
    asked = ("-m", *PRUNED, f"sweep.prune={rule[0]}", rule[1])
    train(tmp_path, *asked, f"optimizer.lr={','.join(LRS[:4])}", "hydra.sweep.dir=here")
    before = ends(tmp_path / "here")
    assert ("completed", 60) in before
    ended = train(tmp_path, *asked, f"optimizer.lr={','.join(LRS)}", "sweep.resume=here")
    assert ended.status == 0, ended.err
    assert ends(tmp_path / "here") == [*before, ("pruned", 20), ("pruned", 20)]


@pytest.mark.parametrize("objective", ["loss", "accuracy"])
def test_a_stopped_sweep_prunes_the_same_jobs_as_an_uninterrupted_one(tmp_path, monkeypatch, objective):
    """The median rule compares with means from the first step on, which the second command has not seen."""
    monkeypatch.setattr(vectorized_launcher, "fastest", all_at_once)
    rule = ("sweep.prune=median", "sweep.prune_least=2", f"train.best={objective}")
    asked = ("-m", *PRUNED, *rule, "optimizer.lr=0.0003,0.001,0.002,0.004,0.006,0.01")
    train(tmp_path, *asked, "hydra.sweep.dir=whole")
    with monkeypatch.context() as patch:
        steps = []

        def after_35_steps(self: Signals) -> bool:
            steps.append(None)
            self._number = signal.SIGTERM if len(steps) >= 35 else None
            return len(steps) >= 35

        patch.setattr(Signals, "received", after_35_steps)
        assert train(tmp_path, *asked, "hydra.sweep.dir=here").status == 143
    assert ("stopped", 35) in ends(tmp_path / "here")
    assert train(tmp_path, *asked, "sweep.resume=here").status == 0
    assert ends(tmp_path / "here") == ends(tmp_path / "whole")
    assert {status for status, _ in ends(tmp_path / "here")} == {"pruned", "completed"}


def test_a_sweep_of_an_older_version_keeps_its_finished_jobs(tmp_path):
    jobs = ("-m", "seed=1,2", *TINY)
    sweep = tmp_path / "here"
    train(tmp_path, *jobs, "hydra.sweep.dir=here")
    saved = json.loads((sweep / "sweep.json").read_text())
    for job in saved["jobs"]:
        job["signature"] = "of other keys"
    (sweep / "sweep.json").write_text(json.dumps({**saved, "version": 1}))
    ended = train(tmp_path, *jobs, "name=other", "sweep.resume=here")
    assert ended.status == 0
    assert "completed" not in ended.out
    assert len(json.loads((sweep / "sweep.json").read_text())["jobs"]) == 2
