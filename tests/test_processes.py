"""hydra/launcher=processes and the launchers of others: the same runs, and one that dies is one failed job."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from test_command_line import TINY, spawn, train
from test_sweep_resume import table

from dl_lab import processes
from dl_lab.command_line import explain

DOOMED = """
import os
import signal
from dataclasses import dataclass

from torch import nn

from dl_lab.registry import MODELS


@dataclass(frozen=True, kw_only=True)
class DoomedConfig:
    width: int


@MODELS.register("doomed", DoomedConfig, kinds={"features"})
class Doomed(nn.Linear):
    def __init__(self, config, spec, make_dropout):
        super().__init__(spec.input_shape[0], spec.num_outputs)
        if config.width == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if config.width == 3:
            os._exit(7)
"""


def assert_same_runs(one: Path, other: Path) -> None:
    """Of the jobs that both have."""
    for job, same in zip(table(one), table(other), strict=False):
        assert job == same
        if job["status"] != "completed":
            continue
        first, second = one / str(job["folder"]), other / str(job["folder"])
        assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
        assert {path.name for path in first.iterdir() if "tfevents" not in path.name} == {
            path.name for path in second.iterdir() if "tfevents" not in path.name
        }


def test_jobs_in_processes_are_what_they_are_in_turn_but_for_those_whose_process_dies(tmp_path):
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "doomed.yaml").write_text("name: doomed\nwidth: 1\n")
    (tmp_path / "doomed_models.py").write_text(DOOMED)
    own = ("-m", "--config-dir", "own", "imports=[doomed_models]", "model=doomed", *TINY)
    train(tmp_path, *own, "hydra.sweep.dir=there", "model.width=1,4")
    in_processes = ("hydra/launcher=processes", "hydra.launcher.processes=2")
    ended = train(tmp_path, *own, "hydra.sweep.dir=here", "model.width=1,4,2,3", *in_processes)
    assert ended.status == 1
    jobs = table(tmp_path / "here")
    assert [job["status"] for job in jobs] == ["completed", "completed", "failed", "failed"]
    assert jobs[2]["reason"] == "its process was ended by SIGKILL (often because memory ran out)"
    assert jobs[3]["reason"] == "its process ended with status 7"
    assert_same_runs(tmp_path / "here", tmp_path / "there")
    assert json.loads((tmp_path / "here" / "0" / "summary.json").read_text())["threads"] == 1


def wait_until(done: Callable[[], bool]) -> None:
    """However long it takes a busy machine; a test that waits in vain fails."""
    deadline = time.monotonic() + 200
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("how", ["Ctrl-C", "kill -9"])
def test_the_processes_save_what_they_run_when_the_sweep_is_stopped_and_when_it_is_gone(tmp_path, how):
    steps = ("dataset=iris", "train.batch_size=10", "train.validate_every=10", "train.steps=1000000")
    command = ("-m", "seed=range(3)", *steps, "hydra.sweep.dir=here", "hydra/launcher=processes")
    line = [sys.executable, "-m", "dl_lab.train", *command, "hydra.launcher.processes=2"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, cwd=tmp_path, start_new_session=True, **pipes) as sweep:
        wait_until(lambda: len(list(tmp_path.glob("here/*/checkpoints/last.pt"))) == 2)
        if how == "Ctrl-C":  # a terminal tells all of them
            os.killpg(sweep.pid, signal.SIGINT)
            _, told = sweep.communicate(timeout=100)
            assert sweep.returncode == 130
            assert told == f"\nstopped; go on with the same command and sweep.resume={tmp_path}/here\n"
            assert [job["status"] for job in table(tmp_path / "here")] == ["stopped", "stopped", "pending"]
        else:
            sweep.kill()
    wait_until(lambda: is_gone(sweep.pid))
    for name in "01":
        assert json.loads((tmp_path / "here" / name / "summary.json").read_text())["status"] == "stopped"


def test_why_a_process_died_is_told_in_one_line():
    assert processes.death(-signal.SIGSEGV) == "its process was ended by SIGSEGV"
    assert processes.death(3) == "its process ended with status 3"


@pytest.mark.skipif(find_spec("submitit") is None, reason="the extra slurm is not installed")
def test_a_launcher_of_others_runs_what_is_left_and_what_fails_is_recorded(tmp_path):
    """By submitit's local mode, which starts a process a job."""
    asked = ("-m", "optimizer.lr=0.1,-1,0.2", *TINY)
    train(tmp_path, "-m", "optimizer.lr=0.1", *TINY, "hydra.sweep.dir=here")
    ended = spawn(tmp_path, "-m", "dl_lab.train", *asked, "sweep.resume=here", "hydra/launcher=submitit_local")
    assert ended.returncode == 1
    assert [line.split()[0] for line in ended.stdout.splitlines() if line.startswith("#")] == ["#1", "#2"]
    assert [job["status"] for job in table(tmp_path / "here")] == ["completed", "failed", "completed"]
    assert "1 of 3 jobs failed:\n  #1 " in ended.stderr
    train(tmp_path, *asked, "hydra.sweep.dir=there")
    assert_same_runs(tmp_path / "here", tmp_path / "there")


@pytest.mark.parametrize(("name", "extra"), [("submitit_slurm", "slurm"), ("ray", "ray")])
def test_a_launcher_that_is_not_installed_names_its_extra(name, extra):
    error = MissingConfigException("not found", f"hydra/launcher/{name}", [])
    assert explain(error) == (f"hydra/launcher={name} is not installed; allowed: after pip install 'dl_lab[{extra}]'")
