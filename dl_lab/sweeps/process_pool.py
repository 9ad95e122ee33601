"""Run the jobs of a sweep in several processes. Each starts once and takes one share of the jobs after the other."""

import os
import shutil
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from dl_lab.core.errors import ConfigError, JobsFailed, Stopped
from dl_lab.core.progress import announce
from dl_lab.core.signals import STATUSES_OF_TERMINATION, Signals
from dl_lab.sweeps import forkserver
from dl_lab.sweeps.job import Job, JobOutcome
from dl_lab.sweeps.report import Report
from dl_lab.sweeps.worker import Message, Share, work

STOP_TIMEOUT = 60.0  # seconds in which processes save their runs after they were asked to stop
SIGNAL_INTERVAL = 0.5  # seconds between two checks for a signal


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Return whether this machine probably has a GPU: a driver of NVIDIA or AMD, or a Mac. Asking torch would take the
    second that its import takes.
    """
    return sys.platform == "darwin" or Path("/dev/kfd").exists() or shutil.which("nvidia-smi") is not None


class ProcessPool:
    """A number of processes that wait for jobs until `close`."""

    def __init__(self, count: int, threads: int):
        """Start processes with `threads` threads each. They import torch while the caller continues."""
        self._count, self._threads = count, threads
        self._workers: list[Worker] = []
        if not forkserver.start():
            self._start()

    def _start(self) -> None:
        if not self._workers:
            self._workers = [Worker(self._threads) for _ in range(self._count)]

    def run_separately(self, jobs: list[Job], report: Report) -> None:
        """Run one job per process at a time. If a process dies, its job fails.

        Raises:
            Stopped: after Ctrl-C or SIGTERM, when every process has saved its run.
            JobsFailed: if a job failed and sweep.fail_fast=true.
        """
        self._run(deque(Share([job]) for job in jobs), report)

    def run_stacked(self, jobs: list[Job], report: Report) -> None:
        """Divide the jobs equally among the processes, which train them as stacks. Then jobs that do not stack, and
        those of a process that died, run separately. Raises as `run_separately` does.
        """
        count = min(self._count, len(jobs))
        self._run(deque(Share(jobs[start::count], True, count) for start in range(count)), report)

    def _run(self, waiting: deque[Share], report: Report) -> None:
        self._start()
        try:
            with Signals() as signals:
                while waiting or self._busy():
                    if signals.received():
                        raise Stopped("stopped", signals.status)
                    for worker in self._workers:
                        if waiting and not worker.busy:
                            worker.assign(waiting.popleft())
                    first = self._busy()[0]  # its steps are shown for all
                    for worker in readable(self._busy()):
                        waiting.extend(Share([job]) for job in worker.receive(report, shows_steps=worker is first))
                if signals.received():  # after the last message
                    raise Stopped("stopped", signals.status)
        except BaseException:
            self._stop(report)
            raise

    def _busy(self) -> "list[Worker]":
        return [worker for worker in self._workers if worker.busy]

    def _stop(self, report: Report) -> None:
        """Ask every process to save its runs, and report them as stopped."""
        busy = self._busy()
        for worker in busy:
            worker.process.terminate()
        for worker in busy:
            worker.drain(report)

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()  # it is idle, or its last messages have been read
            worker.process.join()
        forkserver.stop()


def readable(workers: "list[Worker]") -> "list[Worker]":
    """Wait for workers that have sent a message or have died. Returns none after `SIGNAL_INTERVAL`."""
    ready = wait([worker.connection for worker in workers], SIGNAL_INTERVAL)
    return [worker for worker in workers if worker.connection in ready]


class Worker:
    """A process as the main process sees it, and the jobs of its share that have not ended, by their numbers."""

    def __init__(self, threads: int) -> None:
        self.busy = False
        self.jobs: dict[int, Job] = {}
        self._started: set[int] = set()  # numbers of jobs
        self._threads = threads
        self._start_process()

    def _start_process(self) -> None:
        context = forkserver.context()
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self._threads))
        try:
            with forkserver.child_settings():
                self.process.start()
        except (EOFError, OSError) as error:  # the fork server died of its imports and has shown why
            reason = f"processes cannot start here ({type(error).__name__}: {error})"
            raise ConfigError(f"{reason}; hint: hydra/launcher=in_turn") from error
        theirs.close()  # otherwise this process does not notice when the other one dies

    def assign(self, share: Share) -> None:
        """Send the process its next share."""
        self.busy, self.jobs = True, {job.number: job for job in share.jobs}
        if share.stacked:  # which needs only the plain values; a DictConfig is slow to send
            share = replace(share, jobs=[replace(job, config=None) for job in share.jobs])
        with suppress(OSError):  # the process has died, which `receive` notices
            self.connection.send(share)

    def receive(self, report: Report, shows_steps: bool) -> list[Job]:
        """Receive one message and report it. Returns the jobs that have to run separately."""
        message = self._next_message()
        return self._replace(report) if message is None else self._handle(message, report, shows_steps)

    def drain(self, report: Report) -> None:
        """Receive all messages of a process that was asked to stop, and report its unfinished jobs as stopped."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while self.busy and self.connection.poll(max(0.0, deadline - time.monotonic())):
            if (message := self._next_message()) is None:
                break
            with suppress(JobsFailed, OSError):  # the first one is being raised already
                self._handle(message, report, shows_steps=False)
        self._report_stopped(report)

    def _next_message(self) -> Message | None:
        """Return the next message; None if the process has died."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            return None
        return message

    def _handle(self, message: Message, report: Report, shows_steps: bool) -> list[Job]:
        match message:
            case "separately", numbers:
                return [self.jobs.pop(number) for number in numbers]
            case "started", number:
                self._started.add(number)
                report.started(self.jobs[number])
            case "ended", number, outcome:
                report.ended(self.jobs.pop(number), outcome)
            case "stepped", step, total:
                if shows_steps:
                    report.stepped(step, total)
            case "note", line:
                report.note(line)
            case "announce", line:
                announce(line)
            case "trace", text:
                report.trace(text)
            case ("done",):
                self.busy = False
                self._report_stopped(report)
        return []

    def _report_stopped(self, report: Report) -> None:
        """Report the jobs that have started and not ended as stopped; the others are still pending."""
        left, self.jobs = self.jobs, {}
        for job in (job for number, job in left.items() if number in self._started):
            with suppress(BrokenPipeError):  # the output is closed; the manifest has the job all the same
                report.ended(job, JobOutcome("stopped", "interrupted"))

    def _replace(self, report: Report) -> list[Job]:
        """Start another process for one that died. A single job fails with it, unless a signal stopped the process; of
        several, each runs separately, because any of them can be the cause.
        """
        left, self.jobs, self.busy = list(self.jobs.values()), {}, False
        self.process.join()
        reason, was_stopped = cause_of_death(self.process.exitcode), self.process.exitcode in STATUSES_OF_TERMINATION
        self._start_process()
        if len(left) > 1:
            report.note(f"a process with {len(left)} runs has died: {reason}; each of them continues separately")
            return [resumed(job) for job in left]
        for job in left:
            report.started(job)
            report.ended(job, JobOutcome("stopped", "interrupted") if was_stopped else JobOutcome("failed", reason))
        return []


def resumed(job: Job) -> Job:
    """Return the job so that it continues from what is in its folder."""
    assert job.config is not None
    job.config.sweep.resume = str(job.folder.parent)
    return replace(job, resumes=True)


def cause_of_death(code: int | None) -> str:
    """Return in one line why a process died."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        often = " (often because memory ran out)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{often}"
    return f"its process ended with status {code}"
