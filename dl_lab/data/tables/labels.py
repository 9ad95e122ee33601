"""Multi-label targets: columns of 0 and 1, true and false, or of several words in a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.spec import Head
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.heads import Column, Values
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.types import BOOLEAN_WORDS, as_text, numbers_of

if TYPE_CHECKING:
    import polars as pl


def label_values(table: RawTable, name: str, rows: Rows, train: Rows, separator: str | None) -> dict[str, Values]:
    """The values (row,), 0 or 1, of each label of a column; its name is the label of a column with one.

    Raises:
        ConfigError: if one of `rows` has another value, or no training row has a label.
    """
    cells = as_text(table.frame[name])
    values = numbers_of(table, name)
    if values.gather(rows).null_count():
        values = _booleans(cells, rows)
    found = values.gather(rows)
    bad = rows[~found.is_in([0.0, 1.0]).fill_null(value=False).to_numpy()]
    if len(bad) and separator is not None:
        return _of_words(cells, rows, train, separator)
    if len(bad):
        row = int(bad.min())
        raise ConfigError(
            f"dataset.targets={name} has {cells[row]!r} in {table.place(row, name)}, and is a label; allowed: 0 and 1, "
            "or true and false; hint: dataset.label_separator=SIGN for cells of several labels"
        )
    return {name: values.to_numpy()}


def _booleans(cells: pl.Series, rows: Rows) -> pl.Series:
    """1 for the words of true, and 0 for those of false; null for others."""
    import polars as pl

    lowered = cells.str.to_lowercase()
    found = set(lowered.gather(rows).unique().drop_nulls())
    words = next((pair for pair in BOOLEAN_WORDS if found <= set(pair)), BOOLEAN_WORDS[0])
    return lowered.replace_strict(words, (0.0, 1.0), default=None, return_dtype=pl.Float64)


def _of_words(cells: pl.Series, rows: Rows, train: Rows, separator: str) -> dict[str, Values]:
    sets = [{word.strip() for word in (cell or "").split(separator)} - {""} for cell in cells.to_list()]
    labels = sorted(set().union(*(sets[row] for row in train)))
    if not labels:
        raise ConfigError(f"dataset.targets={cells.name} has no label in the training split; allowed: one or more")
    if unknown := set().union(*(sets[row] for row in rows)) - {*labels}:
        announce(
            f"dataset.targets={cells.name}: labels that are not in the training split are left out: "
            f"{', '.join(sorted(unknown)[:5])}"
        )
    return {label: np.array([float(label in own) for own in sets]) for label in labels}


def labels_head(columns: Sequence[tuple[str, dict[str, Values]]], order: Rows, taken: Sequence[str]) -> Column:
    """One head for the labels of all columns. It has the name of its only column, or else "labels", with "_" added
    where a name is `taken`. A label that several columns have is called COLUMN=LABEL.
    """
    name = columns[0][0] if len(columns) == 1 else "labels"
    while name in taken:
        name += "_"
    every = [label for _, values in columns for label in values]
    named = {
        label if every.count(label) == 1 else f"{column}={label}": values[order]
        for column, of_column in columns
        for label, values in of_column.items()
    }
    return Head(name=name, task="multilabel", labels=tuple(named)), torch.from_numpy(np.column_stack([*named.values()]))
