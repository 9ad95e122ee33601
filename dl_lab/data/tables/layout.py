"""Where the table in a text begins, what its columns are named, and which lines do not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.progress import announce
from dl_lab.data.tables.cells import MISSING, Lines, parse_number
from dl_lab.data.tables.separator import divide, find_quote, find_table, other_format

if TYPE_CHECKING:
    import polars as pl

NAMED = {"tab": "\t", "\\t": "\t", "space": " "}
YEAR = re.compile("1[5-9][0-9]{2}|2[01][0-9]{2}")
ALLOWED = "a csv, tsv or parquet file"


@dataclass(frozen=True)
class Layout:
    """`names`: the cells of the header in line `header`, or none. `width`: cells in a row. `above`: lines above the
    first row.
    """

    separator: str
    quote: str
    names: list[str]
    header: int
    width: int
    above: int


def find_layout(path: str, text: str, separator: str, has_header: bool) -> Layout:
    """Find the table in the beginning of a text.

    Raises:
        ConfigError: if there is none.
    """
    if other := other_format(text):
        raise ConfigError(f"dataset.path={path} seems to be {other}; allowed: {ALLOWED}")
    above, comment, named = _preamble(text)
    body = text.split("\n", above)[-1] if above <= text.count("\n") else ""
    if not body.strip():
        raise ConfigError(f"dataset.path={path} is empty; allowed: {ALLOWED} with a header line and rows")
    given = NAMED.get(separator, named if separator == "auto" else separator)
    quote = find_quote(body)
    sign, place = find_table(body, has_header, given, quote)
    lines = list(divide(body, sign, quote, above))
    sizes = Counter(len(cells) for _, cells in lines[place + has_header :])
    width = max(sizes, key=lambda size: sizes[size], default=len(lines[place][1]))
    names = _names_in(comment, sign, lines, width) if has_header and not place else []
    before = lines[place - 1][0] if place else above
    if names or not has_header:
        if (place or comment) and not names:
            announce(f"dataset.path={path}: the lines above line {lines[place][0]} are skipped")
        return Layout(sign, quote, names, above, width, before)
    header, names = lines[place]
    if place or comment:
        announce(f"dataset.path={path}: line {header} seems to be the header; the lines above it are skipped")
    if len(names) > width and not any(names[width:]):
        names = names[:width]
    is_full = width not in (len(names), len(names) + 1) or sizes[len(names)] or len(names) < 2
    return Layout(sign, quote, names, header, len(names) if is_full else width, header)


def _preamble(text: str) -> tuple[int, str, str]:
    """How many blank lines and comments are at the beginning, the last comment, and the separator that Excel names."""
    comment, named = "", "auto"
    for above, line in enumerate(text.split("\n")):
        if found := re.fullmatch(r'"?sep=([^\r])"?\s*', line):
            named = found[1]
        elif line.startswith("#"):
            comment = line.strip()
        elif line.strip():
            return above, comment, named
    return text.count("\n") + 1, comment, named


def _names_in(comment: str, sign: str, lines: Lines, width: int) -> list[str]:
    """The names in a header that begins with #, if it is one: `lines` below it begin with a row."""
    bare = comment.removeprefix("#")
    _, names = next(divide(bare, sign, '"'), (0, [""]))
    first, second = (any(parse_number(cell) is not None for cell in cells) for _, cells in [*lines, *lines][:2])
    is_header = len(names) == width > 1 and (first or not (bare.startswith(" ") or second))
    return [names[0] or "#", *names[1:]] if is_header else []


def read_lines(path: str, text: str, layout: Layout) -> Lines:
    """The number and cells of each row in a text, whose first line is the first row.

    Raises:
        ConfigError: naming the line, if quotes or the number of cells do not fit, with a hint at the likely cause.
    """
    try:
        lines = list(divide(text, layout.separator, layout.quote, layout.above, strict=True))
    except ValueError as error:
        raise ConfigError(f"dataset.path={path} {error}; allowed: {ALLOWED}") from error
    number, size = next(((number, len(row)) for number, row in lines if len(row) != layout.width), (0, layout.width))
    if size != layout.width:
        above = "as in the header" if len(layout.names) == layout.width else "as in most lines"
        hint = _hint(layout, lines, size)
        raise ConfigError(
            f"dataset.path={path} line {number} has {counted(size, 'cell')}; allowed: {layout.width}, {above}{hint}"
        )
    return lines


def _hint(layout: Layout, lines: Lines, size: int) -> str:
    """The likely cause of lines that differ in their number of cells."""
    sizes = {len(cells) for _, cells in lines}
    if any(cells[0].startswith("#") for _, cells in lines):
        return "; hint: remove the lines that begin with #"
    if sizes == {2 * layout.width}:
        return "; hint: write decimal numbers with a point, such as 1.5"
    if sizes == {layout.width + 1}:
        return "; hint: the header lacks a name"
    more = f"put quotes around a cell, such as a decimal number, that contains {layout.separator!r}"
    return f"; hint: {more if size > layout.width else 'complete or remove the line'}"


def with_names(path: str, frame: pl.DataFrame, layout: Layout, features: Sequence[str]) -> pl.DataFrame:
    """Name the columns of a frame, in which missing values are null, as `names_by_place`."""
    import polars as pl

    named = names_by_place(path, frame, layout, features)
    return frame.select(pl.nth(place).alias(name) for place, name in named.items())


def names_by_place(path: str, frame: pl.DataFrame, layout: Layout, features: Sequence[str]) -> dict[int, str]:
    """The names of columns. A column without a name and without values is left out. If the header has one name too few,
    the first column has the names of the rows, as R writes them.

    Raises:
        ConfigError: if a name appears twice or is missing, or the header seems to be a row.
    """
    import polars as pl

    names = layout.names or [f"column_{place}" for place in range(1, layout.width + 1)]
    if len(names) < layout.width:
        is_trailing = frame.to_series(-1).null_count() == len(frame)
        if not is_trailing and frame.to_series(0).n_unique() < len(frame):
            raise ConfigError(
                f"dataset.path={path} line {layout.header} has {counted(len(names), 'name')} for {layout.width} "
                "columns; allowed: a name for each column; hint: the header lacks a name, or decimal numbers have "
                "commas"
            )
        names = [*names, ""] if is_trailing else ["", *names]
        if not is_trailing:
            announce(f"dataset.path={path} line {layout.header} has no name for the first column, which names the rows")
    kept = [place for place, name in enumerate(names) if name or frame.to_series(place).null_count() < len(frame)]
    named = {place: names[place] or _unused(f"Unnamed: {place}", names) for place in kept}  # as pandas names them
    if layout.names:
        _check_header(path, frame.select(pl.nth(kept)), [names[place] for place in kept], layout.header, features)
    twice = [name for name, count in Counter(named.values()).items() if count > 1]
    if twice:
        raise ConfigError(
            f"dataset.path={path} line {layout.header}: column {twice[0]!r} appears twice; allowed: distinct names; "
            "hint: rename one of them"
        )
    return named


def _unused(name: str, names: Sequence[str]) -> str:
    return _unused(f"{name}_", names) if name in names else name


def _check_header(path: str, frame: pl.DataFrame, names: Sequence[str], line: int, features: Sequence[str]) -> None:
    """Check that the first line is a header. It is a row if it has numbers above all columns of numbers, unless they
    are years, the names 0, 1, 2, ... of pandas, or `features` are chosen, and certainly if one of its words is repeated
    below. It is a header if it has no name for the first column, which is distinct in every row, as R writes an index.

    Raises:
        ConfigError: naming the line.
    """
    import polars as pl

    if not names[0] and frame.to_series(0).n_unique() == len(frame):
        return
    first = frame.head(1).cast(pl.String).row(0)
    above = [name for name, cell in zip(names, first, strict=True) if cell and parse_number(cell) is not None]
    if not above or not all(name in MISSING or parse_number(name) is not None for name in above):
        return
    counted = [name for name in names if parse_number(name) is not None]
    words = [place for place, name in enumerate(names) if name not in ("", *counted)]
    are_years = all(map(YEAR.fullmatch, counted)) and not all(YEAR.fullmatch(cell or "") for cell in first)
    is_counting = counted == [*map(str, range(len(counted)))] or (are_years and counted == sorted(set(counted)))
    is_repeated = any((frame.to_series(place).cast(pl.String) == names[place]).any() for place in words)
    if is_repeated or not (features or is_counting):
        raise ConfigError(
            f"dataset.path={path} line {line} has numbers ({', '.join(above[:3])}) instead of names; allowed: a header "
            "line; hint: add one, or set dataset.header=false; if they are names, choose the features with "
            "dataset.features=[...]"
        )
