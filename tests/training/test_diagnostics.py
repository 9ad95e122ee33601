"""Rules on plain numbers: what each finds, and the closest runs that it says nothing about."""

import math

import numpy as np
import pytest
from scipy import stats

from dl_lab.training import diagnostics
from dl_lab.training.diagnostics import Gradient

FALLING = [2.3, 1.1, 0.6, 0.4]
NET = {f"layers.{number}": Gradient(0.1, 3.0) for number in range(4)}


def guess(**changes):
    usual = {"accuracy": 0.9, "balanced": 0.5, "share": 0.9, "label": "no", "classes": 2, "weighted": False}
    return diagnostics.no_better_than_guessing("val/accuracy", **{**usual, **changes})


def overfit(trained: float, validated: float, examples: int, name: str = "accuracy", **mse: float):
    numbers = ({name: value} for value in (trained, validated))
    parts = [own | ({"mse": mse[part]} if mse else {}) for own, part in zip(numbers, ("train", "val"), strict=True)]
    return diagnostics.overfitting(name, *parts, examples)


WRONG = {
    "always the frequent class": (guess(), "always guessing 'no', the most frequent class (0.9)"),
    "below the frequent class": (guess(accuracy=0.85, balanced=0.6), "no better than always guessing 'no'"),
    "always a rare class": (guess(accuracy=0.1, weighted=True), "guessing the same class for all examples"),
    "a spike": (diagnostics.loss_spikes([2.3, 0.4, 0.2, 3.0, 0.3], 0.1), "rose from 0.2 to 3,"),
    "a high loss from the first point on": (diagnostics.loss_spikes([2.3, 9e4, 5e3, 600.0], 1e3), "optimizer.lr=1000"),
    "a flat loss": (diagnostics.loss_never_decreased([2.31, 2.302, 2.303], [2.303, 2.304], 200), "2.31 at step 1"),
    "a rising loss": (diagnostics.loss_never_decreased([1.0, 1.1, 1.2], [1.0, 1.1], 60), "never decreased"),
    "dead units": (diagnostics.dead_units({"a": (3, 100), "b": (67, 100)}, 9, 0.1), "67 of 100 in b have"),
    "vanishing gradients": (diagnostics.vanishing_gradients({"first": Gradient(1e-9, 3.0)} | NET), "of first is 1e-08"),
    "no gradient": (diagnostics.vanishing_gradients({"first": Gradient(0.0, 3.0)} | NET), "of first is 0, unlike"),
    "exploding gradients": (
        diagnostics.exploding_gradients([3e6, 2e6], {"b": Gradient(2e6, 1.0)} | NET, True),
        "norm is 2e+06, most of it in b;",
    ),
    "growing gradients": (diagnostics.exploding_gradients([1e4, 1e5, 2e7], NET, False), "norm is 2e+07"),
    "overfitting": (overfit(1.0, 0.8, 180), "train/accuracy 1, val/accuracy 0.8"),
    "overfitting in numbers": (overfit(0.95, 0.4, 40, "r2", train=1.0, val=12.0), "val/r2 0.4"),
    "overfitting of a text": (overfit(1.1, 1.6, 500, "nats"), "val/nats 1.6"),
    "a missing class": (diagnostics.missing_classes("kind", "abc", [3, 0, 2]), "no example of 1 class of kind: 'b'"),
    "few test examples": (diagnostics.small_test_split("r2", 0.3, None, 9, True), "9 examples, too few"),
}
RIGHT = {
    "better than guessing": guess(accuracy=0.92, balanced=0.6),
    "rare classes that are weighted": guess(accuracy=0.8, balanced=0.8, weighted=True),
    "one class": guess(accuracy=1.0, balanced=1.0, share=1.0, classes=1),
    "a falling loss": diagnostics.loss_spikes(FALLING, 0.1),
    "noise near 0": diagnostics.loss_spikes([*FALLING, 0.001, 0.08, 0.002], 0.1),
    "momentum that overshoots at first": diagnostics.loss_spikes([0.7, 450.0, 20.0, 0.3, 0.005], 0.4),
    "a loss below 0": diagnostics.loss_spikes([1.0, -9.0, 3.0], 0.1),
    "a loss that falls": diagnostics.loss_never_decreased(FALLING, [1.0, 0.5], 200),
    "a loss that only one validation saw": diagnostics.loss_never_decreased([2.3, 2.3], [2.3], 200),
    "few steps of noisy batches": diagnostics.loss_never_decreased([31.6, 35.4], [36.0, 35.9], 6),
    "a slow start": diagnostics.loss_never_decreased([2.31, 2.302, 2.28], [2.303, 2.27], 200),
    "some dead units": diagnostics.dead_units({"a": (66, 100)}, 9, 0.1),
    "no hidden layer": diagnostics.dead_units({}, 9, None),
    "gradients of a usual net": diagnostics.vanishing_gradients({"first": Gradient(1e-4, 3.0)} | NET),
    "no weights, or a fit without error": diagnostics.vanishing_gradients({"first": Gradient(0.0, 3.0)}),
    "usual norms": diagnostics.exploding_gradients([9.0, 12.0], NET, True),
    "norms of large targets": diagnostics.exploding_gradients([1e6, 2e6], NET, False),
    "a large start": diagnostics.exploding_gradients([5e3, 9.0, 1.0, 0.9], NET, True),
    "a gap within the error of validation": overfit(1.0, 0.8, 25),
    "a bad fit on few examples": overfit(-0.05, -1.2, 20, "r2", train=0.1, val=0.1),
    "too few examples": overfit(1.0, 0.0, 10),
    "every class": diagnostics.missing_classes("class", "ab", [1, 1]),
    "a metric that is not defined": diagnostics.small_test_split("r2", math.nan, None, 90, True),
    "r2 with an interval": diagnostics.small_test_split("r2", 0.5, (0.3, 0.7), 90, True),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_line_says_what_happened_and_what_to_do(name):
    line, expected = WRONG[name]
    assert expected in line
    assert line.startswith("warning: ")
    assert line.count("; hint: ") == 1
    assert "\n" not in line


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_said_about_a_run_that_is_as_it_should_be(name):
    assert RIGHT[name] is None


@pytest.mark.parametrize(("right", "examples"), [(352, 359), (30, 30), (1, 2), (700, 1000)])
def test_the_size_that_is_needed_is_the_least_that_resolves_one_percent(right, examples):
    interval = stats.binomtest(right, examples).proportion_ci(method="wilson")
    line = diagnostics.small_test_split("accuracy", right / examples, tuple(interval), examples, True)
    share, sizes = right / examples, np.arange(1, 12_000)
    z = stats.norm.ppf(0.975)
    halves = z * np.sqrt(share * (1 - share) / sizes + z**2 / (4 * sizes**2)) / (1 + z**2 / sizes)
    needed = sizes[halves <= 0.01][0]
    said = int(line.partition("about ")[2].partition(" ")[0].replace(",", ""))
    assert needed <= said < 1.1 * needed  # two digits, rounded up


def test_a_large_test_split_resolves_one_percent():
    assert diagnostics.small_test_split("accuracy", 0.9, (0.894, 0.906), 10_000, True) is None
    weighted = diagnostics.small_test_split("accuracy", 0.9, (0.88, 0.92), 1000, False)
    assert "about 4,000 examples" in weighted  # an interval is half as wide with four times the examples


def test_consecutive_points_are_averaged_by_their_examples():
    assert diagnostics.smoothed([(10, 1.0), (30, 2.0), (40, 3.0), (5, 9.0)], 40) == [1.75, 3.0]
    assert diagnostics.smoothed([(10, 1.0), (10, 2.0)], 40) == [1.5]
    assert diagnostics.smoothed([], 40) == []


def test_warnings_about_many_targets_are_few_lines():
    found = [f"warning: {number}" for number in range(30)]
    assert diagnostics.first_of([None, *found[:2], None]) == found[:2]
    assert diagnostics.first_of(found) == [found[0], f"{found[1]} (the same holds for 28 other targets)"]
