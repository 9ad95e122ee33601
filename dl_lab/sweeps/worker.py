"""A process that runs jobs of a sweep: it trains what the main process sends and reports back to it."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dl_lab.core import progress
from dl_lab.core.errors import Stopped
from dl_lab.core.signals import termination_raises
from dl_lab.core.terminal import escape_output
from dl_lab.sweeps.in_turn import run_in_turn
from dl_lab.sweeps.job import Job, JobOutcome
from dl_lab.sweeps.report import Report

STEP_INTERVAL = 0.5  # seconds between two reports of a stack's step


@dataclass(frozen=True)
class Share:
    """The jobs that a process runs next, as stacks or one after the other; `processes` share the memory."""

    jobs: list[Job]
    stacked: bool = False
    processes: int = 1


# A worker sends ("started", number), ("ended", number, outcome), ("note", line), ("announce", line), ("trace", text)
# and ("stepped", step, total), as the methods of Report; ("separately", numbers), jobs that it gives back because they
# do not stack; and ("done",) after a share.
Message = tuple[Any, ...]


class Relay(Report):
    """Send every report to the main process. Runs in several processes are not compared, so none is pruned."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._last_step = 0.0

    def _send(self, *message: Any) -> None:
        with suppress(ConnectionError):  # the main process has died: this one saves its runs and ends too
            self._connection.send(message)

    def started(self, job: Job) -> None:
        self._send("started", job.number)

    def ended(self, job: Job, outcome: JobOutcome) -> None:
        self._send("ended", job.number, outcome)

    def separately(self, jobs: list[Job], report: Report) -> None:
        """Give back jobs that do not stack, for any process that is free."""
        self._send("separately", [job.number for job in jobs])

    def note(self, line: str) -> None:
        self._send("note", line)

    def announce(self, line: str) -> None:
        """Show a line, unless it was shown before."""
        self._send("announce", line)

    def trace(self, text: str) -> None:
        self._send("trace", text)

    def stepped(self, step: int, total: int) -> None:
        if time.monotonic() - self._last_step > STEP_INTERVAL:
            self._send("stepped", step, total)
            self._last_step = time.monotonic()

    def validated(self, job: Job, step: int, metrics: Mapping[str, float]) -> None:
        pass

    def hopeless(self, job: Job, step: int) -> bool:
        return False


def work(connection: Connection, threads: int) -> None:
    """Run one share after the other until the connection closes or the main process dies."""
    escape_output()
    gc.set_threshold(50_000)  # as in the main process
    threading.Thread(target=stop_with_parent, daemon=True).start()
    progress.lock_in_process()
    relay = Relay(connection)
    progress.show = relay.announce
    ends = suppress(EOFError, ConnectionError)
    # progress bars and warnings of several runs at once would mix
    with (
        exit_on_error(relay),
        ends,
        termination_raises(),
        Path(os.devnull).open("w") as nowhere,
        redirect_stderr(nowhere),
    ):
        from dl_lab.core import devices  # imports torch, which takes seconds, while the main process composes jobs
        from dl_lab.sweeps import vectorized_launcher

        devices.limit_threads(threads)
        while True:
            share = connection.recv()
            with suppress(Stopped):
                if share.stacked:
                    vectorized_launcher.run(share.jobs, relay, relay.separately, share.processes)
                else:
                    run_alone(share.jobs, relay)
            connection.send(("done",))


@contextmanager
def exit_on_error(report: Report) -> Iterator[None]:
    """Exit with the status of a signal, or report an unexpected error of this process and exit."""
    try:
        yield
    except Stopped as stopped:  # between two shares
        sys.exit(stopped.status)
    except Exception:
        report.trace(traceback.format_exc())
        os._exit(1)


def run_alone(jobs: list[Job], report: Report) -> None:
    """Run jobs one after the other in this process, in which Hydra is not set up yet."""
    from hydra import version
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import setup_globals
    from hydra.types import HydraContext

    from dl_lab.training.run import train_job

    version.setbase("1.3")  # without it Hydra changes the working directory to the run folder
    setup_globals()
    assert jobs[0].config is not None
    context = HydraContext(config_loader=None, callbacks=Callbacks(jobs[0].config))  # type: ignore[arg-type]
    run_in_turn(jobs, report, train_job, context)


def stop_with_parent() -> None:
    """Send SIGTERM to this process when the main process ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
