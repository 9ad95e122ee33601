"""Least squares in rational arithmetic, which rounds nothing, and how many digits of a reference a number has."""

import csv
from fractions import Fraction
from math import inf, log10
from pathlib import Path

import numpy as np

from dl_lab.plotting.figures import Numbers, array

Matrix = list[list[Fraction]]
DATA = Path(__file__).parents[1] / "data"


def exact(file: str, target: str) -> list[Fraction]:
    """Intercept, then the coefficient of every other column, of a table in experiments/data."""
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
    """Gauss-Jordan elimination of (unknown, unknown + 1); nothing is rounded, so any pivot but 0 will do."""
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
    """Significant digits that the worst of the numbers shares with its reference: NIST's log relative error."""
    ours, theirs = array(measured).astype(np.float64), array(reference).astype(np.float64)
    worst = float(np.max(np.abs(ours - theirs) / np.abs(theirs)))
    return -log10(worst) if worst else inf
