"""What the commands print. Names in files and data of others could move the cursor, or reach the clipboard."""

import io
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from dl_lab.core.errors import printable

FRAME = re.compile(r"(\r|(?:\x1b\[A)+\Z)?(.*?)(\r?)", re.DOTALL)  # a bar moves the cursor before and after its text


class Escaping:
    """A text stream that writes escapes for the characters that a terminal would obey."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        frame = FRAME.fullmatch(text)
        assert frame is not None  # it matches any text
        before, inner, after = frame.groups("")
        return self._stream.write(before + printable(inner, "\n\t") + after)

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
