"""Read a table in parts of equal length, in bounded memory, for a model that needs some of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dl_lab.core.atomic_io import open_regular
from dl_lab.core.errors import ConfigError
from dl_lab.data.tables.cells import without_missing
from dl_lab.data.tables.encoding import ERRORS, TABLES, ZSTD, unpack, unpacking
from dl_lab.data.tables.layout import Layout, find_layout, names_by_place
from dl_lab.data.tables.matrix import CHUNK
from dl_lab.data.tables.reading import (
    RawTable,
    Reading,
    beginning,
    parquet_errors,
    plain_columns,
    with_plain_types,
)
from dl_lab.data.tables.required import check_columns, missing_among
from dl_lab.data.tables.separator import SAMPLE
from dl_lab.data.tables.streams import below_lines, frames_of, in_lines, in_utf8

if TYPE_CHECKING:
    import polars as pl

BLOCK = 2**24  # bytes of text, read at a time
CELLS = 2**23  # of a parquet file, read at a time


@dataclass(frozen=True)
class Part(RawTable):
    """The rows of a table from number `first` on, which counts from 0."""

    first: int = 0

    def place(self, row: int, column: str) -> str:
        return f"row {self.first + row + 1}, column {column}"


def read_parts(path: str, reading: Reading, needed: Sequence[str], rows: int = CHUNK) -> Iterator[Part]:
    """The table in parts of `rows` rows; how it is read does not depend on the size of blocks. The separator is that of
    `reading`, unless another one finds more of the `needed` columns.

    Raises:
        ConfigError: if it cannot be read as a table, or has no column that is needed.
    """
    with _opened(path) as file:
        start = file.read(4)
        file.seek(0)
        if start in (b"PAR1", b"PARE"):
            frames = _parquet_frames(path, file, rows)
            yield from _parts(path, reading, None, frames, needed, rows)
            return
        pieces = in_lines(in_utf8(path, _blocks(path, file), reading.encoding))
        first = b""
        for piece in pieces:
            first += piece
            if len(first) > SAMPLE and first.count(b"\n") > 10:
                break
        layout = _layout(path, beginning(first), reading, needed)
        frames = frames_of(path, below_lines(chain([first], pieces), layout.above), layout)
        yield from _parts(path, reading, layout, frames, needed, rows)


def parts_of(frame: pl.DataFrame, reading: Reading, needed: Sequence[str], rows: int = CHUNK) -> Iterator[Part]:
    """The parts of a table in memory."""
    frames = (frame[start : start + rows] for start in range(0, len(frame), rows))
    plain = (with_plain_types("data", each.select(plain_columns())) for each in frames)
    yield from _parts("data", reading, None, plain, needed, rows)


def _parts(
    path: str,
    reading: Reading,
    layout: Layout | None,
    frames: Iterable[pl.DataFrame],
    needed: Sequence[str],
    rows: int,
) -> Iterator[Part]:
    import polars as pl

    first, names = 0, None
    for frame in _of_equal_length(frames, rows):
        if layout is not None or reading.separator != "auto":  # as the training data, which were text
            frame = without_missing(frame.with_columns(pl.col(pl.String).str.strip_chars()), reading.missing)
        if layout is not None:
            names = names or _names(path, frame, layout, needed)
            frame = frame.select(pl.nth(place).alias(name) for place, name in names.items())
        if not first:
            check_columns(path, frame.columns, needed)
        yield Part(path, frame, reading, layout, {}, first)
        first += len(frame)
    if not first:
        raise ConfigError(f"dataset.path={path} has no rows; allowed: a table with rows")


def _names(path: str, frame: pl.DataFrame, layout: Layout, needed: Sequence[str]) -> dict[int, str]:
    """The names of columns by place. Without a header, as many columns as needed are taken for these: the
    targets are missing, which may have come before them in the training data.
    """
    names = names_by_place(path, frame, layout, needed)
    is_exact = not layout.names and len(names) == len(needed) and missing_among([*names.values()], needed)
    return dict(zip(names, needed, strict=True)) if is_exact else names


def _of_equal_length(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    import polars as pl

    held: pl.DataFrame | None = None
    for frame in frames:
        held = frame if held is None else pl.concat([held, frame])
        while len(held) >= rows:
            yield held[:rows].rechunk()
            held = held[rows:]
    if held is not None and len(held):
        yield held.rechunk()


def _layout(path: str, text: str, reading: Reading, needed: Sequence[str]) -> Layout:
    """The layout with the separator of `reading`, or the one that is found if it has more of the needed columns.

    Raises:
        ConfigError: if one is missing.
    """
    layout = find_layout(path, text, reading.separator, reading.header)
    needed = [name for name in needed if not name.startswith("Unnamed: ")]  # which the header lacks
    missing = missing_among(layout.names, needed)
    if missing and reading.header and reading.separator != "auto":
        found = find_layout(path, text, "auto", reading.header)
        if len(missing_among(found.names, needed)) < len(missing):
            layout = found
    if layout.names:
        check_columns(path, layout.names, needed, layout.header)
    return layout


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """The file for reading, unpacked on the way."""
    try:
        with open_regular(Path(path)) as file:
            start = file.peek(4)[:4]
            inner = BytesIO(unpack(path, file.read())) if start == ZSTD else unpacking(path, file)
            with closing(inner or file) as unpacked:
                yield unpacked
    except (*ERRORS, ValueError) as error:  # a name with a NUL is a ValueError
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"dataset.path={path} cannot be read ({reason}); allowed: {TABLES}") from error


def _blocks(path: str, file: IO[bytes]) -> Iterator[bytes]:
    size = max(BLOCK, SAMPLE)  # the first block shows the encoding
    while block := file.read(size):
        yield block
        size = BLOCK


def _parquet_frames(path: str, file: IO[bytes], rows: int) -> Iterator[pl.DataFrame]:
    """Parts of a parquet file, of which a group of rows is read at a time."""
    import polars as pl

    source = path if getattr(file, "raw", None) is not None else file.read()
    with parquet_errors(path):
        lazy = pl.scan_parquet(source, glob=False) if isinstance(source, str) else pl.scan_parquet(BytesIO(source))
        lazy = lazy.select(plain_columns())
        count, columns = lazy.select(pl.len()).collect().item(), len(lazy.collect_schema())
        at_a_time = max(rows, CELLS // max(1, columns))
        for start in range(0, count, at_a_time):
            yield with_plain_types(path, lazy.slice(start, at_a_time).collect())
