"""The rows below the header of a text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from dl_lab.data.tables.layout import Layout, read_lines

if TYPE_CHECKING:
    from collections.abc import Collection

    import polars as pl

PLAIN = r"^-?\d+\.\d+$"  # a number that polars reads in a csv file as in a text


def below(text: bytes, above: int) -> bytes:
    """The text below so many lines, without blank lines at its end."""
    start, end = _extent(text, above)
    return text[start:end]


def _extent(text: bytes, above: int) -> tuple[int, int]:
    start, end = 0, len(text)
    for _ in range(above):
        start = text.find(b"\n", start) + 1 or end
    while end > start and text[end - 1] in b"\r\n":
        end -= 1
    return start, end


def plain_numbers(body: bytes, layout: Layout) -> dict[int, str]:
    """The places of columns that seem to be numbers such as -1.5, from the first rows, and their first cells."""
    import polars as pl

    frame = _read_fast(body, layout)
    if frame is None or frame.is_empty():
        return {}
    are_plain = frame.select(pl.all().str.contains(PLAIN).fill_null(False).all()).row(0)
    return {place: cell for place, cell in enumerate(frame.row(0)) if are_plain[place]}


def read_rows(path: str, text: bytes, layout: Layout, numbers: Collection[int], above: int = 0) -> pl.DataFrame:
    """The cells below `above` lines as stripped text, and those in the places of `numbers` as Float64, if all are:
    finite, and not so large that distinct texts may be one number.

    Raises:
        ConfigError: naming the line, if quotes or the number of cells do not fit.
    """
    import polars as pl

    if numbers and (frame := _read_fast(text, layout, numbers, above)) is not None:
        found = frame.select(pl.col(pl.Float64)).rechunk()  # of a single chunk, rows are taken many times faster
        if all(found.select((pl.all().abs() < 2.0**53).all()).row(0)):
            return frame.with_columns(found)
    frame = _read_fast(text, layout, above=above)
    return _read_slowly(path, below(text, above), layout) if frame is None else frame


def _read_fast(text: bytes, layout: Layout, numbers: Collection[int] = (), above: int = 0) -> pl.DataFrame | None:
    """Read rows with polars, those of `numbers` as Float64; None if it might read them differently from Python's
    csv module, or they do not fit.
    """
    import polars as pl

    sign, width = layout.separator, layout.width
    start, end = _extent(text, above)
    is_quoted = text.find(layout.quote.encode(), start) >= 0
    # polars skips a header without a copy
    if start == end or is_quoted or sign == " " or text[end:] not in (b"", b"\n", b"\r\n"):
        text, start, above = text[start:end], 0, 0
    if not sign.isascii() or (is_quoted and (sign == " " or not is_well_quoted(text, sign, layout.quote))):
        return None
    if sign == " ":
        text = re.sub(rb"^ +| +(?=\r?$)|(?<= ) +", b"", text, flags=re.MULTILINE)
    if text.endswith(sign.encode()):
        text += b"\n"  # or polars overlooks a last cell too many
    schema = {str(place): pl.Float64 if place in numbers else pl.String for place in range(width)}
    texts = pl.col(pl.String)
    if start == len(text):
        return pl.DataFrame(schema=schema)
    quote = layout.quote if is_quoted else None
    try:
        frame = pl.read_csv(text, has_header=False, separator=sign, quote_char=quote, schema=schema, skip_lines=above)
    except pl.exceptions.PolarsError:
        return None
    if frame.to_series(-1).null_count():  # polars fills short lines with nulls, which leaves fewer separators
        within = frame.select(texts.str.count_matches(sign, literal=True).sum()).row(0) if is_quoted else ()
        if text.count(sign.encode(), start) - sum(filter(None, within)) != (width - 1) * len(frame):
            body = text[start:]
            shorter = body if is_quoted else re.sub(rb"^[\r ]*\n", b"", body, flags=re.MULTILINE)
            return _read_fast(shorter, layout, numbers) if len(shorter) < len(body) else None
    has_breaks = is_quoted and text.count(b"\n") + 1 != len(frame)
    is_short = 2 * len(numbers) > width  # stripping few texts takes less time than looking for spaces
    if is_short or has_breaks or not text.isascii() or any(space in text for space in b" \t\v\f"):
        frame = frame.with_columns(texts.str.strip_chars())
    return frame.filter(frame.to_series().fill_null("") != "") if width == 1 else frame


def is_well_quoted(body: bytes, sign: str, quote: str) -> bool:
    """Whether every quote opens or closes a cell, or is doubled within one."""
    text = np.frombuffer(b"\n" + body + b"\n", dtype=np.uint8)
    places = np.flatnonzero(text == ord(quote))
    before, after = text[places[::2] - 1], text[places[1::2] + 1]
    is_end = np.zeros(256, dtype=bool)
    is_end[[ord(end) for end in (sign, quote, "\n")]] = True
    opens = len(places) % 2 == 0 and is_end[before].all()
    is_end[ord("\r")] = True
    return bool(opens and is_end[after].all())


def _read_slowly(path: str, body: bytes, layout: Layout) -> pl.DataFrame:
    import polars as pl

    rows = [cells for _, cells in read_lines(path, body.decode(), layout)]
    schema = {str(place): pl.String for place in range(layout.width)}
    return pl.DataFrame(rows, schema=schema, orient="row")
