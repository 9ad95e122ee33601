"""Ctrl-C, SIGTERM and SIGHUP: the first one asks a run to stop after its step; Ctrl-C after that stops it at once."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Self

from dl_lab.core.errors import Stopped

TERMINATIONS = [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__]
STATUSES_OF_TERMINATION = [128 + number for number in TERMINATIONS]


def terminations() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP of a terminal that is closed, unless it is ignored as under nohup. Windows has no SIGHUP."""
    return [number for number in TERMINATIONS if signal.getsignal(number) is not signal.SIG_IGN]


def leave_closed_terminal() -> None:
    """Write to nowhere from now on if the terminal has been closed: every output would be an error, also while a run is
    being saved.
    """
    for stream in (1, 2):
        try:
            os.get_terminal_size(stream)
        except OSError as error:
            if error.errno == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


class Signals:
    """Inside the context, store the first signal instead of stopping the process. Works only on the main thread."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, *terminations()]
            self._before = {number: signal.signal(number, self._store) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _store(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        leave_closed_terminal()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def received(self) -> bool:
        """True once a signal has been received."""
        return self._number is not None

    @property
    def status(self) -> int:
        """The exit status of a process that ends because of the signal: 128 plus its number."""
        return 128 + (self._number or 0)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Inside the context, SIGTERM and SIGHUP raise Stopped, as Ctrl-C raises KeyboardInterrupt. Works only on the main
    thread.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        leave_closed_terminal()
        raise Stopped("stopped", 128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in terminations()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
