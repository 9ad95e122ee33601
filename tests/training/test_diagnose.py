"""Warnings of whole runs, alone and in a stack, and where they are shown."""

import json
import random
from pathlib import Path

import pytest
from support.commands import TINY, Ended, train
from support.sweeps import by_number
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dl_lab.vectorized import autotune

SHORT = ("dataset=iris", "train.steps=40", "train.batch_size=35", "train.validate_every=10", "train.log_every=10")
SMALL = "warning: the test split is too small to resolve 1 %: 30 examples measure accuracy to ±"


def warnings_of(ended: Ended) -> list[str]:
    return ended.summary["warnings"]


def test_a_run_as_it_should_be_warns_only_of_its_small_test_split(tmp_path):
    (line,) = warnings_of(train(tmp_path, *SHORT, "optimizer.lr=0.02"))
    assert line.startswith(SMALL)


def test_warnings_are_printed_and_in_the_summary_and_in_tensorboard_once(tmp_path):
    wrong = train(tmp_path, *SHORT, "optimizer.lr=1e3", "hydra.run.dir=run")
    lines = warnings_of(wrong)
    assert "optimizer.lr=1000" in lines[0]
    assert lines[-1].startswith(SMALL)
    assert [line for line in wrong.out.splitlines() if line.startswith("warning: ")] == lines
    again = train(tmp_path, "resume=run", "train.steps=50", "hydra.run.dir=run")
    events = EventAccumulator(str(wrong.run)).Reload()
    (shown,) = events.Tensors("warnings")
    assert [line.strip() for line in shown.tensor_proto.string_val[0].decode().splitlines()] == warnings_of(again)


PLAIN = ("model=deep_nn", "model.normalization=none", "model.residual=false", "model.depth=12")
WRONG = {
    "the training loss never decreased": ("model=mlp", "initializer=zeros"),
    "dead units": ("model=mlp", "initializer=kaiming_normal", "initializer.bias=-100"),
    "vanishing gradients": (*PLAIN, "model.activation=sigmoid"),
    "exploding gradients": (*PLAIN, "initializer=normal", "initializer.std=1"),
}


@pytest.mark.parametrize("expected", WRONG)
def test_a_member_of_a_stack_warns_as_it_does_alone(tmp_path, monkeypatch, expected):
    monkeypatch.setattr(autotune, "seconds_of", lambda step: 1.0)  # a stack is faster
    chosen = (*SHORT, *WRONG[expected], "precision=float64", "-m", "seed=1,2")
    stacked = train(tmp_path / "stack", *chosen, "hydra/launcher=vectorized", "hydra.launcher.processes=1")
    alone = train(tmp_path / "alone", *chosen)
    assert "alone:" not in stacked.out
    for ours, theirs in zip(by_number(stacked), by_number(alone), strict=True):
        warnings, others = (json.loads((run / "summary.json").read_text())["warnings"] for run in (ours, theirs))
        assert warnings == others
        assert any(line.startswith(f"warning: {expected}: ") for line in warnings)


def table(folder: Path, kinds: list[str]) -> tuple[str, ...]:
    """A table of noise and classes."""
    draw = random.Random(0)
    rows = [f"{draw.random():.4f},{draw.random():.4f},{kind}" for kind in kinds]
    (folder / "t.csv").write_text("\n".join(["a,b,kind", *rows]) + "\n")
    return ("dataset=table", "dataset.path=t.csv", "dataset.targets=[kind]", "dataset.shuffle=false")


def test_classes_that_are_not_learned_or_not_validated_are_named(tmp_path):
    kinds = ["rare", *["no", "no", "no", "yes"] * 60]
    missing, guessing, *_ = warnings_of(train(tmp_path, *table(tmp_path, kinds), *SHORT[1:]))
    assert "always guessing 'no', the most frequent class" in guessing
    assert "no example of 1 class of kind: 'rare'" in missing


LOSS = """
import torch
import torch.nn.functional as F

from dl_lab.core.schema import Schema
from dl_lab.registry import LOSSES


class Config(Schema):
    kind: str


@LOSSES.register("mine", Config)
def build(config, task):
    if config.kind == "mean":
        return F.cross_entropy if task == "classification" else F.mse_loss
    if config.kind == "log":
        return lambda outputs, targets: -outputs.gather(1, targets[:, None]).log().mean()
    return lambda outputs, targets: 0.1 * F.cross_entropy(outputs, targets, reduction="sum")
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own_mean.py").write_text(LOSS)
    (tmp_path / "own/loss").mkdir(parents=True)
    (tmp_path / "own/loss/mine.yaml").write_text("name: mine\nkind: sum\n")
    return ("--config-dir", "own", "imports=[own_mean]", "loss=mine", *TINY)


@pytest.mark.parametrize("more", [("loss.kind=mean",), ("loss.kind=log",), ("loss.kind=mean", "dataset=diabetes")])
def test_a_loss_that_returns_a_mean_is_refused(tmp_path, own, more):
    ended = train(tmp_path, *own, *more)
    assert ended.status == 2
    assert ended.err.startswith("error: loss=mine is ")
    assert ended.err.endswith(
        "allowed: the sum over the examples; hint: reduction='sum', or .sum() instead of .mean()\n"
    )
    assert not ended.runs


def test_a_loss_that_returns_a_sum_is_not_refused(tmp_path, own):
    assert train(tmp_path, *own).status == 0
