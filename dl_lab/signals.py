"""Ctrl-C and SIGTERM: the first asks a run to stop after its step, a second Ctrl-C stops it at once."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Signals:
    """While the context is open, remembers the first signal. On a thread other than the main one it hears nothing."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def received(self) -> bool:
        """Whether one came."""
        return self._number is not None

    @property
    def status(self) -> int:
        """What the process ends with: 128 and the signal's number."""
        return 128 + (self._number or 0)
