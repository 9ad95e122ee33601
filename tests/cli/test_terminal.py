"""Colors, and the progress of a run on a terminal."""

import io
from contextlib import redirect_stdout

import pytest

from dl_lab.core.terminal import Escaping, styled


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, "\x1b[31mbad \\x1b[2J\x1b[0m"),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, "\x1b[31mbad \\x1b[2J\x1b[0m"),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "0"}, "bad \\x1b[2J"),
        (Terminal(), {"TERM": "dumb"}, "bad \\x1b[2J"),
        (Terminal(), {}, "bad \\x1b[2J"),
        (io.StringIO(), {"TERM": "xterm"}, "bad \\x1b[2J"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_color_is_shown_on_a_terminal_that_has_it_unless_the_user_wants_none(
    monkeypatch, stream, environment, expected
):
    """And is the only sequence that a terminal obeys."""
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with redirect_stdout(Escaping(stream)):
        print("a\x1b[2Jb", styled("bad \x1b[2J", "red"), end="")
    assert stream.getvalue() == "a\\x1b[2Jb " + expected
