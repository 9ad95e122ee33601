"""Every line there is: the best of them bounds what a linear model could do on the same points."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.checks.trained_model import load, numbers
from experiments.support.claims import Run
from experiments.support.findings import Report

MINSKY = "Minsky & Papert 1969, Perceptrons"
ANGLES = 720  # a quarter of a degree: the best line is missed by far less than a point in a hundred


def best_line(points: NDArray[Any], labels: NDArray[Any]) -> float:
    """The highest accuracy of any line on points (example, 2) with labels 0 and 1: each angle with every offset."""
    best = 0.0
    signs = 2 * labels - 1
    for angle in np.linspace(0, np.pi, ANGLES, endpoint=False):
        order = np.argsort(points @ [np.cos(angle), np.sin(angle)])
        ahead = np.concatenate([[0], np.cumsum(signs[order])])  # ones less zeros on the near side
        right = (labels == 0).sum() + ahead  # of those that call the near side 1
        best = max(best, right.max() / len(labels), 1 - right.min() / len(labels))
    return float(best)


def check(runs: list[Run], report: Report) -> None:
    """The best line on the test points, which it has seen; the networks, which have not, pass .97."""
    corners = 0.75 + 3 * (0.75 * 0.25 / 200) ** 0.5  # three corners of four, and three standard errors of 200 points
    for name, bound, published in (
        ("xor", corners, ".75, 3 of 4 corners, and three standard errors"),
        ("spirals", 0.97, "below .97"),
    ):
        lines = []
        for run in runs:
            if run.matches({"dataset": name, "model.hidden_sizes": []}):
                data = load(run)[1]
                lines.append(best_line(*numbers(data, data.test)))
        report.mean(f"not even the best of all lines solves {name}", lines, published, at_most=bound, source=MINSKY)
