"""The jobs of a sweep in several processes, each of which starts once and works share after share of them."""

import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from dl_lab.core.errors import ConfigError, JobsFailed, Stopped
from dl_lab.core.signals import Signals
from dl_lab.sweeps import forkserver
from dl_lab.sweeps.job import Job, Report
from dl_lab.sweeps.worker import Message, work

PATIENCE = 60.0  # seconds that the processes have to save what they run, once they are asked to stop
LISTENING = 0.5  # seconds between two looks for a signal

Share = tuple[list[Job], int | None]  # jobs, and among how many to share the memory if they train as stacks


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether a GPU is likely here, without the second that importing torch takes to be sure: a driver of NVIDIA's or
    AMD's, or a Mac.
    """
    return sys.platform == "darwin" or Path("/dev/kfd").exists() or shutil.which("nvidia-smi") is not None


class Workers:
    """Processes that wait for jobs from when they are made to their `end`."""

    def __init__(self, count: int, threads: int):
        """Whatever they import is imported while the caller goes on."""
        self._count, self._threads = count, threads
        self._workers: list[Worker] = []
        if not forkserver.begin():
            self._start()

    def _start(self) -> None:
        if not self._workers:
            self._workers = [Worker(self._threads) for _ in range(self._count)]

    def run_each(self, jobs: list[Job], report: Report) -> None:
        """Run the jobs by themselves, as many at a time as there are processes; one that dies is one failed job.

        Raises:
            Stopped: after Ctrl-C or SIGTERM, when all have saved what they were at.
            JobsFailed: if one failed and the sweep was asked to fail fast.
        """
        self._run(deque(([job], None) for job in jobs), report)

    def run_together(self, jobs: list[Job], report: Report) -> None:
        """Give each process an equal share of the jobs, which it trains as stacks; what does not stack, and what a
        process died of, then runs by itself. Raises as `run_each`.
        """
        count = min(self._count, len(jobs))
        self._run(deque((jobs[start::count], count) for start in range(count)), report)

    def _run(self, waiting: deque[Share], report: Report) -> None:
        self._start()
        try:
            with Signals() as signals:
                while waiting or any(worker.busy for worker in self._workers):
                    if signals.received():
                        raise Stopped("stopped", signals.status)
                    for worker in self._workers:
                        if waiting and not worker.busy:
                            worker.start(*waiting.popleft())
                    first = next(worker for worker in self._workers if worker.busy)
                    for worker in heard(self._workers):
                        waiting.extend(([job], None) for job in worker.listen(report, worker is first))
                if signals.received():  # all was told of before it was seen
                    raise Stopped("stopped", signals.status)
        except BaseException:
            self._stop(report)
            raise

    def _stop(self, report: Report) -> None:
        """Have every process save what it runs, and record that."""
        busy = [worker for worker in self._workers if worker.busy]
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.finish(report)

    def end(self) -> None:
        """Let the processes end."""
        for worker in self._workers:
            worker.answers.close()
            worker.process.kill()  # it is idle, or was heard out
            worker.process.join()
        forkserver.end()


def heard(workers: "Iterable[Worker]") -> "list[Worker]":
    """The busy workers that have something to tell or have died; none after a while, so that signals are heard."""
    busy = [worker for worker in workers if worker.busy]
    telling = wait([worker.answers for worker in busy], LISTENING)
    return [worker for worker in busy if worker.answers in telling]


class Worker:
    """A process, and by their numbers the jobs of its share that have not ended."""

    def __init__(self, threads: int) -> None:
        self.busy = False
        self.jobs: dict[int, Job] = {}
        self._begun: set[int] = set()  # of their numbers
        self._threads = threads
        self._begin()

    def _begin(self) -> None:
        context = forkserver.context()
        self.answers, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self._threads))
        try:
            with forkserver.quiet():
                self.process.start()
        except (EOFError, OSError) as error:  # the one to be copied has died of its imports, and said so
            reason = f"processes cannot start here ({type(error).__name__}: {error})"
            raise ConfigError(f"{reason}; allowed: hydra/launcher=in_turn") from error
        theirs.close()  # so that its death is heard at our end

    def start(self, jobs: list[Job], sharing: int | None) -> None:
        """Give it its share."""
        self.busy, self.jobs = True, {job.number: job for job in jobs}
        with suppress(OSError):  # it has died, which is heard next
            needed = jobs if sharing is None else [replace(job, config=None) for job in jobs]  # which is slow to send
            self.answers.send((needed, sharing))

    def listen(self, report: Report, is_first: bool) -> list[Job]:
        """Take one thing that it tells; of several stacks, the steps of the first stand for all. Returns the jobs that
        are to run by themselves now.
        """
        message = self._heard()
        return self._died(report) if message is None else self._take(report, is_first, *message)

    def finish(self, report: Report) -> None:
        """Hear it out after it was asked to stop."""
        until = time.monotonic() + PATIENCE
        while self.busy and self.answers.poll(max(0.0, until - time.monotonic())):
            if (message := self._heard()) is None:
                break
            with suppress(JobsFailed, BrokenPipeError):  # of which the first is on its way
                self._take(report, False, *message)
        self._interrupted(report)

    def _heard(self) -> Message | None:
        """What it tells next; None if it has died."""
        try:
            message: Message = self.answers.recv()
        except (EOFError, OSError):
            return None
        return message

    def _take(self, report: Report, is_first: bool, name: str, *values: Any) -> list[Job]:
        if name == "alone":
            return [self.jobs.pop(number) for number in values[0]]
        if name == "started":
            self._begun.add(values[0])
            report.started(self.jobs[values[0]])
        elif name == "ended":
            report.ended(self.jobs.pop(values[0]), *values[1:])
        elif name == "stepped":
            if is_first:
                report.stepped(*values)
        elif name == "done":
            self.busy = False
            self._interrupted(report)
        else:
            assert name in ("note", "trace"), name
            getattr(report, name)(*values)
        return []

    def _interrupted(self, report: Report) -> None:
        """What has begun and not ended by now was interrupted; the rest is as it was."""
        left, self.jobs = self.jobs, {}
        for job in (job for number, job in left.items() if number in self._begun):
            with suppress(BrokenPipeError):  # nobody reads what is shown; the manifest has it
                report.ended(job, "stopped", None, "interrupted")

    def _died(self, report: Report) -> list[Job]:
        """Begin another process in place of one that died. One job is what it died of; of several, it is not known."""
        left, self.jobs, self.busy = list(self.jobs.values()), {}, False
        self.process.join()
        reason = death(self.process.exitcode)
        self._begin()
        if len(left) > 1:
            report.note(f"a process that had {len(left)} runs is gone: {reason}; each of them goes on by itself")
            return [gone_on_with(job) for job in left]
        for job in left:
            report.started(job)
            report.ended(job, "failed", None, reason)
        return []


def gone_on_with(job: Job) -> Job:
    """The job, to go on from what there is in its folder."""
    assert job.config is not None
    job.config.sweep.resume = str(job.folder.parent)
    return replace(job, resumes=True)


def death(code: int | None) -> str:
    """Why a process died, in one line."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        often = " (often because memory ran out)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{often}"
    return f"its process ended with status {code}"
