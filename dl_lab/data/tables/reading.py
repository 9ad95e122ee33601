"""Read a table from a file: csv, tsv or parquet, compressed or not."""

from __future__ import annotations

import codecs
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.errors import ConfigError, require
from dl_lab.core.progress import announce
from dl_lab.data.tables.cells import Numbers, decimal_sign, parse_numbers, without_missing
from dl_lab.data.tables.encoding import TABLES, as_utf8, refuse_bomb, unpack
from dl_lab.data.tables.layout import NAMED, Layout, find_layout, read_lines, with_names
from dl_lab.data.tables.rows import below, plain_numbers, read_rows
from dl_lab.data.tables.separator import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray
    from polars.selectors import Selector


class Reading(Numbers):
    """How a table is written in a file; `missing`: further marks of missing values."""

    separator: str
    encoding: str
    header: bool
    missing: list[str | int | float]

    def __post_init__(self) -> None:
        super().__post_init__()
        is_sign = self.separator in ("auto", *NAMED) or (len(self.separator) == 1 and self.separator not in '"\r\n')
        require(is_sign, "dataset.separator", self.separator, "auto, tab, space, or one sign")
        try:
            is_text = self.encoding == "auto" or codecs.lookup(self.encoding)._is_text_encoding
        except (LookupError, ValueError):
            is_text = False
        require(is_text, "dataset.encoding", self.encoding, "auto, utf-8, utf-16, windows-1252, or any of Python's")


@dataclass(frozen=True)
class RawTable:
    """The columns of a file. Those of text are stripped texts, null where a value is missing; those of parquet have
    types of their own, and some numbers are Float64. `options`: with the separator and encoding that were found.
    """

    path: str
    frame: pl.DataFrame
    options: Reading
    layout: Layout | None  # of text
    examples: Mapping[str, str]  # the first cells of columns of text that are read as numbers

    @property
    def candidates(self) -> NDArray[np.int64]:
        """The rows that may be training rows."""
        return np.arange(len(self.frame))

    def place(self, row: int, column: str) -> str:
        """Where a cell is, for messages: "line 12, column y", or "row 11, column y" in parquet; both count from 1."""
        return f"{f'line {self._lines[row]}' if self.layout else f'row {row + 1}'}, column {column}"

    @cached_property
    def numbers(self) -> pl.DataFrame:
        """The numbers in all columns of text, null for other cells. Reading them at once uses all processors; of a
        single chunk, rows are taken many times faster.
        """
        import polars as pl

        return parse_numbers(self.frame.select(pl.col(pl.String)), self.options).rechunk()

    @cached_property
    def _lines(self) -> list[int]:
        """The number of the last line of each row. This is slow; only messages need it."""
        assert self.layout is not None
        content, _ = as_utf8(self.path, unpack(self.path, _load(self.path)), self.options.encoding)
        text = below(with_newlines(content), self.layout.above).decode()
        return [number for number, _ in read_lines(self.path, text, self.layout)]


def read_table(
    path: str, options: Reading, features: Sequence[str] = (), is_feature: Callable[[str], bool] = lambda name: False
) -> RawTable:
    """Read the file. Numbers in its header are names if `features` are chosen. If a column `is_feature`, how its
    numbers are written does not matter.

    Raises:
        ConfigError: naming the line, if the file cannot be read as a table.
    """
    content = unpack(path, _load(path))
    if content.startswith((b"PAR1", b"PARE")) and content.endswith(content[:4]):
        return RawTable(path, _parquet(path, content), options, None, {})
    content, encoding = as_utf8(path, content, options.encoding)
    content = with_newlines(content)
    start = beginning(content)
    layout = find_layout(path, start, options.separator, options.header)
    plain = {}
    if len(start) < len(content) and _has_usual_numbers(options, layout):
        plain = plain_numbers(below(start.encode(), layout.above), layout)
        names = layout.names
        plain = {place: cell for place, cell in plain.items() if names[place] and is_feature(names[place])}
    frame = read_rows(path, content, layout, plain, layout.above)
    if not len(frame):
        raise ConfigError(f"dataset.path={path} has a header but no rows; allowed: {TABLES} with rows")
    frame = with_names(path, without_missing(frame, options.missing), layout, features)
    options = replace(options, separator=layout.separator, encoding=encoding)
    return RawTable(path, frame, options, layout, {layout.names[place]: cell for place, cell in plain.items()})


def _has_usual_numbers(options: Reading, layout: Layout) -> bool:
    """Whether numbers have a decimal point, each column has its name, and no number stands for a missing one."""
    is_point = options.decimal == "." or (options.decimal == "auto" and layout.separator == ",")
    return is_point and len(layout.names) == layout.width > 1 and not options.thousands and not options.missing


def _load(path: str) -> bytes:
    try:
        return read_bytes(Path(path))
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"dataset.path={path} cannot be read ({reason}); allowed: {TABLES}") from error


def _parquet(path: str, content: bytes) -> pl.DataFrame:
    """The columns of plain types."""
    import polars as pl

    with parquet_errors(path):
        lazy = pl.scan_parquet(BytesIO(content))
        names = lazy.collect_schema().names()
        cells = lazy.select(pl.len()).collect().item() * len(names)
        refuse_bomb(path, cells, content)
        frame = lazy.select(plain_columns()).collect()
    if left := [name for name in names if name not in frame.columns]:
        announce(f"dataset.path={path}: columns of lists, bytes and the like are left out: {', '.join(left)}")
    if frame.is_empty():
        raise ConfigError(f"dataset.path={path} has no rows and columns of plain values; allowed: {TABLES}")
    return with_plain_types(path, frame)


@contextmanager
def parquet_errors(path: str) -> Iterator[None]:
    """Raises: ConfigError for a file that polars cannot read."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"dataset.path={path} is no complete parquet file ({reason}); allowed: {TABLES}") from error


def plain_columns() -> Selector:
    """The columns of plain values, and categories; of a column without values, the type is not known."""
    import polars as pl
    from polars import selectors

    plain = selectors.numeric() | selectors.boolean() | selectors.temporal() | selectors.string()
    return plain | selectors.by_dtype(pl.Categorical, pl.Enum, pl.Null)


def with_plain_types(path: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Categories become text, times and durations seconds, and nan is missing."""
    import polars as pl
    from polars import selectors

    for each in frame.select(selectors.date() | selectors.datetime()):
        is_date = each.dt.year().is_between(1, 9999).fill_null(False)
        if bad := len(each) - each.null_count() - int(is_date.sum()):
            announce(
                f"dataset.path={path} column {each.name}: {bad:,} dates outside of the years 1 to 9999 are missing"
            )
            frame = frame.with_columns(pl.when(is_date).then(each).alias(each.name))
    return frame.with_columns(
        selectors.by_dtype(pl.Categorical, pl.Enum, pl.Null).cast(pl.String),
        selectors.decimal().cast(pl.Float64),
        selectors.float().fill_nan(None),
        selectors.duration().dt.total_microseconds() / 1e6,
        selectors.time().cast(pl.Int64) / 1e9,
    )


def with_newlines(content: bytes) -> bytes:
    """Replace carriage returns without a line feed, which ended the lines of old Macs, by line feeds."""
    if b"\r" not in content or content.count(b"\r") == content.count(b"\r\n"):
        return content
    return re.sub(rb"\r(?!\n)", b"\n", content)


def beginning(content: bytes) -> str:
    """The first lines: at least `SAMPLE` bytes, and ten lines even if they are long."""
    end = -1
    for _ in range(10):
        end = content.find(b"\n", end + 1)
        if end < 0:
            return content.decode()
    end = max(end, content.rfind(b"\n", 0, SAMPLE))
    return content[: end + 1].decode()


def with_decimal(table: RawTable, rows: NDArray[np.int64], given: Reading) -> RawTable:
    """The table with the sign before fractions: as given, or as the thousands leave it, or as found in `rows`."""
    separator, sign = table.options.separator, given.decimal
    if sign == "auto" and table.layout is not None:
        if separator == "," or given.thousands in (",", "."):
            sign = "," if given.thousands == "." else "."
        else:
            sign = decimal_sign(table.frame[rows], separator)
    return table if sign == table.options.decimal else replace(table, options=replace(table.options, decimal=sign))
