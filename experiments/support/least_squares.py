"""Exact least squares in rational arithmetic, and the number of digits two numbers share."""

import csv
from math import inf, log10
from pathlib import Path

import numpy as np
import sympy

from dl_lab.plotting.figures import Numbers, array

DATA = Path(__file__).parents[1] / "data"


def exact(file: str, target: str) -> list[sympy.Rational]:
    """The intercept and the coefficient of every other column, for a table in experiments/data."""
    with (DATA / file).open(newline="") as lines:
        rows = [{name: sympy.Rational(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]
    inputs = sympy.Matrix([[1, *(value for name, value in row.items() if name != target)] for row in rows])
    outputs = sympy.Matrix([row[target] for row in rows])
    return list((inputs.T * inputs).LUsolve(inputs.T * outputs))  # the normal equations


def digits(measured: Numbers, reference: Numbers) -> float:
    """The significant digits that all numbers share with their references: NIST's log relative error."""
    ours, theirs = array(measured).astype(np.float64), array(reference).astype(np.float64)
    worst = float(np.max(np.abs(ours - theirs) / np.abs(theirs)))
    return -log10(worst) if worst else inf
