"""Start processes as forks of one that has imported torch, which saves each a second and hundreds of megabytes."""

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

AVAILABLE = sys.platform not in ("win32", "darwin")  # Windows cannot fork, and Apple's libraries do not survive it
PRELOADED = ["dl_lab.sweeps.worker", "dl_lab.sweeps.vectorized_launcher"]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start() -> bool:
    """Start the fork server, unless it runs. Returns whether there is one on this platform."""
    if AVAILABLE:
        from multiprocessing import forkserver

        multiprocessing.set_forkserver_preload(PRELOADED)
        with child_settings():
            forkserver.ensure_running()
    return AVAILABLE


def stop() -> None:
    """Kill the fork server, so that the system adds the time that its children took to this process. There is no public
    function for it. It has nothing to save, and would take a second to unload torch.
    """
    if not AVAILABLE:
        return
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        os.kill(server._forkserver_pid, signal.SIGKILL)
    server._stop()


def context() -> "ForkServerContext | SpawnContext":
    """Return the multiprocessing context that creates processes."""
    return multiprocessing.get_context("forkserver") if AVAILABLE else multiprocessing.get_context("spawn")


@contextmanager
def child_settings() -> Iterator[None]:
    """Start processes within this context. They never receive Ctrl-C, which a terminal sends to all processes: the main
    process stops them with SIGTERM. Their numerical libraries start one thread each: with more, forking is not safe.
    """
    has_masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    if has_masks:
        resource_tracker.ensure_running()  # it unblocks Ctrl-C when it starts
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
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
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
