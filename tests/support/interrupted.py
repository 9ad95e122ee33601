"""Interrupt runs and compare what they saved."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.commands import Ended, train

from dl_lab.core.progress import Progress

RUN = (
    "model.hidden_sizes=[8]",
    "dataset.examples=100",
    "train.batch_size=16",
    "train.steps=20",
    "train.validate_every=6",
    "train.log_every=4",
    "hydra.run.dir=run",
    "data_dir=/nowhere",
)


class Killed(BaseException):
    """Stands for the end of the process between two steps."""


def while_it_runs(folder: Path, step: int, act: Callable[[], object], *overrides: str) -> Ended:
    """Train, and call `act` after a step."""
    advance, done = Progress.advance, 0

    def acting(self: Progress) -> None:
        nonlocal done
        advance(self)
        done += 1
        if done == step:
            act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "advance", acting)
        return train(folder, *overrides)


def interrupted(folder: Path, step: int, *overrides: str, by: int | None = None) -> None:
    """Train, and after step `step` end as if killed, or send the signal `by` to this process."""

    def kill() -> None:
        raise Killed

    if by is None:
        with pytest.raises(Killed):
            while_it_runs(folder, step, kill, *overrides)
    else:
        ended = while_it_runs(folder, step, lambda: os.kill(os.getpid(), by), *overrides)
        assert ended.status == 128 + by
        assert "continue with python -m dl_lab.train resume=" in ended.err
        assert ended.summary["status"] == "stopped"


def same(ours: object, theirs: object) -> bool:
    """Compare nested dictionaries, lists and tensors bit for bit."""
    if isinstance(theirs, torch.Tensor):
        return isinstance(ours, torch.Tensor) and ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    return ours == theirs or ours != ours


def assert_equal(resumed: Ended, whole: Ended) -> None:
    """Check that checkpoints, metrics.jsonl and summary.json (except the seconds) are equal."""
    for name in ("last", "best"):
        ours, theirs = (torch.load(at.run / "checkpoints" / f"{name}.pt", weights_only=True) for at in (resumed, whole))
        assert same(ours, theirs), name
    assert (resumed.run / "metrics.jsonl").read_bytes() == (whole.run / "metrics.jsonl").read_bytes()
    assert {**resumed.summary, "seconds": 0} == {**whole.summary, "seconds": 0}


def assert_resumes(folder: Path, step: int, *overrides: str) -> None:
    """Check that a run that is interrupted after a step and resumed equals one that is not interrupted."""
    whole = train(folder / "whole", *overrides)
    assert whole.status == 0, whole.err
    interrupted(folder / "broken", step, *overrides)
    resumed = train(folder / "broken", "resume=run")
    assert resumed.status == 0, resumed.err
    assert_equal(resumed, whole)
