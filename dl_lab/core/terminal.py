"""What the commands print. Names in files and data of others could move the cursor, or reach the clipboard."""

import io
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, TextIO

from dl_lab.core.errors import printable

STYLES = {"bold": 1, "yellow": 33}
LABEL = 9  # columns of a label
STYLE = re.compile(rf"(\x1b\[(?:0|{'|'.join(map(str, STYLES.values()))})m)")
FRAME = re.compile(r"(\r(?:\x1b\[K)?|(?:\x1b\[A)+\Z)?(.*?)(\r?)", re.DOTALL)  # a bar moves the cursor


def shows_styles(stream: TextIO) -> bool:
    """Whether a stream is a terminal with colors, and the user has not asked for none (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and (os.environ.get("TERM") or "dumb") != "dumb" and stream.isatty()


def styled(text: str, style: str) -> str:
    """A text in one of the STYLES if standard output shows them, to be printed as it is; `text` may be of others."""
    text = printable(text)
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if shows_styles(sys.stdout) else text


def size_of(terminal: TextIO) -> tuple[int, int]:
    """The columns and rows of a terminal; 80 and 24 if it does not know them, as under `script`."""
    try:
        size = os.get_terminal_size(terminal.fileno())
    except (OSError, ValueError, AttributeError):  # a stream that somebody else has put in its place
        return 80, 24
    return size.columns or 80, size.lines or 24


def columns_of(stream: TextIO) -> int | None:
    """The columns of a terminal; None of another stream, whose lines may have any length."""
    return size_of(stream)[0] if stream.isatty() else None


def labelled(texts: Mapping[str, str], columns: int | None = None) -> list[str]:
    """A line for each text, which may be of others, with its label in bold before it. A text that does not fit into
    `columns` continues below its start: a terminal would divide words.
    """
    lines = []
    for label, text in texts.items():
        shown = printable(text)
        parts = (
            wrap(shown, max(columns - LABEL, LABEL), break_long_words=False, break_on_hyphens=False)
            if columns
            else [shown]
        )
        lines += [f"{styled(f'{label:{LABEL}}', 'bold')}{parts[0]}", *(f"{'':{LABEL}}{part}" for part in parts[1:])]
    return lines


class Escaping:
    """A text stream that writes escapes for the characters that a terminal would obey. On a terminal with colors, it
    leaves those of `styled`.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        frame = FRAME.fullmatch(text)
        assert frame is not None  # it matches any text
        before, inner, after = frame.groups("")
        keeps = "\x1b" in inner and shows_styles(self._stream)
        parts = STYLE.split(inner) if keeps else [inner]  # each second one is a style
        escaped = (part if number % 2 else printable(part, "\n\t") for number, part in enumerate(parts))
        return self._stream.write("".join([before, *escaped, after]))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def escape_output() -> None:
    """Escape what this process prints from now on, tracebacks included, also what the encoding of the terminal lacks.
    A stream that was closed before the process started takes everything.
    """
    os.environ.setdefault("PYTHON_COLORS", "0")  # a traceback of Python 3.13 would have escapes of its own
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w")  # noqa: SIM115  # open as long as the process lives
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, Escaping):
            setattr(sys, name, Escaping(stream))
