"""Bound what any linear model can do: the best line on the same points."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

MINSKY = "Minsky & Papert 1969, Perceptrons"
ANGLES = 720  # steps of a quarter of a degree miss the best line by far less than 1 % of the points


def best_line(points: NDArray[Any], labels: NDArray[Any]) -> float:
    """The highest accuracy of any line on points (example, 2) with labels 0 and 1: every offset at each angle."""
    best = 0.0
    signs = 2 * labels - 1
    for angle in np.linspace(0, np.pi, ANGLES, endpoint=False):
        order = np.argsort(points @ [np.cos(angle), np.sin(angle)])
        ahead = np.concatenate([[0], np.cumsum(signs[order])])  # ones minus zeros on the near side
        right = (labels == 0).sum() + ahead  # if the near side is classified as 1
        best = max(best, right.max() / len(labels), 1 - right.min() / len(labels))
    return float(best)


def check(runs: list[Run], report: Report) -> None:
    """The best line is fitted to the test points themselves, and still does not solve them."""
    corners = 0.75 + 3 * (0.75 * 0.25 / 200) ** 0.5  # plus three standard errors of 200 points
    allowed = {"xor": (corners, ".75, 3 of 4 corners, plus three standard errors"), "spirals": (0.97, "below .97")}
    for name, (bound, published) in allowed.items():
        linear = [run for run in runs if run.matches({"dataset": name, "model.hidden_sizes": []})]
        splits = [replay.before(run)[0].data for run in linear]
        lines = [best_line(*replay.arrays(data, data.test)) for data in splits]
        report.mean(f"even the best line does not solve {name}", lines, published, at_most=bound, source=MINSKY)
