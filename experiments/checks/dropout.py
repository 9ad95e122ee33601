"""The gain of dropout at each size of the training set, with its interval: paired by seed, Student's t, 95 %."""

import numpy as np

from dl_lab.analysis.statistics import student
from dl_lab.plotting.figures import curves
from experiments.support.claims import Run
from experiments.support.findings import Report

SIZES = (100, 500, 5000)


def check(runs: list[Run], report: Report) -> None:
    """An improvement is a gain whose interval lies above 0: none is published at 100 and 500, one at thousands."""
    means, lows, highs = [], [], []
    for size in SIZES:
        arms = [
            {
                run.seed: run.metric("test/accuracy")
                for run in runs
                if run.matches({"dataset.examples": size, "dropout": p})
            }
            for p in ("none", "dropout")
        ]
        gains = np.array([arms[1][seed] - arms[0][seed] for seed in sorted(arms[0])])
        low, high = student(gains.tolist())
        for values, value in zip((means, lows, highs), (gains.mean(), low, high), strict=True):
            values.append(value)
        helps, expected = low > 0, size >= 1000
        measured = f"{gains.mean():+.4f}, interval {low:+.4f} to {high:+.4f}"
        published = "a gain" if expected else "no improvement"
        report.holds(f"{published} at {size} examples (interval of 95 %)", helps == expected, measured, published)
    title = "What dropout adds to the test accuracy, and 95 % interval"
    lines = {"gain": (SIZES, means), "nothing": (SIZES, np.zeros(len(SIZES)))}
    report.figure(
        "gain", curves(lines, title, "training examples", "accuracy", log_x=True, bands={"gain": (lows, highs)})
    )
