"""Interrupt runs and compare what they saved."""

import os
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


def interrupted(folder: Path, step: int, *overrides: str, by: int | None = None) -> None:
    """Train, and after step `step` end as if killed, or send the signal `by` to this process."""
    advance, done = Progress.advance, 0

    def interrupting(self: Progress) -> None:
        nonlocal done
        advance(self)
        done += 1
        if done == step:
            if by is None:
                raise Killed
            os.kill(os.getpid(), by)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "advance", interrupting)
        if by is None:
            with pytest.raises(Killed):
                train(folder, *overrides)
        else:
            ended = train(folder, *overrides)
            assert ended.status == 128 + by
            assert "continue with resume=" in ended.err
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
