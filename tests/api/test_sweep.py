"""A sweep from Python: the command in a process of its own, with its errors and its comparison."""

from pathlib import Path

import pytest
from support.commands import TINY, command, spawn, train

import dl_lab
from dl_lab import compare as compare_command
from dl_lab.sweeps import vectorized_launcher
from dl_lab.vectorized.autotune import StackSize


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sweep_trains_what_the_command_trains_and_compares_it(folder, capfd, monkeypatch):
    # stacks of other sizes, which suit a busy machine, differ in the last digits
    monkeypatch.setattr(vectorized_launcher, "fastest", lambda plans, states, processes: StackSize(len(plans), 1))
    swept = (*TINY, "optimizer.lr=0.1,0.01", "seed=range(2)")
    sweep = dl_lab.sweep(*swept, launcher="vectorized")
    assert "together: 4 runs as one stack" in capfd.readouterr().out
    ended = train(folder / "command", "-m", "hydra/launcher=vectorized", *swept)
    assert [run.metrics.rows() for run in sweep.runs] == [dl_lab.load(each).metrics.rows() for each in ended.runs]
    assert sweep.runs[3].config["seed"] == 1
    compared = sweep.compare(metric="best/accuracy")
    assert compared.table["seeds"].to_list() == [2, 2]
    printed = command(compare_command.main, folder, str(sweep.folder), "metric=best/accuracy")
    assert printed.out == f"{compared}\n".replace("compare/1", "compare/2")
    first, second = (sweep.folder / "compare" / number for number in "12")
    assert compared.folder == first
    for name in ("compare.md", "compare.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.faults
def test_failed_jobs_raise_the_text_of_the_command_and_the_others_are_there(folder):
    swept = (*TINY, "train.batch_size=10,9999", "train.steps=3")
    with pytest.raises(dl_lab.JobsFailed) as caught:
        dl_lab.sweep(*swept)
    assert [run.status for run in caught.value.sweep.runs] == ["completed"]
    ended = train(folder / "command", "-m", *swept)
    assert ended.err.endswith(f"{caught.value}\n")
    assert str(caught.value).startswith("1 of 2 jobs failed:\n  #1  ")


@pytest.mark.parametrize(
    "overrides", [("model=cn,ml",), ("sweep=randm",), ("optimizer.lr=range(0)",), ("sweep.resume=no",)]
)
def test_a_mistake_raises_the_line_of_the_command(overrides, folder):
    with pytest.raises(dl_lab.ConfigError) as caught:
        dl_lab.sweep(*overrides)
    ended = train(folder, "-m", *overrides)
    assert ended.err.removeprefix("error: ") == f"{caught.value}\n"
    assert not (folder / "outputs").exists()


PRESSING = """
import os, signal, time
from pathlib import Path
from dl_lab.training import loop
step = loop.train_step
def pressing(*args):
    if not Path("pressed").exists():
        Path("pressed").touch()
        before = signal.getsignal(signal.SIGINT)
        os.kill(os.getppid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) == before:  # until it comes from there
            time.sleep(0.01)
    return step(*args)
loop.train_step = pressing
"""


@pytest.mark.faults
def test_control_c_returns_the_sweep_which_can_be_continued(folder):
    """In a process of its own, which a step of the first job interrupts."""
    (folder / "pressing.py").write_text(PRESSING)
    (folder / "sweeping.py").write_text(
        "import dl_lab\n"
        f"swept = {[*TINY, 'imports=[pressing]', 'seed=range(2)']}\n"
        "sweep = dl_lab.sweep(*swept)\n"
        "assert [run.status for run in sweep.runs] == ['stopped']\n"
        "again = dl_lab.sweep(*swept, resume=sweep.folder)\n"
        "assert again == sweep and again.runs[0].imports == ('pressing',)\n"
        "assert [run.status for run in again.runs] == ['completed'] * 2\n"
        "print('done')\n"
    )
    ended = spawn(folder, "sweeping.py")
    assert ended.stdout.endswith("done\n"), ended.stderr
