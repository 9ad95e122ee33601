"""A run that is killed with SIGKILL at fifty random moments equals one that was never killed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.interrupted import same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# One process imports torch, forks a child for each attempt, and kills it after a random time. Run as
# `python -c KILLER FOLDER KILLS SEED OVERRIDES...`. Prints how many children it killed before the last one ended.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch, numpy, tensorboard
from dl_lab import train
from dl_lab.training import rerun
from dl_lab.registry import REGISTRIES
torch.set_num_threads(1)
for registry in REGISTRIES.values():
    registry.names()
folder, kills, draws, overrides = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3])), sys.argv[4:]
killed, ENDED = 0, os.WEXITED | os.WNOHANG | os.WNOWAIT

def attempt(arguments, seconds):
    child = os.fork()
    if child == 0:
        sys.argv[1:] = arguments
        output = os.open(folder.parent / "output", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(output, 1), os.dup2(output, 2)
        try:
            train.main()
        except SystemExit as end:
            os._exit(end.code or 0)
        os._exit(0)
    begins = folder / ".lock" if draws.random() < 0.8 else folder.parent  # once it writes, or at any time
    while seconds is not None and not begins.exists() and os.waitid(os.P_PID, child, ENDED) is None:
        time.sleep(0.001)
    ends = time.monotonic() + (300 if seconds is None else seconds)
    while time.monotonic() < ends:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False

def go_on(seconds):
    started = (folder / ".hydra" / "config.yaml").exists()
    (folder / ".lock").unlink(missing_ok=True)  # of the killed process, whose lock the system released
    return attempt([f"resume={folder}"] if started else [*overrides, f"hydra.run.dir={folder}"], seconds)

while killed < kills and not go_on(draws.uniform(0, 0.15)):
    killed += 1
if killed == kills:
    go_on(None)
print(killed)
"""

RUN = (
    "model.hidden_sizes=[8]",
    "dropout=dropout",
    "dropout.p=0.1",
    "dataset.examples=200",
    "train.batch_size=16",
    "train.accumulate=2",
    "train.steps=6000",
    "train.validate_every=40",
    "train.log_every=13",
    "schedule=cosine",
)


def kill_again_and_again(folder: Path, kills: int, seed: int, *overrides: str) -> int:
    """Kill a run up to `kills` times, then let it end. Return how often it was killed."""
    line = [sys.executable, "-c", KILLER, str(folder), str(kills), str(seed), *overrides]
    ended = subprocess.run(line, cwd=folder.parent, capture_output=True, text=True, check=False, timeout=540)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return TensorBoard's scalars except the speed."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag != "while training/examples_per_second"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@pytest.mark.faults
def test_run_killed_at_fifty_random_moments_equals_one_never_killed(tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole, broken = tmp_path / "whole" / "run", tmp_path / "broken" / "run"
    assert kill_again_and_again(whole, 0, 0, *RUN) == 0
    assert kill_again_and_again(broken, 50, 1, *RUN) == 50
    for name in ("last", "best"):
        ours, theirs = (torch.load(at / "checkpoints" / f"{name}.pt", weights_only=True) for at in (broken, whole))
        assert same(ours, theirs), name
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    apart = {"seconds": 0, "git_commit": None, "git_clean": None}  # the repository may change meanwhile
    summaries = [json.loads((at / "summary.json").read_text()) | apart for at in (broken, whole)]
    assert summaries[0] == summaries[1]
    assert curves(broken) == curves(whole)
    assert list(broken.rglob("*.partial")) == []
    output = (tmp_path / "broken" / "output").read_text()
    assert "error" not in output
    assert "Traceback" not in output
