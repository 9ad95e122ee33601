"""Colors, and the progress of a run on a terminal."""

import io
import re
import sys
import termios
import time
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest
from support.commands import TINY, on_terminal, train

from dl_lab.core import progress
from dl_lab.core.progress import CELL, Progress, bar, fitting
from dl_lab.core.terminal import Escaping, labelled, styled

ERASE = "\r\x1b[K"
METRICS = {"loss": 0.25, "accuracy": 0.5, "more": 0.00012345}


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, "\x1b[33mbad \\x1b[2J\x1b[0m"),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, "\x1b[33mbad \\x1b[2J\x1b[0m"),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "0"}, "bad \\x1b[2J"),
        (Terminal(), {"TERM": "dumb"}, "bad \\x1b[2J"),
        (Terminal(), {"TERM": ""}, "bad \\x1b[2J"),
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
        print("a\x1b[2Jb", styled("bad \x1b[2J", "yellow"), end="")
    assert stream.getvalue() == "a\\x1b[2Jb " + expected


def test_a_text_continues_below_its_start_where_the_terminal_ends():
    assert labelled({"data": "five short words/and-one long"}, columns=20) == [
        "data     five short",
        "         words/and-one",
        "         long",
    ]


@pytest.fixture(autouse=True)
def of_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_without_a_terminal_each_validation_prints_one_line(tmp_path):
    ended = train(tmp_path, *TINY)
    lines = [line for line in ended.out.splitlines() if line.startswith("step ")]
    validations = ended.lines("val")
    assert [line.split()[1] for line in lines] == ["3/6", "6/6"]
    for line, metrics in zip(lines, validations, strict=True):
        assert f"epoch {metrics['epoch']:.4g} " in line
        assert "train/loss " in line
        assert f"val/loss {metrics['loss']:.4g}  val/accuracy {metrics['accuracy']:.4g}" in line


def test_a_terminal_shows_a_bar_and_a_line_above_it_for_each_validation():
    def act(terminal: io.TextIOBase) -> None:
        with redirect_stderr(terminal), redirect_stdout(terminal):
            run = Progress(100, done=10)
            time.sleep(0.15)  # tqdm draws a bar at most every 0.1 s
            for _ in range(50):
                run.advance()
            run.training({"loss": 0.125, "accuracy": 0.75, "more": 1.0})
            run.validation(60, 0.5, METRICS, METRICS)
            termios.tcsetwinsize(terminal, (24, 60))
            run.training(METRICS)
            run.validation(70, 0.5, METRICS, METRICS)
            run.close()

    written = on_terminal(act)
    columns = [f"{part}/{name} {value:<9.4g}" for part in ("train", "val") for name, value in METRICS.items()]
    parts = [
        f"{ERASE}\r\rstep  60/100  epoch 0.5   {' '.join(columns).rstrip()}\r\n",
        "60/100 [00:00<00:0",
        "step/s, loss 0.125  accuracy 0.75]\r",
        "\r\n" * 3 + f"{ERASE}\x1b[A" * 3 + ERASE,  # the bar before had 199 columns, and has 60 now
        "\rstep  70/100  epoch 0.5   val/loss 0.25      val/accuracy 0.5\r\n",
        f"{ERASE}00:0",
        " left, loss 0.25  accuracy 0.5, ",
        ERASE,  # no bar stays
    ]
    for part in parts:
        assert part in written
        written = written.partition(part)[2]
    assert not written.strip("\r")


def test_a_bar_is_drawn_again_when_the_width_changes_and_shows_another_one_inside(monkeypatch):
    monkeypatch.setattr(progress, "WATCHED", 0.01)

    def act(terminal: io.TextIOBase) -> None:
        with redirect_stderr(terminal):
            termios.tcsetwinsize(terminal, (0, 0))  # of a terminal that does not know its size
            jobs = bar(16, "job")
            steps = bar(20, "step")
            steps.refresh()
            termios.tcsetwinsize(terminal, (24, 30))
            time.sleep(0.2)
            steps.close()
            jobs.close()

    parts = [part for part in re.split(r"[\r\n]|\x1b\[[KA]", on_terminal(act)) if part]
    assert parts[0].endswith("| 0/16 [00:00<?, ?job/s]")
    assert parts[-3].endswith("| 0/16 [00:00<?, ?job/s, step 0/20]")
    assert parts[-2:] == ["? left, step 0/20, ?job/s, 0/", "? left, ?job/s, 0/16"]


def test_a_bar_in_a_notebook_replaces_itself(monkeypatch):
    shown = SimpleNamespace(update=lambda bundle, raw: states.append(bundle["text/plain"]))
    states: list[str] = []

    def display(bundle: dict[str, str], raw: bool, display_id: bool) -> object:
        states.append(bundle["text/plain"])
        return shown

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    written = io.StringIO()
    with redirect_stderr(written), redirect_stdout(written):
        run = Progress(3)
        run.advance()
        run.validation(1, 0.5, METRICS, METRICS)
        run.close()
    assert [state.partition("/3 [00:00<")[0][-1:] for state in states] == ["0", "1", ""]
    assert written.getvalue().count("\n") == 1
    assert "\r" not in written.getvalue()


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, CELL])
def test_no_bar_is_drawn_where_each_of_its_states_stays(monkeypatch, environment):
    """On a terminal without control of the cursor, and by `!python ...` in a notebook."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with redirect_stderr(Terminal()):
        assert bar(3, "step").disable


@pytest.mark.parametrize(
    ("room", "names"),
    [
        (200, "train/loss train/accuracy train/more val/loss val/accuracy val/more"),
        (110, "train/loss train/accuracy val/loss val/accuracy val/more"),
        (63, "train/loss val/loss val/accuracy"),
        (0, "val/loss val/accuracy"),
    ],
)
def test_a_line_has_the_metrics_that_fit(room, names):
    assert list(fitting({"train": METRICS, "val": METRICS}, room)) == names.split()


def test_a_warning_is_yellow():
    with redirect_stdout(Escaping(Terminal())) as terminal:
        progress.write("warning: of\x1b[33m")
        progress.write("ordinary")
    assert terminal.getvalue() == "\x1b[33mwarning: of\\x1b[33m\x1b[0m\nordinary\n"
