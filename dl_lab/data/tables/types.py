"""The types of columns, found in the training rows only, and their cells as values of these types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dl_lab.core.errors import ConfigError
from dl_lab.data.tables import classes, columns, dates
from dl_lab.data.tables.cells import UNSURE, are_inexact, other_way, parse_numbers, without
from dl_lab.data.tables.columns import Encoder
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.reading import RawTable

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["number", "boolean", "date", "category"]
LARGEST = float(np.finfo(np.float32).max)
COUNTER = re.compile(r"index|level_\d+|id|rownames|row", re.IGNORECASE)  # names of pandas and R
BOOLEAN_WORDS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))


@dataclass(frozen=True)
class Typed:
    """A column as values (row,) of one type, null where missing: Float64, Boolean, Datetime in microseconds, or String.

    `unread` cells have no value of this type, and are missing. `words` are those of a boolean, `pattern` is the format
    of a date, and `mistake` is the first row with text in a category that consists mostly of numbers.
    """

    kind: Kind
    values: pl.Series
    unread: int = 0
    words: tuple[str, str] = BOOLEAN_WORDS[0]
    pattern: str = ""
    mistake: int | None = None


def typed(table: RawTable, name: str, train: Rows, chosen: Kind | None = None) -> Typed | None:
    """A column as values of its `chosen` type, or of the type that its `train` rows have; None if they have no value.

    Raises:
        ConfigError: for a number that float32 cannot hold, or if no training row has a value of the chosen type.
    """
    raw, mistake = table.frame[name], None
    if (stored := native(raw)) is not None and chosen in (None, stored.kind):
        if stored.kind == "number":
            check_range(table, stored.values)
        return stored if _has_values(stored.values, train) else None
    raw = sure = as_text(raw)
    if chosen in (None, "number"):
        numbers = numbers_of(table, name)
        sure = _without_unsure(raw) if numbers.null_count() > raw.null_count() else raw
        unread = numbers.null_count() - sure.null_count()
        is_bad = (numbers.is_null() & sure.is_not_null()).to_numpy() if unread else np.zeros(0, dtype=bool)
        if 2 * unread <= len(sure) - sure.null_count():  # the others are mistakes, or stand for missing values
            check_range(table, numbers)
            mistake = int(is_bad.argmax()) if unread else None
        if chosen or not unread or not is_bad[train].any():
            if _has_values(numbers, train):
                return Typed("number", numbers, unread)
            _refuse_other(table, sure, train, chosen)
    sure = _without_unsure(raw) if chosen == "date" else sure
    known = sure.gather(train).drop_nulls()
    if not len(known) and not _has_values(raw, train):
        return None
    if chosen is None and (words := _words(known)) is not None:
        values = raw.str.to_lowercase().replace_strict(words, (False, True), default=None)
        return Typed("boolean", values, values.null_count() - sure.null_count(), words=words)
    if chosen in (None, "date") and (pattern := dates.pattern(known, chosen == "date")) is not None:
        values = dates.parsed(raw, pattern)
        return Typed("date", values, values.null_count() - sure.null_count(), pattern=pattern)
    _refuse_other(table, sure, train, chosen)
    return Typed("category", raw, mistake=mistake)


def _without_unsure(raw: pl.Series) -> pl.Series:
    import polars as pl

    return raw.to_frame().select(without(UNSURE, pl.all())).to_series()


def is_number_or_unsure(table: RawTable, name: str) -> bool:
    """Whether all cells are numbers or marks of `UNSURE`, and both occur, in the rows that may be for training."""
    import polars as pl

    raw = table.frame[name].gather(table.candidates)
    if raw.dtype != pl.String or not raw.is_in(sorted(UNSURE)).any():
        return False
    nulls = numbers_of(table, name).gather(table.candidates).null_count()
    return nulls < len(raw) and nulls == _without_unsure(raw).null_count()


def _has_values(values: pl.Series, train: Rows) -> bool:
    return not values.null_count() or values.gather(train).null_count() < len(train)


def _refuse_other(table: RawTable, raw: pl.Series, train: Rows, chosen: Kind | None) -> None:
    """Raises: ConfigError if the training rows have text, but no number or date as chosen."""
    rows = train[raw.gather(train).is_not_null().to_numpy()]
    if chosen in ("number", "date") and len(rows):
        row = int(rows.min())
        raise ConfigError(
            f"dataset.{chosen}s={raw.name} has no {chosen} in the training split, but {raw[row]!r} in "
            f"{table.place(row, raw.name)}; allowed: a column of {chosen}s"
        )


def _words(known: pl.Series) -> tuple[str, str] | None:
    """The words of a boolean column, in lower case; None if it has others, or one of them only."""
    found = set(known.unique().str.to_lowercase()) if known.n_unique() <= 8 else set()
    return next((words for words in BOOLEAN_WORDS if found == set(words)), None)


def native(raw: pl.Series) -> Typed | None:
    """The values of a column that is stored with its type, as in parquet files; None for text."""
    import polars as pl

    if raw.dtype.is_numeric():
        return Typed("number", raw.cast(pl.Float64))
    if raw.dtype.is_temporal():
        found = dates.likely(raw.cast(pl.Datetime("us")))
        return Typed("date", found, found.null_count() - raw.null_count())
    return Typed("boolean", raw) if raw.dtype == pl.Boolean else None


def as_text(raw: pl.Series) -> pl.Series:
    """A column as text, null where missing; whole numbers without a decimal point."""
    import polars as pl

    if raw.dtype.is_float():
        whole = raw.cast(pl.Int64, strict=False)
        return whole.cast(pl.String).zip_with((raw == whole).fill_null(value=False), raw.cast(pl.String))
    return raw if raw.dtype == pl.String else raw.cast(pl.String)


def numbers_of(table: RawTable, name: str) -> pl.Series:
    """The numbers of a column, null for all other cells."""
    if name in table.numbers.columns:
        return table.numbers[name]
    raw = table.frame[name]
    stored = native(raw)
    if stored is not None and stored.kind == "number":
        return stored.values
    return parse_numbers(as_text(raw).to_frame(), table.options).to_series()


def check_range(table: RawTable, numbers: pl.Series) -> None:
    """Raises: ConfigError for a number that float32 cannot hold, and for whole numbers that float64 confuses."""
    least, most = numbers.min(), numbers.max()
    if not isinstance(least, float) or not isinstance(most, float) or (largest := max(-least, most)) < 2**53:
        return
    raw = as_text(table.frame[numbers.name])
    if largest > LARGEST:
        raise not_a_number(table, raw, int((numbers.abs() > LARGEST).arg_max() or 0))
    if are_inexact(raw):
        raise ConfigError(
            f"dataset.path={table.path} column {raw.name} has whole numbers beyond 2^53 that are equal in float64; "
            f"allowed: numbers that float64 tells apart; hint: leave it out with dataset.drop=[{raw.name}]"
        )


def not_a_number(table: RawTable, raw: pl.Series, row: int) -> ConfigError:
    """The error for a cell of a column of numbers."""
    return ConfigError(
        f"dataset.path={table.path} {table.place(row, raw.name)}: {raw[row]!r} is not a number; allowed: finite "
        f"numbers (float32), such as 4623.5 or -1e3; hint: {_hint(table, raw, row)}"
    )


def _hint(table: RawTable, raw: pl.Series, row: int) -> str:
    if raw[row] == raw.name:
        return "remove this line, which repeats the header"
    missing = f"dataset.missing=[{raw[row]}] if it stands for a missing value; a target may be a class with "
    return other_way(raw[row : row + 1].append(raw), table.options) or f"{missing}dataset.task=classification"


@dataclass(frozen=True)
class Feature:
    """A feature: how it is encoded, its values, whether all training rows have the same one, and how many cells of
    other rows have a category that no training row has.
    """

    encoder: Encoder
    column: Typed
    is_constant: bool
    unseen: int = 0


def learned(column: Typed, train: Rows, most: int) -> Feature:
    """Learn the encoder of a column from its `train` rows; a category has at most `most` columns."""
    values = column.values
    name, known = values.name, values.gather(train)
    is_constant = not known.null_count() and known.min() == known.max()
    encoder: Encoder
    match column.kind:
        case "number":
            encoder = columns.learned_number(name, known)
        case "boolean":
            encoder = columns.learned_boolean(name, known, column.words)
        case "date":
            encoder = columns.learned_date(name, known, column.pattern)
        case "category":
            category = columns.learned_category(name, known, most)
            return Feature(category, column, is_constant, _unseen(values, known, category.as_numbers))
    return Feature(encoder, column, is_constant)


def _unseen(values: pl.Series, known: pl.Series, as_numbers: bool) -> int:
    """How many cells have a category that is not among the `known` ones."""
    import polars as pl

    seen = {classes.key(cell, as_numbers) for cell in known.unique().drop_nulls()}
    cells, counts = values.drop_nulls().value_counts().get_columns()
    return int(counts.filter(pl.Series([classes.key(cell, as_numbers) not in seen for cell in cells])).sum())


def numbers_rows(table: RawTable, name: str, train: Rows) -> bool:
    """Whether a column without a name, or named as an index, counts the rows from 0 or 1."""
    if name.startswith("Unnamed: ") or not COUNTER.fullmatch(name):
        return name.startswith("Unnamed: ")
    numbers = numbers_of(table, name).gather(train)
    first = (numbers - train).unique()
    return len(first) == 1 and first.item() in (0, 1)
