"""Intervals of test metrics: SciPy's, and those of rows that a task made of ragged batches."""

import json

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from support.commands import TINY, train
from torch import nn
from torch.nn.functional import cross_entropy

from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import PADDING
from dl_lab.sweeps import vectorized_launcher
from dl_lab.training import intervals
from dl_lab.training.tasks.task import Task
from dl_lab.vectorized.autotune import StackSize

RANDOM = np.random.default_rng(0)
CLASSES = Head(name="kind", task="classification", labels=("a", "b", "c"))
LABELS = Head(name="tags", task="multilabel", labels=("a", "b"))
NUMBERS = Head(name="value", task="regression", labels=("x", "y"), offset=(9.0, 9.0), scale=(2.0, 3.0))
TOKENS = Head(name="token", task="language_modelling", labels=tuple("abcd"))


def task_of(*heads: Head, weighted: bool = False) -> Task:
    spec = DataSpec(kind="features", input_shape=(5,), heads=heads, is_weighted=weighted)
    return Task(spec, dict.fromkeys(("classification", "multilabel", "regression", "language_modelling"), nn.Module()))


def intervals_of(task: Task, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, tuple[float, float]]:
    """The intervals of examples in batches of several sizes."""
    parts = zip(outputs.split([9, 30, len(outputs) - 39]), targets.split([9, 30, len(outputs) - 39]), strict=True)
    return task.intervals(torch.cat([task.interval_rows(*part) for part in parts]))


def bootstrap(number: int, statistic) -> tuple[float, float]:
    """SciPy's percentile interval of a statistic of row numbers, with the same draws."""
    found = stats.bootstrap(
        (np.arange(number),),
        statistic,
        vectorized=False,
        n_resamples=intervals.RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(intervals.SEED),
    )
    return tuple(map(float, found.confidence_interval))


@pytest.mark.parametrize(("successes", "number"), [(0, 1999), (10, 10), (1, 1), (331, 360), (9000, 10000)])
def test_a_proportion_has_wilsons_interval(successes, number):
    expected = stats.binomtest(successes, number).proportion_ci(method="wilson")
    low, high = intervals.wilson(successes, number)
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-12, abs=0)


def test_accuracy_of_classes_is_a_proportion_unless_examples_have_weights():
    outputs, targets = torch.from_numpy(RANDOM.normal(size=(60, 3))), torch.from_numpy(RANDOM.integers(3, size=60))
    right = (outputs.argmax(1) == targets).numpy()
    found = intervals_of(task_of(CLASSES), outputs, targets)
    assert found == {"accuracy": intervals.wilson(right.sum(), 60)}
    weights = RANDOM.uniform(0, 3, size=60)
    table = torch.stack([targets.double(), torch.from_numpy(weights)], dim=1)
    weighted = intervals_of(task_of(CLASSES, weighted=True), outputs, table)["accuracy"]
    assert weighted == pytest.approx(bootstrap(60, lambda rows: np.average(right[rows], weights=weights[rows])))


def test_r2_of_several_targets_and_labels_are_bootstrapped_over_examples():
    numbers, tags = RANDOM.normal(size=(60, 2)) + 5, RANDOM.integers(2, size=(60, 2)).astype(float)
    guesses, logits = numbers + RANDOM.normal(size=(60, 2)) / 3, RANDOM.normal(size=(60, 2))
    weights = RANDOM.uniform(0.5, 2, size=60)
    outputs, targets = torch.from_numpy(np.hstack([guesses, logits])), np.hstack([numbers, tags, weights[:, None]])
    found = intervals_of(task_of(NUMBERS, LABELS, weighted=True), outputs, torch.from_numpy(targets))
    assert list(found) == ["value/r2", "tags/accuracy", "tags/subset_accuracy"]
    right = (logits > 0) == (tags > 0.5)
    expected = [
        lambda rows: sk.r2_score(numbers[rows], guesses[rows], sample_weight=weights[rows]),
        lambda rows: np.average(right[rows].mean(1), weights=weights[rows]),
        lambda rows: np.average(right[rows].all(1), weights=weights[rows]),
    ]
    for interval, statistic in zip(found.values(), expected, strict=True):
        assert interval == pytest.approx(bootstrap(60, statistic), rel=1e-9)


def test_windows_of_a_text_are_drawn_as_a_whole_and_padding_does_not_count():
    outputs, targets = (
        torch.from_numpy(RANDOM.normal(size=(50, 6, 4))),
        torch.from_numpy(RANDOM.integers(4, size=(50, 6))),
    )
    targets[::3, 4:] = PADDING

    def nats(rows: np.ndarray) -> float:
        logits, tokens = outputs[rows].flatten(0, 1), targets[rows].flatten()
        return float(cross_entropy(logits, tokens, ignore_index=PADDING))

    found = intervals_of(task_of(TOKENS), outputs, targets)
    assert list(found) == ["accuracy", "nats"]
    assert found["nats"] == pytest.approx(bootstrap(50, nats), rel=1e-9)


def test_groups_of_many_examples_have_the_interval_of_the_examples():
    """The standard error of a mean is known; the quantiles of 2,000 resamples of 1,000 groups are within 10 %."""
    values = RANDOM.normal(size=50_000)
    interval = intervals.mean_interval(values, np.ones(len(values)))
    assert interval is not None
    expected = 1.96 * values.std() / np.sqrt(len(values))
    assert interval == pytest.approx((values.mean() - expected, values.mean() + expected), abs=0.1 * expected)


def test_few_examples_and_undefined_metrics_have_no_bootstrapped_interval():
    few, constant = RANDOM.normal(size=(intervals.LEAST_UNITS - 1, 1)), np.ones((40, 1))
    assert intervals.r2_interval(few / 9, few, np.ones(len(few))) is None
    assert intervals.r2_interval(constant, constant, np.ones(40)) is None


@pytest.mark.parametrize("data", [("dataset=digits",), ("dataset=diabetes",)])
def test_a_member_of_a_stack_has_the_intervals_that_it_has_alone(data, tmp_path, monkeypatch):
    monkeypatch.setattr(vectorized_launcher, "fastest", lambda plans, states, processes: StackSize(len(plans), 1))
    length = (*TINY[1:], *data)
    swept = train(tmp_path, "-m", "seed=1,2", "hydra/launcher=vectorized", "hydra.sweep.dir=sweep", *length)
    assert "together: 2 runs as one stack" in swept.out
    train(tmp_path, "seed=2", "hydra.run.dir=alone", *length)
    member, alone = (
        json.loads((tmp_path / folder / "summary.json").read_text())["test_intervals"]
        for folder in ("sweep/1", "alone")
    )
    assert list(member) == ["accuracy" if "digits" in data[0] else "r2"]
    for name, interval in member.items():
        assert interval == pytest.approx(alone[name], rel=1e-5)  # as every number of a stack in float32
