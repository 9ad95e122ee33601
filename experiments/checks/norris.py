"""The certified line from the checkpoint, its standardisation undone, and the way there."""

import numpy as np

from experiments.checks.linear_regression import draw_paths
from experiments.support import replay
from experiments.support.claims import Run
from experiments.support.findings import Report
from experiments.support.least_squares import digits, exact

CERTIFIED = (-0.262323073774029, 1.00211681802045)


def check(runs: list[Run], report: Report) -> None:
    solved = [float(value) for value in exact("norris.csv", "y")]
    agreed = digits(solved, CERTIFIED)
    report.holds("rational arithmetic on our copy of the data", agreed >= 13, f"{agreed:.1f} digits", "15 certified")
    for run in runs:
        coefficients, intercepts = replay.linear_in_own_units(run)
        found = np.array([intercepts[0], coefficients[0, 0]])
        agreed = digits(found, CERTIFIED)
        published = f"{CERTIFIED[0]}, {CERTIFIED[1]}, to 9 digits or more"
        report.holds(f"intercept and slope, seed {run.seed}", agreed >= 9, f"{agreed:.1f} digits", published)
    draw_paths(runs, report)
