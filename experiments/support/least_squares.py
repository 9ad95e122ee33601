"""Exact least squares in rational arithmetic, and the number of digits two numbers share."""

import csv
from fractions import Fraction
from math import inf, log10
from pathlib import Path

import numpy as np

from dl_lab.plotting.figures import Numbers, array

Matrix = list[list[Fraction]]
DATA = Path(__file__).parents[1] / "data"


def exact(file: str, target: str) -> list[Fraction]:
    """The intercept and the coefficient of every other column, for a table in experiments/data."""
    with (DATA / file).open(newline="") as lines:
        rows = [{name: Fraction(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]
    inputs = [[Fraction(1), *(value for name, value in row.items() if name != target)] for row in rows]
    columns = list(zip(*inputs, strict=True))
    outputs = [row[target] for row in rows]
    normal = [[_dot(one, other) for other in columns] + [_dot(one, outputs)] for one in columns]
    return _solved(normal)


def _dot(one: "tuple[Fraction, ...]", other: "tuple[Fraction, ...] | list[Fraction]") -> Fraction:
    return sum((a * b for a, b in zip(one, other, strict=True)), Fraction(0))


def _solved(rows: Matrix) -> list[Fraction]:
    """Gauss-Jordan elimination of (unknown, unknown + 1); arithmetic is exact, so that any nonzero pivot works."""
    for place in range(len(rows)):
        pivot = next(row for row in range(place, len(rows)) if rows[row][place])
        rows[place], rows[pivot] = rows[pivot], rows[place]
        rows[place] = [value / rows[place][place] for value in rows[place]]
        for other in range(len(rows)):
            if other != place:
                factor = rows[other][place]
                rows[other] = [a - factor * b for a, b in zip(rows[other], rows[place], strict=True)]
    return [row[-1] for row in rows]


def digits(measured: Numbers, reference: Numbers) -> float:
    """The significant digits that all numbers share with their references: NIST's log relative error."""
    ours, theirs = array(measured).astype(np.float64), array(reference).astype(np.float64)
    worst = float(np.max(np.abs(ours - theirs) / np.abs(theirs)))
    return -log10(worst) if worst else inf
