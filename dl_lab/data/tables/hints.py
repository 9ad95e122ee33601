"""Hints about cells of another form than most of their column, and about classes that are several labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dl_lab.data.tables import dates
from dl_lab.data.tables.cells import UNSURE, other_way, parse_numbers
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.types import Typed, as_text

if TYPE_CHECKING:
    import polars as pl

UNIT = r"^[+-]?\d[\d.,]*\s*([^\d\s.,+-]{1,8})$"  # after a number
MOST_UNITS, LEAST_NUMBERS = 3, 10  # of a column with units; "1st" and "2nd", or "3B" and "17E", are categories
SAMPLE = 8  # texts, whose formats of dates are tried


def unread_cells(table: RawTable, column: Typed) -> str:
    """Which cell has no value of the type of its column, and how many more."""
    name = column.values.name
    raw = as_text(table.frame[name])
    bad = column.values.is_null() & raw.is_not_null() & ~raw.is_in(sorted(UNSURE))
    row = int((bad if bad.any() else column.values.is_null() & raw.is_not_null()).arg_max() or 0)
    more = f" ({column.unread - 1:,} more)" if column.unread > 1 else ""
    return f"{table.place(row, name)}: {raw[row]!r} is not read as a {column.kind}, and missing{more}"


def odd_cell(table: RawTable, column: Typed) -> str:
    """Which cell makes a column a category though most cells are numbers or dates, and what to do; otherwise ""."""
    texts, row = column.values, column.mistake
    name = texts.name
    missing = f"dataset.{{0}}s=[{name}] makes it a column of {{0}}s with missing values"
    start = 0 if row is None else row
    if hint := other_way(texts[start : start + 1].append(texts), table.options):
        kind, bad = "number", parse_numbers(texts.to_frame(), table.options).to_series().is_null()
    elif row is not None:
        hint = "remove the unit" if texts[row : row + 1].str.contains(UNIT).item() else "write it as the others"
        return _said(table, texts, row, "number", f"{hint}, or {missing.format('number')}")
    elif _have_units(texts.filter(is_unit := texts.str.contains(UNIT)), len(texts)):
        kind, bad, hint = "number", is_unit, "remove the unit"
    elif written := _most_dates(texts):
        kind, bad = "date", dates.parsed(texts, written[1]).is_null()
        hint = f"write it as {written[0]!r}, or {missing.format('date')}"
    else:
        return ""
    return _said(table, texts, int((bad & texts.is_not_null()).arg_max() or 0), kind, hint)


def _said(table: RawTable, texts: pl.Series, row: int, kind: str, hint: str) -> str:
    where = table.place(row, texts.name)
    return f"{where}: {texts[row]!r} is no {kind}, so that the column is a category; hint: {hint}"


def _have_units(cells: pl.Series, rows: int) -> bool:
    """Whether most cells are numbers with one of a few units."""
    units = cells.str.extract(UNIT)
    return 2 * len(cells) >= rows and units.n_unique() <= MOST_UNITS and cells.n_unique() > LEAST_NUMBERS


def _most_dates(texts: pl.Series) -> tuple[str, str] | None:
    """A text and its format of dates, which at least half of the texts have."""
    known = texts.drop_nulls().unique(maintain_order=True)
    samples = ((text, dates.pattern(known[place : place + 1], False)) for place, text in enumerate(known.head(SAMPLE)))
    counts = [
        (len(known) - dates.parsed(known, pattern).null_count(), text, pattern) for text, pattern in samples if pattern
    ]
    count, text, pattern = max(counts, key=lambda each: each[0], default=(0, "", ""))
    return (text, pattern) if counts and 2 * count >= len(known) > 2 else None


def odd_classes(names: Sequence[str]) -> str:
    """A hint if most classes are several labels, which classes share, or numbers with a unit; otherwise ""."""
    import polars as pl

    classes = pl.Series(names)
    if _have_units(units := classes.filter(classes.str.contains(UNIT)), len(classes)):
        return f"classes such as {units[0]!r} seem to be numbers; hint: remove the unit"
    for sign in ";|,":
        joined = classes.filter(classes.str.contains(sign, literal=True))
        labels = {part.strip() for name in names for part in name.split(sign)}
        if 2 * len(joined) > len(classes) > len(labels):
            separator = f"\"dataset.label_separator='{sign}'\""
            return f"classes such as {joined[0]!r} seem to be labels; hint: dataset.task=multilabel {separator}"
    return ""
