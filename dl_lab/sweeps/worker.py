"""What a process does that runs jobs for a sweep: it trains what comes, and tells the process that started it."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dl_lab.core.errors import Stopped
from dl_lab.core.signals import sigterm_raises
from dl_lab.sweeps.job import Job, Report, run_in_turn

SHOWN = 0.5  # seconds between two steps of a stack that are told of

Message = tuple[Any, ...]  # the name of what is told of, then its arguments; jobs by their numbers


class Relay(Report):
    """A report that is kept in the process that started this one; of the methods, those that runners call."""

    def __init__(self, answers: Connection):
        self._answers = answers
        self._shown_at = 0.0

    def _tell(self, message: Message) -> None:
        with suppress(ConnectionError):  # that process is gone: this one saves what it runs, and follows it
            self._answers.send(message)

    def started(self, job: Job) -> None:
        self._tell(("started", job.number))

    def ended(self, job: Job, status: str, value: float | None, reason: str | None = None) -> None:
        self._tell(("ended", job.number, status, value, reason))

    def alone(self, jobs: list[Job], report: Report) -> None:
        """Give back jobs that are to run by themselves, in whatever process is free."""
        self._tell(("alone", [job.number for job in jobs]))

    def note(self, line: str) -> None:
        self._tell(("note", line))

    def trace(self, text: str | None) -> None:
        if text is not None:
            self._tell(("trace", text))

    def stepped(self, step: int, total: int) -> None:
        if time.monotonic() - self._shown_at > SHOWN:
            self._tell(("stepped", step, total))
            self._shown_at = time.monotonic()

    def validated(self, job: Job, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing: runs in several processes are not compared while they train."""

    def hopeless(self, job: Job, step: int) -> bool:
        return False


def work(answers: Connection, threads: int) -> None:
    """Run the shares that come, until none do, or until the process that started this one is gone."""
    threading.Thread(target=follow, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own has a semaphore, which would outlive a process that is killed
    relay = Relay(answers)
    ends = suppress(EOFError, ConnectionError, Stopped)
    with traced(relay), ends, sigterm_raises(), Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        from dl_lab.sweeps.preload import devices, vectorized_launcher  # takes seconds, while the jobs are composed

        devices.limit_threads(threads)
        while True:  # bars and warnings of several runs at once are no help
            jobs, sharing = answers.recv()
            with suppress(Stopped):
                if sharing is None:
                    alone_here(jobs, relay)
                else:
                    vectorized_launcher.run(jobs, relay, relay.alone, sharing)
            answers.send(("done",))


@contextmanager
def traced(report: Report) -> Iterator[None]:
    """Tell of what this process dies of, once."""
    try:
        yield
    except Exception:
        report.trace(traceback.format_exc())
        os._exit(1)


def alone_here(jobs: list[Job], report: Report) -> None:
    """Run jobs one after the other in this process, which Hydra did not start."""
    from hydra import version
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import setup_globals
    from hydra.types import HydraContext

    from dl_lab.training.run import train_job

    version.setbase("1.3")  # or Hydra works in the run's folder
    setup_globals()
    assert jobs[0].config is not None
    context = HydraContext(config_loader=None, callbacks=Callbacks(jobs[0].config))  # type: ignore[arg-type]
    run_in_turn(jobs, report, lambda config: train_job(config).value, context)


def follow() -> None:
    """Ask for a stop, as SIGTERM does, when the process that started this one ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
