"""Losses against NumPy and SciPy: summed over everything that counts, and over nothing else."""

from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special
from support.configs import parsed
from torch import Tensor

from dl_lab.config.parse import typed
from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import PADDING
from dl_lab.losses.losses import Loss
from dl_lab.registry import LOSSES
from dl_lab.training.setup import build_task

Array = NDArray[np.float64]
RANDOM = np.random.default_rng(0)
OUTPUTS, TARGETS = RANDOM.normal(size=(50, 3)), RANDOM.normal(size=(50, 3)) * 2
LOGITS, CLASSES = RANDOM.normal(size=(50, 7)) * 3, RANDOM.integers(7, size=50)

# Float64 throughout: sums of at most 350 terms, each rounded by 1e-16.
CLOSE = {"rel": 1e-13}

PAIRS = [
    (name, task)
    for name in LOSSES.names()
    for task in sorted(LOSSES[name].tasks & {"regression", "classification", "multilabel", "language_modelling"})
]


OVERRIDES = {
    "regression": ["dataset=diabetes"],
    "classification": ["dataset=digits"],
    "multilabel": ["dataset=digits"],
    "language_modelling": ["dataset=sorting", "model=transformer"],
}


@cache
def run_of(name: str, task: str) -> RunConfig:
    return parsed("loss=auto" if task == "multilabel" else f"loss={name}", *OVERRIDES[task])


def loss(name: str, task: str, **values: float) -> Loss:
    """The entry with the values of its YAML, but for these."""
    built: Loss = LOSSES[name].build(replace(run_of(name, task).loss.config, **values), task)
    return built


def example(task: str) -> tuple[Tensor, Tensor]:
    outputs, targets = (OUTPUTS, TARGETS) if task in ("regression", "multilabel") else (LOGITS, CLASSES)
    targets = (targets > 0).astype(float) if task == "multilabel" else targets
    return torch.from_numpy(outputs), torch.from_numpy(targets)


def log_probabilities() -> Array:
    chosen: Array = special.log_softmax(LOGITS, axis=1)
    return chosen


def test_mse_is_the_sum_of_squares() -> None:
    value = loss("mse", "regression")(*example("regression"))
    assert float(value) == pytest.approx(((OUTPUTS - TARGETS) ** 2).sum(), **CLOSE)


def test_l1_is_the_sum_of_absolute_errors() -> None:
    value = loss("l1", "regression")(*example("regression"))
    assert float(value) == pytest.approx(np.abs(OUTPUTS - TARGETS).sum(), **CLOSE)


@pytest.mark.parametrize("delta", [0.1, 1.0, 5.0])
def test_huber_is_scipys(delta: float) -> None:
    value = loss("huber", "regression", delta=delta)(*example("regression"))
    assert float(value) == pytest.approx(special.huber(delta, OUTPUTS - TARGETS).sum(), **CLOSE)


@pytest.mark.parametrize("task", ["classification", "language_modelling"])
def test_cross_entropy_is_minus_the_log_probability_of_the_class_in_nats(task: str) -> None:
    value = loss("cross_entropy", task)(*example(task))
    assert float(value) == pytest.approx(-log_probabilities()[np.arange(50), CLASSES].sum(), **CLOSE)


def test_binary_cross_entropy_is_minus_the_log_probability_of_each_label() -> None:
    outputs, targets = example("multilabel")
    true = special.expit(np.where(targets, OUTPUTS, -OUTPUTS))
    value = loss("binary_cross_entropy", "multilabel")(outputs, targets)
    assert float(value) == pytest.approx(-np.log(true).sum(), **CLOSE)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_spreads_a_share_of_the_target_over_all_classes(smoothing: float) -> None:
    shares = np.full((50, 7), smoothing / 7)
    shares[np.arange(50), CLASSES] += 1 - smoothing
    value = loss("cross_entropy", "classification", label_smoothing=smoothing)(*example("classification"))
    assert float(value) == pytest.approx(-(shares * log_probabilities()).sum(), **CLOSE)


@pytest.mark.parametrize(("name", "task"), [pair for pair in PAIRS if pair[1] == "language_modelling"])
def test_padding_counts_for_nothing_in_the_loss_and_in_its_gradient(name: str, task: str) -> None:
    criterion, (logits, classes) = loss(name, task), example(task)
    padded = torch.where(torch.arange(50) % 3 == 0, PADDING, classes)
    counting = padded != PADDING
    alone = criterion(logits[counting], classes[counting])
    value = criterion(logits.requires_grad_(), padded)
    assert value.item() == pytest.approx(alone.item(), **CLOSE)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[~counting] == 0).all()
    assert (gradient[counting] != 0).all()


def test_padding_counts_for_nothing_with_label_smoothing_too() -> None:
    criterion, (logits, classes) = (
        loss("cross_entropy", "language_modelling", label_smoothing=0.2),
        example("language_modelling"),
    )
    padded = torch.cat([classes[:30], torch.full((20,), PADDING)])
    assert float(criterion(logits, padded)) == pytest.approx(float(criterion(logits[:30], classes[:30])), **CLOSE)


def test_classes_have_no_padding() -> None:
    logits, classes = example("classification")
    with pytest.raises(IndexError, match="-1 is out of bounds"):
        loss("cross_entropy", "classification")(logits, torch.where(torch.arange(50) == 7, PADDING, classes))


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_a_loss_of_a_whole_is_the_sum_of_its_parts(name: str, task: str) -> None:
    criterion, (outputs, targets) = loss(name, task), example(task)
    parts = sum(float(criterion(some, of)) for some, of in zip(outputs.split(16), targets.split(16), strict=True))
    assert float(criterion(outputs, targets)) == pytest.approx(parts, **CLOSE)


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_a_loss_falls_along_its_gradient(name: str, task: str) -> None:
    criterion, (outputs, targets) = loss(name, task), example(task)
    outputs.requires_grad_()
    value = criterion(outputs, targets)
    (gradient,) = torch.autograd.grad(value, outputs)
    assert criterion(outputs - 1e-3 * gradient, targets) < value


def test_auto_takes_the_loss_of_the_task() -> None:
    for task, chosen in (
        ("regression", "mse"),
        ("classification", "cross_entropy"),
        ("multilabel", "binary_cross_entropy"),
        ("language_modelling", "cross_entropy"),
    ):
        outputs, targets = example(task)
        assert torch.equal(loss("auto", task)(outputs, targets), loss(chosen, task)(outputs, targets))


def test_auto_chooses_for_each_head() -> None:
    heads = (
        Head(name="price", task="regression", labels=("price",), offset=(0.0,), scale=(1.0,)),
        Head(name="kind", task="classification", labels=("a", "b", "c")),
    )
    task = build_task(parsed(), DataSpec(kind="features", input_shape=(2,), heads=heads))
    outputs = torch.tensor([[1.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])
    totals = task.totals(outputs, torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    assert float(totals["price/loss"]) == 1 + 4
    assert float(totals["kind/loss"]) == pytest.approx(2 * np.log(3), rel=1e-6)  # float32


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": -0.1}),
        ("huber", {"delta": 0.0}),
        ("huber", {"delta": float("inf")}),
        ("huber", {"delta": float("nan")}),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, values: dict[str, float]) -> None:
    (key,) = values
    with pytest.raises(ConfigError, match=rf"^loss\.{key}="):
        typed(LOSSES[name].schema, {**asdict(run_of(name, min(LOSSES[name].tasks)).loss.config), **values}, "loss")


@pytest.mark.parametrize("name", [name for name in LOSSES.names() if "classification" not in LOSSES[name].tasks])
def test_a_loss_that_does_not_fit_the_task_is_refused_with_those_that_do(name: str) -> None:
    fitting = ", ".join(other for other in LOSSES.names() if "classification" in LOSSES[other].tasks)
    with pytest.raises(ConfigError, match=rf"^loss={name} does not fit dataset=digits .*; allowed: {fitting}$"):
        parsed(f"loss={name}", "dataset=digits")
