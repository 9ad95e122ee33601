"""The cells of tables: numbers, and marks of missing values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from dl_lab.core.errors import require
from dl_lab.core.schema import Schema

if TYPE_CHECKING:
    import polars as pl

Lines = list[tuple[int, list[str]]]  # the number of a line, and its cells

MISSING = {  # what pandas reads as missing, and further marks of spreadsheets, UCI and SAS
    *("", "NA", "N/A", "NaN", "-NaN", "NULL", "<NA>", "#N/A", "#NA", "NaT", "nan", "-nan", "n/a", "null"),
    *("na", "NAN", "Null", "--", ".", "?"),
}
WAYS: dict[str, dict[str, Any]] = {  # to write numbers, by the hint that reads them
    "": {},
    "dataset.percent=true reads them": {"percent": True},
    "\"dataset.thousands=','\" reads them": {"thousands": ","},
    "\"dataset.thousands=' '\" reads them": {"thousands": " "},
    "\"dataset.decimal=','\" reads them": {"decimal": ","},
    "\"dataset.decimal=','\" \"dataset.thousands='.'\" reads them": {"decimal": ",", "thousands": "."},
}
UNSURE = {"-", "None"}  # missing among numbers, dates and booleans; a category beside words, such as "+"
SPACES = " \u00a0\u202f\u2009"  # all that may stand between thousands


class Numbers(Schema):
    """How numbers are written: the sign before their fraction, between their thousands, and whether 5% is 0.05."""

    decimal: Literal["auto", ".", ","]
    thousands: Literal[",", ".", " ", "'", "_"] | None
    percent: bool

    def __post_init__(self) -> None:
        is_free = self.thousands is None or self.thousands != self.decimal
        require(is_free, "dataset.thousands", self.thousands, f"a sign other than dataset.decimal={self.decimal}")


def parse_number(cell: str) -> float | int | None:
    """Parse a number as spreadsheets write it, exactly if it is whole; None for anything else, including 1_000."""
    try:
        value = float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None
    is_inexact = value is not None and 2**53 <= abs(value) < inf and cell.lstrip("+-").isdigit()
    return int(cell) if is_inexact else value


def parse_numbers(frame: pl.DataFrame, options: Numbers) -> pl.DataFrame:
    """The numbers in columns of text as float64, as Python's float() reads them; null where a cell is none, such as
    1_000 or nan. Those beyond float64 are infinite.
    """
    import polars as pl

    cell = pl.all()
    if options.thousands:
        signs = SPACES if options.thousands == " " else rf"\{options.thousands}"
        sign, rest = f"[{signs}]", rf"(\s*[^\d\s{signs}][^{signs}]*)?$"
        grouped = cell.str.contains(rf"^[+-]?\d{{1,3}}({sign}\d{{2,3}})*{sign}\d{{3}}{rest}")
        frame = frame.select(pl.when(grouped).then(cell.str.replace_all(sign, "")).otherwise(cell))
    if options.decimal == ",":
        is_free = ~cell.str.contains(".", literal=True)
        frame = frame.select(pl.when(is_free).then(cell.str.replace(",", ".", literal=True)))
    if options.percent:
        bare = cell.str.strip_suffix("%").str.strip_chars_end().cast(pl.Float64, strict=False)
        numbers = frame.select(bare / pl.when(cell.str.ends_with("%")).then(100.0).otherwise(1.0))
    else:
        numbers = frame.select(cell.cast(pl.Float64, strict=False))
    return numbers.with_columns(cell.fill_nan(None))  # a step of its own, or the texts are parsed again


def other_way(texts: pl.Series, options: Numbers) -> str:
    """A hint if texts are numbers that the options do not read: with percent or currency signs, thousands, or decimal
    commas; otherwise "".
    """
    import polars as pl

    frame = texts.drop_nulls().unique(maintain_order=True).head(100).to_frame()
    bare = frame.select(pl.all().str.strip_chars("$€£¥ "))
    if frame.is_empty() or not bare.to_series().str.contains(r"^[+-]?[0-9.,]").all():
        return ""
    for hint, changes in WAYS.items():
        if options.thousands is None or "thousands" not in changes:
            read = parse_numbers(bare, replace(options, **changes))
            if not read.to_series().null_count():
                sign = "" if bare.equals(frame) else "remove the currency sign"
                return "; ".join(filter(None, (sign, hint)))
    return ""


def are_inexact(series: pl.Series) -> bool:
    """Whether a column of text has distinct whole numbers beyond 2^53 that are equal in float64."""
    whole = {int(cell) for cell in series.filter(series.str.contains(r"^[+-]?\d{16,}$")).unique() if len(cell) < 400}
    return len({float(value) for value in whole if abs(value) < 2**1023}) < len(whole)


def decimal_sign(frame: pl.DataFrame, separator: str) -> Literal[".", ","]:
    """The sign before fractions in rows whose cells are not separated by commas: a comma if it is so in at least one
    column of numbers, and a point in none. Between tabs and the like, 1,234 may be a thousand.
    """
    import polars as pl

    def has(column: str, sign: str) -> pl.Expr:
        cell = without(UNSURE, pl.col(column))
        fits = cell.str.contains(rf"^[+-]?(\d+(\{sign}\d*)?|\{sign}\d+)([eE][+-]?\d+)?\s*%?$")
        fraction = rf"\{sign}" if separator == ";" or sign == "." else r",(\d{1,2}|\d{4,})?($|\D)"
        return (fits.mean() > 0.9) & (fits & cell.str.contains(fraction)).any()

    found = {sign: frame.select(pl.any_horizontal([has(name, sign) for name in frame.columns])) for sign in ".,"}
    return "," if found[","].item() and not found["."].item() else "."


def marks_of(missing: Iterable[str | int | float]) -> set[str]:
    """The cells that stand for a missing value besides `MISSING`; a whole number also as a float, such as -999.0."""
    return {text for mark in missing for text in (str(mark), f"{mark}.0" if isinstance(mark, int) else "") if text}


def without_missing(frame: pl.DataFrame, missing: Iterable[str | int | float]) -> pl.DataFrame:
    """Replace the marks of missing values by null; those of `UNSURE` only if they are among `missing`."""
    import polars as pl

    every = MISSING | marks_of(missing)
    flags = frame.select(pl.col(pl.String).is_in(sorted(every)).any()).to_dict()
    return frame.with_columns(without(every, pl.col([name for name, (flag,) in flags.items() if flag])))


def without(marks: set[str], cell: pl.Expr) -> pl.Expr:
    import polars as pl

    return pl.when(~cell.is_in(sorted(marks))).then(cell)
