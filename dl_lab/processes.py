"""Several jobs of a sweep at a time, each in a process with one thread, which starts once and runs job after job."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from contextlib import redirect_stderr, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from dl_lab.errors import Stopped
from dl_lab.signals import Signals, sigterm_raises
from dl_lab.sweeps import Ended, Job, Report, run_one

PATIENCE = 60.0  # seconds that the processes have to save what they run, once they are asked to stop


def run(jobs: list[Job], report: Report, processes: int | None = None) -> None:
    """Run the jobs, so many at a time; null: as many as there are cores. A process that dies is one failed job.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, when all have saved what they were at.
    """
    count = min(processes or cores(), len(jobs))
    waiting, workers = deque(jobs), [Worker() for _ in range(count)]
    try:
        with Signals() as signals:
            while waiting or any(worker.job for worker in workers):
                if signals.received():
                    stop(workers, report)
                    raise Stopped("stopped", signals.status)
                for worker in workers:
                    if worker.job is None and waiting:
                        worker.start(waiting.popleft(), report)
                for worker in ready(workers):
                    worker.finish(report)
    finally:
        for worker in workers:
            worker.end()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ready(workers: "list[Worker]") -> "list[Worker]":
    """The busy workers whose job has ended or that have died; none for half a second, so that signals are heard."""
    busy = {worker.answers: worker for worker in workers if worker.job}
    return [busy[answers] for answers in wait(list(busy), timeout=0.5) if isinstance(answers, Connection)]


def stop(workers: "list[Worker]", report: Report) -> None:
    """Ask every worker to save what it runs, and record that."""
    busy = [worker for worker in workers if worker.job]
    for worker in busy:
        worker.process.terminate()
    for worker in busy:
        if not worker.answers.poll(PATIENCE):
            worker.process.kill()
        worker.finish(report, stopping=True)


class Worker:
    """A process, and the job that it runs."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.answers, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(theirs,))
        self.process.start()
        theirs.close()  # so that its death is heard at our end

    def start(self, job: Job, report: Report) -> None:
        """Give it a job."""
        self.job = job
        report.started(job)
        self.answers.send(job)

    def finish(self, report: Report, stopping: bool = False) -> None:
        """Take how its job ended; if the process died, that is how, and another begins."""
        assert self.job is not None
        job, self.job = self.job, None
        try:
            ended: Ended = self.answers.recv()
        except (EOFError, OSError):
            self.process.join()
            ended = Ended("failed", reason=death(self.process.exitcode))
            if stopping:  # before it could save
                ended = Ended("stopped", reason="interrupted")
            else:
                self._begin()
        report.trace(ended.traceback)
        report.ended(job, ended.status, ended.value, ended.reason)

    def end(self) -> None:
        """Let the process end; one that runs a job saves it first."""
        self.answers.close()
        if self.job is not None:
            self.process.terminate()
        self.process.join(PATIENCE)
        self.process.kill()


def death(code: int | None) -> str:
    """Why a process died, in one line."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        often = " (often because memory ran out)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{often}"
    return f"its process ended with status {code}"


def work(answers: Connection) -> None:
    """Run the jobs that come, until none do, or until the process that started this one is gone."""
    threading.Thread(target=follow, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # before torch is imported
    ends = suppress(EOFError, BrokenPipeError, KeyboardInterrupt, Stopped)
    with ends, sigterm_raises(), Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        while True:  # bars and warnings of several runs at once are no help
            answers.send(carried_out(answers.recv()))


def follow() -> None:
    """Ask for a stop, as SIGTERM does, when the process that started this one ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def carried_out(job: Job) -> Ended:
    """How a job ended that was run here."""
    from hydra import version
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import setup_globals
    from hydra.types import HydraContext

    from dl_lab.train import train

    version.setbase("1.3")  # or Hydra works in the run's folder
    setup_globals()
    assert job.config is not None
    context = HydraContext(config_loader=None, callbacks=Callbacks(job.config))  # type: ignore[arg-type]  # is composed
    try:
        return run_one(job, train, context)
    except (KeyboardInterrupt, Stopped):
        return Ended("stopped", reason="interrupted")
