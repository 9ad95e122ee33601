"""Read a table from a file: csv, tsv or parquet, compressed or not."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from dl_lab.core.schema import Schema
from dl_lab.data.files import read_text
from dl_lab.data.tables.cells import MISSING
from dl_lab.data.tables.layout import check_layout

if TYPE_CHECKING:
    import polars as pl


class Reading(Schema):
    """How a table is written in a file."""

    separator: str
    encoding: str
    header: bool
    decimal: str
    thousands: str | None
    percent: bool
    missing: list[str]


@dataclass(frozen=True)
class RawTable:
    """The columns of a file. Those of text are stripped texts, null where a value is missing.

    `options`: as resolved, for `parse_numbers`: the separator, encoding and decimal sign that were found.
    """

    path: str
    frame: pl.DataFrame
    options: Reading

    def place(self, row: int, column: str) -> str:
        """Where a cell is, for a message: "line 12, column y" (line in the file, from 1)."""
        return f"line {row + 2}, column {column}"


def read_table(path: str, options: Reading) -> RawTable:
    """Read the file.

    Raises:
        ConfigError: naming the line, if the file cannot be read as a table.
    """
    import polars as pl

    text = read_text(path, "a CSV file")
    lines = [
        (number, [cell.strip() for cell in cells])
        for number, cells in enumerate(csv.reader(StringIO(text, newline=""), skipinitialspace=True), start=1)
        if "".join(cells).strip() or len(cells) > 1
    ]
    check_layout(path, text, lines, "")
    (_, header), *rows = lines
    columns = {
        name: pl.Series(name, [None if cells[place] in MISSING else cells[place] for _, cells in rows], dtype=pl.String)
        for place, name in enumerate(header)
    }
    return RawTable(path, pl.DataFrame(columns), options)


def parse_numbers(series: pl.Series, options: Reading) -> pl.Series:
    """The numbers in a column of text as float64, exactly as Python's float() reads them; null where a cell is no
    number, such as 1_000, or infinite.
    """
    import polars as pl

    is_plain = ~pl.col(series.name).str.contains(r"[^0-9eE+.\-]")
    return series.to_frame().select(pl.when(is_plain).then(pl.all()).cast(pl.Float64, strict=False)).to_series()
