"""A folder belongs to a run or job only if its contents say so, and files in it decide nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.commands import TINY, Ended, command, train

from dl_lab import compare, evaluate
from dl_lab.core.errors import ConfigError
from dl_lab.training.rerun import continue_run
from dl_lab.training.run import start_in

SWEEP = ("-m", *TINY, "hydra.sweep.dir=sweep")
SEARCH = ("sweep=random", "sweep.trials=2", "optimizer.lr=interval(1e-3,1e-2)")
EVIL = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(ended: Ended, *words: str) -> None:
    assert (ended.status, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert all(word in ended.err for word in ("hint: " if "allowed: " not in ended.err else "", *words)), ended.err


def edit(path: Path, change: Callable[[dict], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])
def test_a_new_sweep_leaves_the_runs_in_its_folder_alone(tmp_path, same, launcher):
    train(tmp_path, *TINY, f"seed={0 if same else 5}", "hydra.run.dir=sweep/0")
    before = contents(tmp_path)
    ended = train(tmp_path, *SWEEP, "seed=0,1", f"hydra/launcher={launcher}")
    assert_refused(ended, "sweep/0 already holds a run (metrics.jsonl)")
    assert contents(tmp_path) == before


def test_a_sweep_without_its_manifest_is_not_taken_for_another_one(tmp_path):
    train(tmp_path, *SWEEP, "optimizer=adam,sgd")
    (tmp_path / "sweep" / "sweep.json").unlink()
    before = contents(tmp_path)
    assert_refused(train(tmp_path, *SWEEP, "optimizer=sgd,adam"), "already holds a run")
    assert contents(tmp_path) == before


def test_a_continued_sweep_refuses_jobs_whose_folders_were_exchanged(tmp_path):
    train(tmp_path, *SWEEP, "optimizer=adam,sgd")
    sweep = tmp_path / "sweep"
    for old, new in ((0, 2), (1, 0), (2, 1)):
        (sweep / str(old)).rename(sweep / str(new))
    before = contents(sweep / "0")
    ended = train(tmp_path, "-m", *TINY, "optimizer=adam,sgd", "sweep.resume=sweep")
    assert_refused(ended, "sweep/0 holds another run than its job", "optimizer=adam instead of optimizer=sgd")
    assert contents(sweep / "0") == before


def test_an_edited_configuration_is_not_continued_or_evaluated(tmp_path):
    run = train(tmp_path, *TINY).run
    path = run / ".hydra" / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 0.002"))
    before = contents(run)
    ended = train(tmp_path, f"resume={run}", "train.steps=9")
    assert_refused(ended, "holds another run (optimizer.lr=0.002 instead of optimizer.lr=0.001)")
    assert_refused(command(evaluate.main, tmp_path, f"run={run}"), "holds another run")
    assert contents(run) == before


def test_checkpoints_of_another_run_are_not_used(tmp_path):
    runs = [train(tmp_path / str(seed), *TINY, f"seed={seed}").run for seed in (0, 1)]
    ours, theirs = (run / "checkpoints" for run in runs)
    shutil.copy(theirs / "best.pt", ours)
    assert train(tmp_path, f"resume={runs[0]}", "train.steps=9").status == 0
    assert torch.load(ours / "best.pt")["config"]["seed"] == 0
    shutil.copy(theirs / "last.pt", ours)
    assert_refused(train(tmp_path, f"resume={runs[0]}", "train.steps=12"), "seed=0 instead of seed=1")


def test_a_run_that_another_process_has_continued_meanwhile_keeps_its_record(tmp_path, monkeypatch):
    run = train(tmp_path, *TINY).run
    monkeypatch.chdir(tmp_path)

    def after_another(folder: Path) -> object:
        start = start_in(folder)
        monkeypatch.undo()
        assert train(tmp_path, f"resume={run}", "train.steps=9").status == 0
        return start

    monkeypatch.setattr("dl_lab.training.rerun.start_in", after_another)
    with pytest.raises(ConfigError, match="was written by another process meanwhile; hint: give the command again"):
        continue_run(run, ["train.steps=12"])
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-2])["split"] == "test"
    assert json.loads((run / "summary.json").read_text())["steps"] == 9


@pytest.mark.parametrize("launcher", ["in_turn", pytest.param("processes", marks=pytest.mark.faults), "vectorized"])
def test_nothing_in_a_manifest_is_composed(tmp_path, launcher):
    added = ["imports=[evil]", "++hydra.job.env_set.GIT_DIR=evil", "hydra.run.dir=elsewhere"]
    (tmp_path / "evil.py").write_text(EVIL)
    train(tmp_path, *SWEEP, "seed=0,1")
    manifest = tmp_path / "sweep" / "sweep.json"
    edit(manifest, lambda values: [job["overrides"].extend(added) for job in values["jobs"]])
    shutil.rmtree(tmp_path / "sweep" / "1")
    ended = train(tmp_path, "-m", *TINY, "seed=0,1", "sweep.resume=sweep", f"hydra/launcher={launcher}")
    assert ended.status == 0, ended.err
    assert not any(override in manifest.read_text() for override in added)
    assert {path.name for path in tmp_path.iterdir()} <= {"evil.py", "sweep", "outputs"}


@pytest.mark.parametrize("method", ["random", "optuna"])
@pytest.mark.parametrize(
    "planted", [{"imports": "[evil]"}, {"optimizer.lr": "1e-2 imports=[evil]"}, {"optimizer.lr": 0.5}, [], None]
)
def test_trials_in_a_manifest_are_those_of_the_search(tmp_path, method, planted):
    pytest.importorskip("optuna")
    (tmp_path / "evil.py").write_text(EVIL)
    search = (f"sweep={method}", *SEARCH[1:])
    assert train(tmp_path, *SWEEP, *search).status == 0
    edit(tmp_path / "sweep" / "sweep.json", lambda values: values["search"]["trials"][1].update(parameters=planted))
    ended = train(tmp_path, "-m", *TINY, *search, "sweep.resume=sweep")
    assert_refused(ended, "sweep.json has a trial 1 of another search; hint: restore it, or start a new sweep")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("folder", ["../home", "/tmp", ".", "", "a/../../home", "link", "link/deeper"])
def test_the_folder_of_a_job_lies_inside_its_sweep(tmp_path, folder):
    (tmp_path / "home" / "deeper").mkdir(parents=True)
    train(tmp_path, *SWEEP, "seed=0")
    (tmp_path / "sweep" / "link").symlink_to(tmp_path / "home")
    edit(tmp_path / "sweep" / "sweep.json", lambda values: values["jobs"][0].update(folder=folder))
    ended = train(tmp_path, "-m", *TINY, "seed=0", "sweep.resume=sweep")
    assert_refused(ended, "link is a link; allowed: a folder inside" if "link" in folder else "allowed: a folder in")
    new = train(tmp_path, "-m", *TINY, "seed=0", "hydra.sweep.dir=sweep2", f"hydra.sweep.subdir='{folder}'")
    assert new.status == 2 or "link" in folder
    assert contents(tmp_path / "home") == {}
    assert command(compare.main, tmp_path, "sweep", "out=out").status == 0
