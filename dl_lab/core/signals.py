"""Ctrl-C and SIGTERM: the first one asks a run to stop after its step; Ctrl-C after that stops it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Self

from dl_lab.core.errors import Stopped


class Signals:
    """Inside the context, store the first signal instead of stopping the process. Works only on the main thread."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._store) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _store(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def received(self) -> bool:
        """True once a signal has been received."""
        return self._number is not None

    @property
    def status(self) -> int:
        """The exit status of a process that ends because of the signal: 128 plus its number."""
        return 128 + (self._number or 0)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Inside the context, SIGTERM raises Stopped, as Ctrl-C raises KeyboardInterrupt. Works only on the main thread."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Stopped("stopped", 128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
