"""What a launcher reports about running jobs, and what happens with it. Imports no torch."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from dl_lab.config.schema import GridConfig
from dl_lab.core.errors import JobsFailed, printable
from dl_lab.core.progress import Bar, bar, write
from dl_lab.core.shell import word
from dl_lab.sweeps.job import Job, JobOutcome
from dl_lab.sweeps.manifest import Entry, Manifest
from dl_lab.sweeps.pruners import PruningHistory
from dl_lab.sweeps.results import job_line


class Report(Protocol):
    """What a launcher calls while jobs run: `started` and `ended` for every job, the rest if it applies."""

    def started(self, job: Job) -> None:
        """A job starts, possibly a second time after its stack ran out of memory."""

    def ended(self, job: Job, outcome: JobOutcome) -> None:
        """A job ended. Raises JobsFailed if it failed and sweep.fail_fast=true, or because the disk is full."""

    def note(self, line: str) -> None:
        """Show a line."""

    def trace(self, text: str) -> None:
        """Show a traceback, unless it was shown before."""

    def stepped(self, step: int, total: int) -> None:
        """A stack has finished this step of `total` steps."""

    def validated(self, job: Job, step: int, metrics: Mapping[str, float]) -> None:
        """A job was validated. Report every member of a stack before `hopeless`, so that their order has no effect."""

    def hopeless(self, job: Job, step: int) -> bool:
        """Return whether to prune a job after its validation at this step."""


Runner = Callable[[list[Job], Report], None]


class SweepReport(Report):
    """Record jobs in the manifest, show them on a display, and prune by the history of all validations."""

    def __init__(self, manifest: Manifest, display: "Display", settings: GridConfig):
        self._manifest = manifest
        self._display = display
        self._fail_fast = settings.fail_fast
        self._history = PruningHistory(settings, manifest)
        self.names: dict[int, str] = {}  # of the jobs, by number

    def started(self, job: Job) -> None:
        self._manifest.start(job.number)
        self._display.job_started(job)

    def ended(self, job: Job, outcome: JobOutcome) -> None:
        if outcome.traceback is not None:
            self.trace(outcome.traceback)
        entry = self._manifest.end(job.number, outcome.status, outcome.reason)
        if entry.is_failure and outcome.disk_is_full:  # the other jobs would fail as well
            reason, advice = entry.why.partition("; hint: ")[0], resuming(self._manifest.folder)
            raise JobsFailed(
                printable(f"error: #{job.number}  {reason}; hint: free some space on that disk, then {advice}")
            )
        if outcome.status == "failed":
            write_failure(job.folder, str(outcome.reason))
        self._display.job_ended(entry, job_line(entry, self.names.get(job.number, ""), self._manifest.objective))
        if self._fail_fast and entry.is_failure:
            raise JobsFailed("\n".join(["a job failed, and sweep.fail_fast=true:", *failure_lines([entry])]))

    def validated(self, job: Job, step: int, metrics: Mapping[str, float]) -> None:
        self._history.add(job.number, step, metrics)

    def hopeless(self, job: Job, step: int) -> bool:
        return self._history.is_hopeless(job.number, step)

    def note(self, line: str) -> None:
        self._display.note(line)

    def trace(self, text: str) -> None:
        self._display.trace(text)

    def stepped(self, step: int, total: int) -> None:
        self._display.stepped(step, total)


class Display:
    """A line for each job that has ended. On a terminal also a bar for the jobs, and one for the steps of a stack."""

    def __init__(self, total: int):
        """Show a sweep of `total` jobs."""
        self._running: set[int] = set()
        self._failed: set[int] = set()
        self._tracebacks: set[str] = set()
        self._bar = bar(total, "job")
        self._steps: Bar | None = None

    def job_started(self, job: Job) -> None:
        """Count a job that runs."""
        self._running.add(job.number)
        self._refresh()

    def job_ended(self, entry: Entry, line: str) -> None:
        """Show how a job ended, by `line` unless it failed, and count it."""
        self._running.discard(entry.number)
        if not self._running:
            self._close_steps()
        self.count(entry)
        if entry.is_failure:
            self._error(f"error: #{entry.number}  {printable(entry.why)}")
        else:
            self.note(line)

    def count(self, entry: Entry) -> None:
        """Count a job that has ended, now or in an earlier command."""
        if entry.is_failure:
            self._failed.add(entry.number)
        self._bar.update()
        self._refresh()

    def stepped(self, step: int, total: int) -> None:
        """On a terminal, move the bar of a stack to this step."""
        if self._bar.disable:
            return
        if self._steps is None or self._steps.total != total:
            self._close_steps()
            self._steps = bar(total, "step")
        self._steps.update(step - self._steps.n)

    def repeated(self, line: str) -> None:
        """Print that a job is another one again, and count it."""
        self.note(line)
        self._bar.update()

    def note(self, line: str) -> None:
        """Print a line without breaking the bar."""
        write(printable(line))

    def trace(self, text: str) -> None:
        """Print a traceback to stderr, each one once."""
        if text not in self._tracebacks:
            self._tracebacks.add(text)
            self._error(text.rstrip())

    def close(self) -> None:
        self._close_steps()
        self._bar.close()

    def _close_steps(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def _error(self, line: str) -> None:
        write(line, sys.stderr)

    def _refresh(self) -> None:
        self._bar.set_postfix_str(f"{len(self._running)} running, {len(self._failed)} failed")


def resuming(folder: Path) -> str:
    """Return how a sweep is continued."""
    return f"continue with the same command and sweep.resume={word(folder)}"


def failure_lines(entries: Iterable[Entry]) -> list[str]:
    """Return one line per failed job."""
    return [printable(f"  #{entry.number}  {' '.join(entry.overrides)}: {entry.why}") for entry in entries]


def unresolved_lines(entries: Sequence[Entry], folder: Path) -> list[str]:
    """Return the lines about the jobs of a sweep that failed or have not ended; none if all have ended well."""
    failed = [entry for entry in entries if entry.is_failure]
    unfinished = [entry for entry in entries if not entry.is_final and not entry.is_failure]
    lines = [f"{len(failed)} of {len(entries)} jobs failed:", *failure_lines(failed)] if failed else []
    if unfinished:  # someone else stopped their process
        lines.append(f"{len(unfinished)} of {len(entries)} jobs have not ended; hint: {resuming(folder)}")
    return lines


def write_failure(folder: Path, reason: str) -> None:
    """Write a summary.json with the reason, unless the run has recorded its own end."""
    if not (folder / "metrics.jsonl").exists() or not (folder / "summary.json").exists():
        from dl_lab.runs.logger import write_summary

        folder.mkdir(parents=True, exist_ok=True)
        write_summary(folder, {"status": "failed", "reason": reason})
