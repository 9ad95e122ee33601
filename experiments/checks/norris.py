"""Compare the trained line with the certified one, in original units."""

import numpy as np

from dl_lab.runs.reader import Run
from experiments.checks.linear_regression import draw_paths
from experiments.support import replay
from experiments.support.findings import Report
from experiments.support.least_squares import digits, exact

CERTIFIED = (-0.262323073774029, 1.00211681802045)


def check(runs: list[Run], report: Report) -> None:
    solved = [float(value) for value in exact("norris.csv", "y")]
    agreed = digits(solved, CERTIFIED)
    claim = "least squares in rational arithmetic on our copy of the data"
    report.holds(claim, agreed >= 13, f"{agreed:.1f} digits", "15 certified")
    for run in runs:
        coefficients, intercepts = replay.unstandardized_line(run)
        found = np.array([intercepts[0], coefficients[0, 0]])
        agreed = digits(found, CERTIFIED)
        published = f"{CERTIFIED[0]}, {CERTIFIED[1]}, to 9 digits or more"
        report.holds(f"intercept and slope, seed {run.seed}", agreed >= 9, f"{agreed:.1f} digits", published)
    draw_paths(runs, report)
