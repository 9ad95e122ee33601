"""Processes as copies of one that has imported torch: more than a second and hundreds of megabytes, once for all."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, SpawnContext

ARE_THERE = sys.platform not in ("win32", "darwin")  # Windows has none, Apple's libraries do not survive being copied
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def begin() -> bool:
    """Start the process of which others will be copies, if it has not begun, and where there are copies."""
    if ARE_THERE:
        multiprocessing.set_forkserver_preload(["dl_lab.training"])
        with one_thread_a_library():
            forkserver.ensure_running()
    return ARE_THERE


def context() -> ForkServerContext | SpawnContext:
    """What makes the processes."""
    return multiprocessing.get_context("forkserver") if ARE_THERE else multiprocessing.get_context("spawn")


@contextmanager
def one_thread_a_library() -> Iterator[None]:
    """Within, a process that starts has one thread for each of its numerical libraries, which ask when they are
    imported: else it could not be copied safely.
    """
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
