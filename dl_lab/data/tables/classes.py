"""The values of categories and classes: which texts are the same one, and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from dl_lab.data.tables.cells import parse_number

if TYPE_CHECKING:
    import polars as pl


def are_numbers(cells: Iterable[str]) -> bool:
    """Whether all cells are finite numbers, which name the same class however they are written."""
    return all((value := parse_number(cell)) is not None and abs(value) < inf for cell in cells)


def key(cell: str, as_numbers: bool) -> object:
    """What all spellings of one class have in common."""
    number = parse_number(cell) if as_numbers else None
    return number if number is not None else normalize("NFC", cell)


def labels_by_key(cells: Iterable[str], as_numbers: bool) -> dict[object, str]:
    """The label of each class: the shortest spelling of a number, or the text in its composed form (NFC)."""
    labels: dict[object, str] = {}
    for cell in sorted(cells, key=lambda cell: (len(cell), cell)):
        labels.setdefault(key(cell, as_numbers), cell if as_numbers else normalize("NFC", cell))
    return labels


def class_numbers(cells: pl.Series, labels: Sequence[str], as_numbers: bool) -> NDArray[np.int64]:
    """The number (row,) of the label of each cell; -1 for all others."""
    import polars as pl

    places = {key(label, as_numbers): place for place, label in enumerate(labels)}
    of_cell = {
        cell: place for cell in cells.unique().drop_nulls() if (place := places.get(key(cell, as_numbers))) is not None
    }
    if not of_cell:
        return np.full(len(cells), -1)
    known, numbers = pl.Series(list(of_cell), dtype=pl.String), pl.Series(list(of_cell.values()), dtype=pl.Int64)
    return cells.replace_strict(known, numbers, default=-1, return_dtype=pl.Int64).to_numpy().copy()
