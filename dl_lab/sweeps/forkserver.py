"""Processes as copies of one that has imported torch: more than a second and hundreds of megabytes, once for all."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

ARE_THERE = sys.platform not in ("win32", "darwin")  # Windows has none, Apple's libraries do not survive being copied
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def begin() -> bool:
    """Start the process of which others will be copies, if it has not begun, and where there are copies."""
    if ARE_THERE:
        from multiprocessing import forkserver

        multiprocessing.set_forkserver_preload(["dl_lab.sweeps.preload"])
        with quiet():
            forkserver.ensure_running()
    return ARE_THERE


def end() -> None:
    """Let the process go that others were copies of, so that the system counts what they took as this one's. There is
    no public way; it would take a second to clear away torch by itself, and has nothing to save.
    """
    if not ARE_THERE:
        return
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        os.kill(server._forkserver_pid, signal.SIGKILL)
    server._stop()


def context() -> "ForkServerContext | SpawnContext":
    """What makes the processes."""
    return multiprocessing.get_context("forkserver") if ARE_THERE else multiprocessing.get_context("spawn")


@contextmanager
def quiet() -> Iterator[None]:
    """Within, a process that starts never hears Ctrl-C, which a terminal sends to all: the process that started it asks
    it to stop, by SIGTERM. And it has one thread for each of its numerical libraries, which ask when they are imported:
    else it could not be copied safely.
    """
    has_masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    if has_masks:
        resource_tracker.ensure_running()  # which lets Ctrl-C through again when it starts
        heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if has_masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
