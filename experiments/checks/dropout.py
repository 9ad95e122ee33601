"""Measure the gain of dropout by size of the training set, with a paired 95 % confidence interval."""

import numpy as np

from dl_lab.analysis.statistics import student
from dl_lab.plotting.figures import curves
from dl_lab.runs.reader import Run
from experiments.support.findings import Report

SIZES = (100, 500, 5000)


def check(runs: list[Run], report: Report) -> None:
    """A gain is an interval above 0: published are none at 100 and 500 examples, and one at thousands."""
    means, lows, highs = [], [], []
    for size in SIZES:
        chosen = [run for run in runs if run.matches({"dataset.examples": size})]
        none, dropout = (
            {run.seed: run.metric("test/accuracy") for run in chosen if run.matches({"dropout": name})}
            for name in ("none", "dropout")
        )
        gains = np.array([dropout[seed] - none[seed] for seed in sorted(none)])
        low, high = student(gains.tolist())
        for values, value in zip((means, lows, highs), (gains.mean(), low, high), strict=True):
            values.append(value)
        helps, expected = low > 0, size >= 1000
        measured = f"{gains.mean():+.4f}, interval {low:+.4f} to {high:+.4f}"
        published = "a gain" if expected else "no improvement"
        report.holds(f"{published} at {size} examples (95 % interval)", helps == expected, measured, published)
    title = "Gain in test accuracy by dropout, with 95 % interval"
    lines = {"gain": (SIZES, means), "nothing": (SIZES, np.zeros(len(SIZES)))}
    bands = {"gain": (lows, highs)}
    report.figure("gain", curves(lines, title, "training examples", "accuracy", log_x=True, bands=bands))
