"""Text in blocks of bytes: its encoding, its lines, and the rows that are whole."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.files import kind_of, wide_encoding
from dl_lab.data.tables.encoding import MARKS, TABLES
from dl_lab.data.tables.layout import Layout
from dl_lab.data.tables.reading import with_newlines
from dl_lab.data.tables.rows import below, is_well_quoted, read_rows

if TYPE_CHECKING:
    import polars as pl


def in_utf8(path: str, blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Text in UTF-8, without a byte-order mark. A mark, text that is valid in UTF-8, and zeros of UTF-16 and UTF-32
    matter more than the `encoding`, which is the one of the training data or "auto".

    Raises:
        ConfigError: if it is not text, or the encoding changes within it.
    """
    decoder, is_ascii, name, done = None, True, "utf-8", 0
    for block in chain(blocks, [b""]):
        if decoder is None:
            mark = next((mark for mark in MARKS if block.startswith(mark)), b"")
            name = MARKS.get(mark) or (wide_encoding(block) if b"\0" in block else None) or "utf-8"
            decoder = codecs.getincrementaldecoder(name)()
            block = block.removeprefix(mark)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeError as error:
            held = error.object if isinstance(error, UnicodeDecodeError) else block
            place = error.start if isinstance(error, UnicodeDecodeError) else 0
            if name != "utf-8" or not (is_ascii and held[:place].isascii()) or b"\0" in held:
                raise ConfigError(
                    f"dataset.path={path} is not in {name} at byte {done + place}, it looks like {kind_of(held)}; "
                    f"allowed: {TABLES}; hint: save it as UTF-8"
                ) from error
            name = encoding if encoding not in ("auto", "utf-8") else "windows-1252"
            announce(f"{path} is not UTF-8 at byte {done + place}; it is read as {name}")
            decoder = codecs.getincrementaldecoder(name)("replace")
            text = decoder.decode(held, final=not block)
        is_ascii = is_ascii and text.isascii()
        done += len(block)
        yield text.encode()


def in_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same text with line feeds at the ends of lines."""
    held = b""
    for piece in chain(pieces, [b""]):
        text = held + piece
        held = b"\r" if piece and text.endswith(b"\r") else b""  # "\n" may follow
        yield with_newlines(text.removesuffix(held))


def below_lines(pieces: Iterable[bytes], above: int) -> Iterator[bytes]:
    """The text below so many lines."""
    for piece in pieces:
        while above and piece:
            above -= b"\n" in piece
            piece = piece.partition(b"\n")[2]
        yield piece


def frames_of(path: str, pieces: Iterable[bytes], layout: Layout) -> Iterator[pl.DataFrame]:
    """The rows of a text, as far as they are whole in its pieces."""
    rest, lines = b"", layout.above
    for piece in chain(pieces, [b""]):
        rest += piece
        end = _end_of_rows(rest, layout) if piece else len(rest)
        if body := below(rest[:end], 0):
            yield read_rows(path, body, replace(layout, above=lines), {})
        lines += rest.count(b"\n", 0, end)
        rest = rest[end:]


def _end_of_rows(text: bytes, layout: Layout) -> int:
    """How many bytes are whole rows: a line feed between quotes ends none."""
    end, quote = text.rfind(b"\n") + 1, layout.quote.encode()
    is_open = text.count(quote, 0, end) % 2
    while is_open and end:
        start = text.rfind(b"\n", 0, end - 1) + 1
        is_open ^= text.count(quote, start, end) % 2
        end = start
    if quote not in text or is_well_quoted(text[:end], layout.separator, layout.quote):
        return end
    lines = StringIO(text.decode(), newline="")  # quotes within cells: only the csv module knows which ones count
    reader = csv.reader(lines, delimiter=layout.separator, quotechar=layout.quote, skipinitialspace=True)
    ends = [reader.line_num for _ in reader]  # the last row may not be whole
    return sum(map(len, text.splitlines(keepends=True)[: ends[-2]])) if len(ends) > 1 else 0
