"""kill -9 of a sweep with all its processes at random moments, after which it has to give the same comparison."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.commands import TINY, command

from dl_lab import compare

KILLS = 5
STEPS = ("train.steps=100", "train.validate_every=4", "train.log_every=2")
SWEEP = ("-m", "optimizer=sgd,adam,lbfgs", "optimizer.lr=0.03", "seed=range(8)", *TINY, *STEPS, "imports=[saves_often]")
SAVES_OFTEN = (
    "from dl_lab.vectorized import loop\n\nloop.SAVE_SECONDS = 0\n"  # a user's module, which every process imports
)
OF_SCORES = ("mean", "low", "high", "deviation", "best", "difference", "difference_low", "difference_high")


def started(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start the sweep in its own process group."""
    folder.mkdir(exist_ok=True)
    (folder / "saves_often.py").write_text(SAVES_OFTEN)
    environment = {**os.environ, "DL_LAB_DATA": str(folder / "data"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "dl_lab.train", *SWEEP, *arguments]
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(line, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True)


def points(sweep: Path) -> dict[Path, int]:
    """Return the number of lines in each metrics.jsonl."""
    return {path: path.read_bytes().count(b"\n") for path in sweep.glob("*/metrics.jsonl")}


def saved(sweep: Path) -> dict[Path, int]:
    """Return the last checkpoint of each run, and when it was written."""
    times = {}
    for path in sweep.glob("*/checkpoints/last.pt"):
        with suppress(FileNotFoundError):  # while it is replaced
            times[path] = path.stat().st_mtime_ns
    return times


def killed_at(sweep: Path, number: int, saves: int, *arguments: str) -> bool:
    """Run the sweep until `number` points are recorded, some of them by this very command, and then so many runs have
    been saved, and kill it. Whether one was in the middle that had been saved.
    """
    before = points(sweep)
    process = started(sweep.parent, *arguments)
    deadline = time.monotonic() + 200

    def wait_until(done: Callable[[], bool]) -> None:
        while not done():
            assert process.poll() is None, (sweep.parent / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.0005)

    wait_until(lambda: sum((now := points(sweep)).values()) >= number and now != before)
    earlier = saved(sweep)
    wait_until(lambda: len(saved(sweep).items() - earlier.items()) >= saves)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return any(not (path.parents[1] / "summary.json").exists() for path in saved(sweep))


def compared(sweep: Path) -> list[dict[str, str]]:
    """Return the rows of compare.csv without seconds, and with the name of the best run instead of its path."""
    assert command(compare.main, sweep.parent, str(sweep)).status == 0
    with (sweep / "compare" / "1" / "compare.csv").open() as file:
        rows = [{**row, "seconds": "", "best_run": Path(row["best_run"]).name} for row in csv.DictReader(file)]
    assert [row["seeds"] for row in rows] == ["8"] * 3
    return rows


def assert_same_table(ours: list[dict[str, str]], theirs: list[dict[str, str]], relative: float) -> None:
    """Scores differ by `relative` of themselves at most. So twice as much of the mean is what deviations and intervals
    may differ by, and of both means for a difference from the leader. How sure a verdict is (p, more_seeds) magnifies
    that without bound, and is left out.
    """
    for mine, other in zip(ours, theirs, strict=True):
        words = mine.keys() - ({*OF_SCORES, "p", "more_seeds"} if relative else ())
        assert {key: mine[key] for key in words} == {key: other[key] for key in words}
        reach = 2 * relative * (float(other["mean"]) + float(theirs[0]["mean"]))
        for name in OF_SCORES if relative else ():
            assert float(mine[name] or 0) == pytest.approx(float(other[name] or 0), abs=reach), name


@pytest.mark.faults
@pytest.mark.parametrize(("launcher", "processes"), [("processes", 2), ("vectorized", 1), ("vectorized", 2)])
def test_a_sweep_killed_five_times_has_the_same_comparison_as_an_uninterrupted_one(tmp_path, launcher, processes):
    whole, broken = tmp_path / "whole" / "sweep", tmp_path / "broken" / "sweep"
    how, draws = (f"hydra/launcher={launcher}", f"hydra.launcher.processes={processes}"), random.Random(1)
    assert started(whole.parent, *how, f"hydra.sweep.dir={whole}").wait() == 0
    total, middle = sum(points(whole).values()), 0
    for number in sorted(int(total * draws.uniform(0.02, 0.9)) for _ in range(KILLS)):
        where = "sweep.resume" if (broken / "sweep.json").exists() else "hydra.sweep.dir"
        middle += killed_at(broken, number, draws.randrange(3), *how, f"{where}={broken}")
    assert middle >= 3  # runs that had saved a checkpoint
    done = {path: path.stat().st_mtime_ns for path in broken.glob("*/summary.json")}
    assert len(done) < 24
    assert started(broken.parent, *how, f"sweep.resume={broken}").wait() == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done  # not run again
    # a resumed stack has fewer members, so sums are in another order: 1e-5 after 100 steps
    assert_same_table(compared(broken), compared(whole), 1e-5 if launcher == "vectorized" else 0)
    told = (broken.parent / "output").read_text()
    assert "error" not in told
    assert "Traceback" not in told
