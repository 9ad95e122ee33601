"""Lines of a command, and bars below them on a terminal and in a notebook. The only module that uses tqdm."""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TextIO

from tqdm import tqdm
from tqdm.utils import disp_len

from dl_lab.core.errors import printable
from dl_lab.core.formatting import format_metrics
from dl_lab.core.terminal import size_of, styled

CELL = {"TERM": "xterm-color", "CLICOLOR": "1", "PAGER": "cat", "GIT_PAGER": "cat"}  # ipykernel sets these
NARROW = 72  # columns; a narrower terminal has no room for the bar itself
WATCHED = 0.5  # seconds between two looks at the width of a terminal
DIGITS = 11  # columns of a number, such as 0.0001234, with the spaces around it


def write(line: str, file: TextIO | None = None) -> None:
    """Print a line above the bars, a warning in yellow; on standard output by default."""
    is_warning = file is None and line.startswith("warning: ")
    file = file or sys.stdout
    tqdm.write(styled(line, "yellow") if is_warning else line, file=file)
    file.flush()


show: Callable[[str], None] = write  # in a process of a sweep, a function that sends the line


@cache
def announce(line: str) -> None:
    """Print a line, once per command: the jobs of a sweep have much in common."""
    show(printable(line))


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose standard error is no terminal but shows a bar."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def shows_bars() -> bool:
    """Whether a bar can be drawn over: on a terminal and in a notebook. The output of `!python ...` in a cell is a
    terminal, too, but keeps every state of a bar.
    """
    if in_notebook():
        return True
    is_cell = CELL.items() <= os.environ.items()
    return sys.stderr.isatty() and (os.environ.get("TERM") or "dumb") != "dumb" and not is_cell


class Bar(tqdm):  # type: ignore[type-arg]
    """A bar of tqdm that survives a change of the terminal's width. A terminal that becomes narrower wraps the bar;
    since the cursor stays at its start, and no other line follows, all of it can be erased. Another bar, such as that
    of the run of a sweep, is therefore shown inside the first one.
    """

    _instances: Any

    def __init__(self, **settings: Any):
        self._ended = threading.Event()
        self._width = 0
        super().__init__(**settings)
        if not self.disable:
            threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        super().close()

    def _watch(self) -> None:
        """Draw the bar again soon after the width has changed: the next step or job may take a while."""
        while not self._ended.wait(WATCHED):
            if self._width not in (0, size_of(self.fp)[0]):
                self.refresh()

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Draw a bar over the one before, and leave the cursor at its start. Erase the lines of one that is wrapped."""
        before = 0

        def draw(text: str) -> None:
            nonlocal before
            wrapped = max(0, before - 1) // size_of(file)[0]
            for part in ("\n" * wrapped, *["\r\x1b[K", "\x1b[A"] * wrapped, f"\r\x1b[K{text}\r"):
                file.write(part)
            file.flush()
            before = disp_len(text)

        return draw

    @property
    def format_dict(self) -> dict[str, Any]:
        """The numbers and the format; without room for a bar the most important numbers come first."""
        if not self.disable:
            self._width, self.nrows = size_of(self.fp)
            self.ncols = self._width - 1  # some terminals wrap a full line
            is_narrow = self._width < NARROW
            self.bar_format = "{remaining} left{postfix}, {rate_fmt}, {n_fmt}/{total_fmt}" if is_narrow else None
        inner = [f"{other.unit} {other.n}/{other.total}" for other in self._bars() if other.pos]
        return {**super().format_dict, "postfix": ", ".join([*([str(self.postfix)] if self.postfix else []), *inner])}

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or the first one, which shows this one inside."""
        if self.pos:
            for first in [other for other in self._bars() if not other.pos]:
                first.display()
        else:
            super().display(msg, 0)

    def clear(self, nolock: bool = False) -> None:
        """Erase the first bar, before a line is printed."""
        if not self.pos:
            super().clear(nolock)

    def _bars(self) -> list["Bar"]:
        """All bars that are shown."""
        return [bar for bar in self._instances if isinstance(bar, Bar) and hasattr(bar, "pos")]


class NotebookBar(Bar):
    """A bar in the output of a cell, where each state replaces the one before. It needs no widgets."""

    _shown: Any = None

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar, or `msg` in its place."""
        from IPython.display import display  # of the kernel

        text = {"text/plain": str(self) if msg is None else msg}
        if self._shown is None:
            self._shown = display(text, raw=True, display_id=True)
        else:
            self._shown.update(text, raw=True)

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: lines are printed below the bar."""


def bar(total: int, unit: str, done: int = 0, silent: bool = False) -> Bar:
    """A bar of `total` units, disabled if it is `silent` or cannot be shown. It disappears at its end."""
    kind = NotebookBar if in_notebook() else Bar
    disable = silent or not shows_bars()
    # without nrows, tqdm takes a size that is not known as 0
    return kind(total=total, initial=done, unit=unit, leave=False, disable=disable, nrows=24)


def lock_in_process() -> None:
    """Lock bars by a lock of this process: tqdm's own has a semaphore, which would outlive a killed process."""
    tqdm.set_lock(threading.RLock())


def fitting(parts: Mapping[str, Mapping[str, float]], room: int) -> dict[str, float]:
    """The metrics of "train" and "val" that fit in `room` columns, in order, as "train/loss" and so on. The
    first two of validation come first, then the first two of training, and so on.
    """
    named = {part: [f"{part}/{name}" for name in metrics] for part, metrics in parts.items()}
    ranked = sorted(
        ((place // 2, part != "val", place, name) for part, names in named.items() for place, name in enumerate(names))
    )
    chosen: set[str] = set()
    for *_, name in ranked:
        room -= disp_len(name) + DIGITS
        if room < 0 and len(chosen) >= 2:
            break
        chosen.add(name)
    values = {f"{part}/{name}": value for part, metrics in parts.items() for name, value in metrics.items()}
    return {name: value for name, value in values.items() if name in chosen}


class Progress:
    """Show the progress of a run with `total_steps` steps, after `done` earlier steps; show nothing if `silent`."""

    def __init__(self, total_steps: int, done: int = 0, silent: bool = False):
        self._total = total_steps
        self._silent = silent
        self._bar = bar(total_steps, "step", done, silent=silent)

    def advance(self) -> None:
        """Move the bar by one step."""
        self._bar.update()

    def training(self, metrics: Mapping[str, float]) -> None:
        """Show the first two training metrics beside the bar."""
        if not self._bar.disable:
            self._bar.set_postfix_str(format_metrics(dict(list(metrics.items())[:2])), refresh=False)

    def validation(self, step: int, epoch: float, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
        """Print a line with the metrics: `train` since the last validation, and `validation`; on a terminal in columns,
        and those that fit its width.
        """
        if self._silent:
            return
        parts, at = {"train": train, "val": validation}, f"step {step:>{len(str(self._total))}}/{self._total}"
        if sys.stdout.isatty():
            head = f"{at}  epoch {epoch:<5.4g} "
            fit = fitting(parts, size_of(sys.stdout)[0] - len(head))
            write(head + " ".join(f"{printable(name)} {value:<9.4g}" for name, value in fit.items()).rstrip())
        else:
            write(f"{at}  epoch {epoch:.4g}  {format_metrics(fitting(parts, sys.maxsize))}")

    def close(self) -> None:
        self._bar.close()
