"""hydra/launcher=processes and third-party launchers: the same runs, and a process that dies fails one job."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from multiprocessing import Pipe
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException
from support.commands import TINY, spawn, train
from support.pictures import write
from support.sweeps import add_model, assert_close, by_number, metrics, table

from dl_lab.config.messages import explain
from dl_lab.core.errors import Stopped
from dl_lab.sweeps import forkserver, process_pool, worker
from dl_lab.sweeps.worker import Relay


@pytest.fixture(autouse=True, scope="module")
def one_forkserver() -> Iterator[None]:
    """Keep the process that has imported torch for the sweeps of all tests that run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver, "stop", lambda: None)
        yield
    forkserver.stop()


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
        if config.width == 5:
            os._exit(143)  # as after SIGTERM between two shares
"""


def assert_same_runs(one: Path, other: Path) -> None:
    """Compare the jobs that both sweeps have."""
    for job, same in zip(table(one), table(other), strict=False):
        assert job == same
        if job["status"] != "completed":
            continue
        first, second = one / str(job["folder"]), other / str(job["folder"])
        assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
        assert files(first) == files(second)


def files(run: Path) -> set[Path]:
    """The files of a run but those of TensorBoard, whose folder has the name of the job in the sweep that it began."""
    found = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {path for path in found if "tfevents" not in path.name}


@pytest.mark.parametrize("copied", [forkserver.AVAILABLE, pytest.param(False, marks=pytest.mark.faults)])
def test_jobs_in_processes_equal_jobs_in_turn_and_fail_if_their_process_dies(tmp_path, copied, monkeypatch):
    monkeypatch.setattr(forkserver, "AVAILABLE", copied)
    add_model(tmp_path, "doomed", DOOMED, "width: 1")
    own = ("-m", "--config-dir", "own", "imports=[doomed]", "model=doomed", *TINY)
    train(tmp_path, *own, "hydra.sweep.dir=there", "model.width=1,4")
    widths = "1,4,2,3,5" if copied else "1,4,2"  # a process that is not copied imports torch, which takes seconds
    in_processes = ("hydra/launcher=processes", "hydra.launcher.processes=2")
    ended = train(tmp_path, *own, "hydra.sweep.dir=here", f"model.width={widths}", *in_processes)
    assert ended.status == 1
    jobs = table(tmp_path / "here")
    statuses = ["completed", "completed", "failed", "failed", "stopped"]
    assert [job["status"] for job in jobs] == statuses[: len(jobs)]
    assert jobs[2]["reason"] == "its process was ended by SIGKILL (often because memory ran out)"
    assert not copied or jobs[3]["reason"] == "its process ended with status 7"
    assert_same_runs(tmp_path / "here", tmp_path / "there")
    assert json.loads((tmp_path / "here" / "0" / "summary.json").read_text())["threads"] == 1


def test_a_process_that_is_stopped_between_two_shares_exits_with_the_status_of_the_signal():
    with pytest.raises(SystemExit) as end, worker.exit_on_error(Relay(Pipe()[0])):
        raise Stopped("stopped", 143)
    assert end.value.code == 143


TOGETHER = ("-m", "hydra/launcher=vectorized", "hydra.launcher.processes=2")


def test_stacks_in_two_processes_equal_runs_in_turn_and_other_jobs_are_distributed(tmp_path):
    any_stack_is_faster = "from dl_lab.vectorized import autotune\nautotune.seconds_of = lambda step: 1.0\n"
    (tmp_path / "sure_to_stack.py").write_text(any_stack_is_faster)
    jobs = ("optimizer=adam,lbfgs", "seed=range(5)", *TINY)
    ended = train(tmp_path, *TOGETHER, "imports=[sure_to_stack]", *jobs, "hydra.sweep.dir=here")
    train(tmp_path, "-m", *jobs, "hydra.sweep.dir=there")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.count("together: ") == 2  # the shares are 3 and 2 of each optimizer
    assert ended.out.count("(optimizer=lbfgs has no rule for a stack)") == 2
    together = [json.loads((run / "summary.json").read_text()).get("together") for run in by_number(ended)]
    assert together == [3, 2, 3, 2, 3, None, None, None, None, None]
    for ours, theirs in zip(by_number(ended), sorted((tmp_path / "there").glob("[0-9]")), strict=True):
        assert_close(metrics(ours), metrics(theirs))


@pytest.mark.faults
def test_jobs_of_a_process_that_dies_continue_separately(tmp_path):
    add_model(tmp_path, "doomed", DOOMED, "width: 1")
    own = ("--config-dir", "own", *TOGETHER, "imports=[doomed]", "model=doomed", *TINY)
    ended = train(tmp_path, *own, "model.width=1,2", "seed=1,2,3", "hydra.sweep.dir=here")
    assert ended.status == 1
    assert [job["status"] for job in table(tmp_path / "here")] == ["completed"] * 3 + ["failed"] * 3
    assert (
        "has died: its process was ended by SIGKILL (often because memory ran out); each of them continues" in ended.out
    )
    assert ended.err.count("its process was ended by SIGKILL (often because memory ran out)") == 2 * 3


@pytest.mark.faults
def test_processes_save_their_runs_when_fail_fast_ends_the_sweep(tmp_path):
    """Also if a job in the other process diverges meanwhile."""
    jobs = ("optimizer=sgd", "optimizer.lr=0.1,1e30,1e31", "seed=1,2", *TINY, "train.steps=100000", "train.log_every=1")
    ended = train(tmp_path, *TOGETHER, *jobs, "sweep.fail_fast=true", "hydra.sweep.dir=here")
    assert ended.status == 1
    assert "a job failed, and sweep.fail_fast=true:\n  #" in ended.err
    jobs = table(tmp_path / "here")
    assert "diverged" in [job["status"] for job in jobs[2:]]
    assert {job["status"] for job in jobs} <= {
        "diverged",
        "stopped",
        "pending",
    }  # the other process may not have started
    for job in jobs:
        assert (tmp_path / "here" / str(job["folder"])).exists() == (job["status"] != "pending")


def test_what_all_jobs_have_in_common_is_printed_once(tmp_path):
    write(tmp_path / "pictures", {"a": 10, "b": 10})
    data = ("dataset=image_folder", "dataset.path=pictures", "dataset.num_workers=1", "train.steps=1", "model=linear")
    ended = train(tmp_path, "-m", "hydra/launcher=processes", "hydra.launcher.processes=2", "seed=1,2,3", *data)
    assert ended.status == 0, ended.err
    assert ended.out.count("train       pictures: 16 pictures of 2 classes (a, b)\n") == 1


def test_a_report_to_a_dead_main_process_is_not_an_error():
    ours, theirs = Pipe()
    relay = Relay(ours)
    relay.note("a line")
    assert theirs.recv() == ("note", "a line")
    theirs.close()
    with pytest.raises(ConnectionError):
        ours.send("a pipe whose other end is closed")
    relay.note("a line")


@pytest.mark.faults
def test_the_summary_counts_unfinished_jobs_of_a_process_that_someone_stopped(tmp_path):
    # So many steps that no process has finished its share when the signal arrives.
    steps = ("dataset=iris", "train.batch_size=10", "train.validate_every=5000", "train.steps=10000")
    # The dataset's imports come first: an exception in an import can leave half a module behind.
    lives = "import os\nimport sklearn.datasets\nopen(f'{os.getpid()}.lives', 'w').close()\n"
    (tmp_path / "lives.py").write_text(lives)
    line = [sys.executable, "-m", "dl_lab.train", *TOGETHER, "imports=[lives]", "seed=range(4)", *steps]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*line, "hydra.sweep.dir=here"], cwd=tmp_path, **pipes) as sweep:
        wait_until(lambda: len(list(tmp_path.glob("here/*/metrics.jsonl"))) == 4)  # both processes train
        os.kill(int(next(tmp_path.glob("*.lives")).stem), signal.SIGTERM)
        _, told = sweep.communicate(timeout=200)
    assert sweep.returncode == 1
    assert "jobs have not ended; hint: continue with the same command and sweep.resume=" in told
    reasons = {job["status"]: job["reason"] for job in table(tmp_path / "here")}
    assert reasons.keys() <= {"completed", "stopped", "pending"}, reasons


def test_invalid_numbers_of_processes_are_rejected(tmp_path):
    pruned = train(tmp_path, *TOGETHER, "sweep.prune=asha", "seed=1,2", *TINY)
    assert pruned.status == 2
    assert "hydra.launcher.processes=2 does not go with sweep.prune=asha, which compares runs; allowed: 1" in pruned.err
    none = train(tmp_path, "-m", "hydra/launcher=processes", "hydra.launcher.processes=0", "seed=1,2", *TINY)
    assert none.status == 2
    assert "hydra.launcher.processes=0 is not allowed; allowed: null, or a whole number, 1 or more" in none.err


def wait_until(done: Callable[[], bool]) -> None:
    """Wait as long as a busy machine needs; fail after 200 seconds."""
    deadline = time.monotonic() + 200
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(group: int) -> bool:
    """Return whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("how", "launcher"),
    [
        ("Ctrl-C", "processes"),
        pytest.param("Ctrl-C", "vectorized", marks=pytest.mark.faults),
        pytest.param("kill -9", "processes", marks=pytest.mark.faults),
    ],
)
def test_processes_save_their_runs_when_the_sweep_is_stopped_or_killed(tmp_path, how, launcher):
    steps = ("dataset=iris", "train.batch_size=10", "train.validate_every=10", "train.steps=1000000")
    command = ("-m", "seed=range(3)", *steps, "hydra.sweep.dir=here", f"hydra/launcher={launcher}")
    line = [sys.executable, "-m", "dl_lab.train", *command, "hydra.launcher.processes=2"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, cwd=tmp_path, start_new_session=True, **pipes) as sweep:
        try:
            wait_until(lambda: len(list(tmp_path.glob("here/*/checkpoints/last.pt"))) >= 2)
            running = [path.parts[-3] for path in tmp_path.glob("here/*/checkpoints/last.pt")]
        finally:
            if how == "Ctrl-C":  # which a terminal sends to all processes
                os.killpg(sweep.pid, signal.SIGINT)
            else:
                sweep.kill()
        _, told = sweep.communicate(timeout=100)
    if how == "Ctrl-C":
        assert sweep.returncode == 130
        assert told == f"\nstopped; hint: continue with the same command and sweep.resume={tmp_path}/here\n"
        statuses = {str(job["folder"]): job["status"] for job in table(tmp_path / "here")}
        assert {statuses[name] for name in running} == {"stopped"}
        assert set(statuses.values()) <= {"stopped", "pending"}
    wait_until(lambda: is_gone(sweep.pid))
    for name in running:
        assert json.loads((tmp_path / "here" / name / "summary.json").read_text())["status"] == "stopped"


@pytest.mark.faults
def test_ctrl_c_while_processes_start_prints_one_line(tmp_path):
    command = (*TOGETHER, "seed=range(8)", "dataset=iris", "train.batch_size=10", "train.steps=1000000")
    line = [sys.executable, "-m", "dl_lab.train", *command, "hydra.sweep.dir=here"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, cwd=tmp_path, start_new_session=True, **pipes) as sweep:
        try:
            wait_until(lambda: (tmp_path / "here" / "sweep.json").exists())
        finally:
            os.killpg(sweep.pid, signal.SIGINT)
        try:
            _, told = sweep.communicate(timeout=100)
        finally:
            sweep.kill()
    assert (sweep.returncode, told.strip()) == (
        130,
        f"stopped; hint: continue with the same command and sweep.resume={tmp_path}/here",
    )
    assert {job["status"] for job in table(tmp_path / "here")} <= {"pending", "stopped"}


def test_the_cause_of_death_of_a_process_is_one_line():
    assert process_pool.cause_of_death(-signal.SIGSEGV) == "its process was ended by SIGSEGV"
    assert process_pool.cause_of_death(3) == "its process ended with status 3"


@pytest.mark.faults
@pytest.mark.skipif(find_spec("submitit") is None, reason="the extra slurm is not installed")
def test_a_third_party_launcher_runs_unfinished_jobs_and_failures_are_recorded(tmp_path):
    """With submitit's local mode, which starts one process per job."""
    asked = ("-m", "optimizer.lr=0.1,-1,0.2", *TINY)
    train(tmp_path, "-m", "optimizer.lr=0.1", *TINY, "hydra.sweep.dir=here")
    ended = spawn(tmp_path, "-m", "dl_lab.train", *asked, "sweep.resume=here", "hydra/launcher=submitit_local")
    assert ended.returncode == 1
    assert [line.split()[0] for line in ended.stdout.splitlines() if line.startswith("#")] == ["#2"]
    assert ended.stderr.count("error: #1  optimizer.lr=-1 is not allowed") == 1
    assert [job["status"] for job in table(tmp_path / "here")] == ["completed", "failed", "completed"]
    assert "1 of 3 jobs failed:\n  #1 " in ended.stderr
    assert list((tmp_path / "here" / "2" / "lr=0.2").glob("*tfevents*"))
    train(tmp_path, *asked, "hydra.sweep.dir=there")
    assert_same_runs(tmp_path / "here", tmp_path / "there")


@pytest.mark.parametrize(("name", "extra"), [("submitit_slurm", "slurm"), ("ray", "ray")])
def test_the_error_for_a_missing_launcher_names_its_extra(name, extra):
    error = MissingConfigException("not found", f"hydra/launcher/{name}", [])
    assert explain(error) == (f"hydra/launcher={name} is not installed; hint: pip install 'dl_lab[{extra}]'")
