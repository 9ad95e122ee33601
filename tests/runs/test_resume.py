"""A run that is interrupted and resumed against the same run that never was: equal to the last bit."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest
import torch
import yaml
from support.commands import TINY, Ended, train
from support.configs import choices
from support.interrupted import RUN, assert_equal, assert_resumes, interrupted
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dl_lab.runs.folders import locked
from dl_lab.runs.tensorboard_names import run_name

EVERY = [
    *(f"optimizer={name}" for name in choices("optimizer")),
    *(f"schedule={name}" for name in choices("schedule")),
    *(f"dropout={name}" for name in choices("dropout") if name != "none"),
]
FITTING = {"dropout=spatial": ("model=cnn",), "schedule=warmup_cosine": ("schedule.warmup_steps=5",)}


@pytest.mark.parametrize("choice", EVERY)
def test_every_choice_resumes_to_the_last_bit(tmp_path, choice):
    overrides = [*RUN, choice, *FITTING.get(choice, ())]
    if "cnn" in str(overrides):
        overrides.remove("model.hidden_sizes=[8]")
    assert_resumes(tmp_path, 15, *overrides)


ACCUMULATED = (*RUN, "train.accumulate=4", "train.max_grad_norm=1", "dropout=dropout", "dropout.p=0.2")
STEPS = {None: [1, 5, 6, 7, 8, 12, 13, 18, 19], signal.SIGTERM: [1, 6], signal.SIGHUP: [8], signal.SIGINT: [5, 12, 19]}


@pytest.fixture(scope="module")
def accumulated(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run that was never interrupted."""
    return train(tmp_path_factory.mktemp("whole"), *ACCUMULATED)


@pytest.mark.parametrize(("by", "step"), [(by, step) for by, steps in STEPS.items() for step in steps])
def test_a_run_interrupted_at_any_step_resumes_to_the_last_bit(accumulated, tmp_path, step, by):
    """In the middle of an accumulation too, and before the first checkpoint."""
    interrupted(tmp_path, step, *ACCUMULATED, by=by)
    resumed = train(tmp_path, "resume=run")
    assert resumed.status == 0, resumed.err
    assert_equal(resumed, accumulated)


def test_a_run_interrupted_again_and_again_is_the_same(tmp_path):
    whole = train(tmp_path / "whole", *RUN)
    interrupted(tmp_path / "broken", 3, *RUN, by=signal.SIGTERM)
    interrupted(tmp_path / "broken", 4, "resume=run")
    interrupted(tmp_path / "broken", 9, "resume=run", by=signal.SIGINT)
    assert_equal(train(tmp_path / "broken", "resume=run"), whole)


def test_tensorboard_shows_one_curve_without_doubled_points(tmp_path):
    whole = train(tmp_path / "whole", *RUN)
    interrupted(tmp_path / "broken", 11, *RUN)
    interrupted(tmp_path / "broken", 9, "resume=run", by=signal.SIGTERM)
    resumed = train(tmp_path / "broken", "resume=run")
    curves = []
    for ended in (whole, resumed):
        events = EventAccumulator(str(ended.run)).Reload()
        points = {}
        for tag in events.Tags()["scalars"]:
            if tag != "while training/examples_per_second":
                points[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
        curves.append(points)
    assert curves[0] == curves[1]


def test_a_job_of_a_sweep_that_continues_alone_keeps_its_name_in_tensorboard(tmp_path):
    sweep = ("-m", "optimizer.lr=0.1,0.2", "seed=1", "hydra.sweep.dir=here", *TINY)
    train(tmp_path, *sweep, "train.steps=4")
    train(tmp_path, "resume=here/0", "train.steps=6")
    files = list((tmp_path / "here" / "0").rglob("events.out.tfevents.*"))
    assert {path.parent.name for path in files} == {"lr=0.1"}
    assert len(files) == 2
    accumulated = EventAccumulator(str(files[0].parent)).Reload()
    assert [event.step for event in accumulated.Scalars("val/loss")] == [3, 4, 6]
    (tmp_path / "here" / "1" / "lr=0.2").rename(tmp_path / "elsewhere")
    (tmp_path / "here" / "1" / "lr=0.2").symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    refused = train(tmp_path, "resume=here/1", "train.steps=6")
    assert (refused.status, "lr=0.2 is a link" in refused.err) == (2, True)
    assert sorted((tmp_path / "elsewhere").iterdir()) == before


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], ""),
        (["optimizer.lr=0.01", "seed=2"], "lr=0.01 seed=2"),
        (["model.depth=-3", "optimizer.depth=1e-05"], "model.depth=-3 optimizer.depth=1e-05"),
        (["model.hidden_sizes=[8, 8]", "+name='my run'"], "hidden_sizes=8,8 name=my_run"),
        (["dataset.path=../a\n\\b:*.csv", "name=日本"], "path=.._a_b_.csv name=日本"),
        (["name=con."], "name=con"),
        (["own/group@x=1"], "own_group_x=1"),
        (
            ["optimizer.lr=0.0020322854432411525", "a.b=1.5000001e-07", "seed=123456789"],
            "lr=0.002032 b=1.5e-07 seed=123456789",
        ),
        (["name=" + "ü" * 200], "name=" + "ü" * 57),
    ],
)
def test_a_job_of_a_sweep_has_a_name_that_every_system_permits_for_a_folder(overrides, name):
    assert run_name(overrides) == name
    assert len(name.encode()) <= 120


def test_a_completed_run_can_be_lengthened_to_what_it_would_have_been(tmp_path):
    whole = train(tmp_path / "whole", *RUN[:3], "train.steps=30", *RUN[4:])
    short = train(tmp_path / "short", *RUN[:3], "train.steps=18", *RUN[4:])
    assert short.status == 0
    longer = train(tmp_path / "short", "resume=run", "train.steps=30")
    assert longer.status == 0, longer.err
    assert (longer.run / "metrics.jsonl").read_bytes() == (whole.run / "metrics.jsonl").read_bytes()
    assert "train.steps=30" in (longer.run / ".hydra" / "overrides.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("resume=run",), "has ended (completed)"),
        (("resume=run", "optimizer.lr=1"), "optimizer.lr would change the run"),
        (("resume=run", "train.steps=3"), "train.steps=3 lies before step 20"),
        (("resume=nowhere",), "nowhere holds no run"),
        (("resume=run", "model=cnn"), "model would change the run"),
    ],
)
def test_what_cannot_be_resumed_is_refused_in_one_line(tmp_path, arguments, told):
    train(tmp_path, *RUN)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    ended = train(tmp_path, *arguments)
    assert ended.status == 2
    assert told in ended.err
    assert len(ended.err.splitlines()) == 1
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_auto_starts_a_run_goes_on_with_it_and_starts_another_once_it_has_ended(tmp_path):
    overrides = [override for override in RUN if not override.startswith("hydra.")]
    whole = train(tmp_path / "whole", *overrides)
    here = tmp_path / "here"
    interrupted(here, 7, *overrides, "resume=auto")
    resumed = train(here, *overrides, "resume=auto")
    assert_equal(resumed, whole)
    again = train(here, *overrides, "resume=auto")
    assert len(again.runs) == 2
    other = train(here, *overrides, "resume=auto", "seed=1")
    assert len(other.runs) == 3


def test_automatic_resumption_leaves_a_run_of_another_process_alone(tmp_path):
    overrides = (*TINY, "resume=auto")
    interrupted(tmp_path, 4, *overrides)
    (live,) = tmp_path.glob("outputs/*/*")
    before = (live / "metrics.jsonl").read_bytes()
    with locked(live, "run"):
        ended = train(tmp_path, *overrides)
    assert ended.status == 0, ended.err
    assert len(ended.runs) == 2
    assert (live / "metrics.jsonl").read_bytes() == before


def test_code_named_in_a_run_folder_is_not_imported_unasked(tmp_path):
    (tmp_path / "mine.py").write_text("from pathlib import Path\nPath('imported').write_text('')\n")
    interrupted(tmp_path, 7, *RUN, "imports=[mine]")
    (tmp_path / "imported").unlink()
    sys.modules.pop("mine")
    ended = train(tmp_path, "resume=run")
    assert ended.status == 2
    assert "imports=[mine]" in ended.err
    assert not (tmp_path / "imported").exists()
    assert train(tmp_path, "resume=run", "imports=[mine]").status == 0


def test_two_runs_cannot_write_one_folder(tmp_path):
    interrupted(tmp_path, 7, *RUN)
    import filelock

    with filelock.FileLock(tmp_path / "run" / ".lock"):
        ended = train(tmp_path, "resume=run")
    assert ended.status == 2
    assert "is being written by another run" in ended.err


@pytest.mark.faults
def test_ctrl_c_saves_and_says_how_to_go_on_and_a_second_one_stops_at_once(tmp_path):
    """In a process of its own, as a terminal would: the first asks for the end of the step, which never comes here."""
    slow = (
        "import time\nfrom dl_lab import train\nfrom dl_lab.training import loop\nstep = loop.train_step\n"
        "def slowly(*given):\n    print('stepping', flush=True)\n    time.sleep(60)\n    return step(*given)\n"
        "loop.train_step = slowly\ntrain.main()\n"
    )
    (tmp_path / "slow.py").write_text(slow)
    line = [sys.executable, "slow.py", *RUN]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "stepping\n" in process.stdout  # reads no further
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert process.returncode == 130, told
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "stopped"


def test_auto_goes_on_with_a_run_of_a_users_own_choices_and_names_what_does_not_go_with_it(tmp_path):
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "small.yaml").write_text("name: mlp\nhidden_sizes: [4]\nactivation: tanh\n")
    own = ("--config-dir", "own", "model=small", "resume=auto")
    first = train(tmp_path, *own, *TINY)
    assert (first.status, first.err) == (0, "")
    (first.run / "summary.json").unlink()  # as if it had been killed before its end
    again = train(tmp_path, *own, *TINY)
    assert again.status == 0
    assert again.runs == first.runs
    sweep = train(tmp_path, "-m", "seed=1,2", *TINY, "resume=auto")
    assert sweep.status == 2
    assert "-m does not go with resume=auto" in sweep.err


def test_a_run_of_an_older_version_gets_the_defaults_of_newer_keys(tmp_path):
    interrupted(tmp_path, 7, *RUN)
    path = tmp_path / "run" / ".hydra" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["train"]["pictures"], config["optimizer"]["amsgrad"]
    path.write_text(yaml.safe_dump(config))
    resumed = train(tmp_path, "resume=run")
    assert resumed.status == 0, resumed.err
    assert_equal(resumed, train(tmp_path / "whole", *RUN))


@pytest.mark.faults
def test_a_run_whose_terminal_is_closed_is_saved(tmp_path):
    """Every output is an error then, that of the progress bar too."""
    command = [sys.executable, "-m", "dl_lab.train", *RUN, "train.steps=1000000", "train.validate_every=1000000"]
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it may be ignored here, as under nohup
        os.chdir(tmp_path)
        os.execv(sys.executable, command)
    termios.tcsetwinsize(terminal, (24, 80))  # in a terminal without columns there is no bar
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or not metrics.read_text():
        os.read(terminal, 1 << 16)  # which waits for the progress bar, and ends with an error if the process does
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 128 + signal.SIGHUP
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "stopped"
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == summary["steps"]
