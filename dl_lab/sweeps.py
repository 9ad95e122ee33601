"""A sweep: its jobs, what is told of them, and what is kept. Launchers differ only in how they run the jobs."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from dl_lab.ledger import Entry, Ledger


@dataclass
class Job:
    """One job of a sweep, composed; its number in the sweep stays its own when the sweep is resumed."""

    number: int
    overrides: list[str]  # those for the run, as given
    config: DictConfig | None  # with Hydra's node; None if it could not be composed
    folder: Path
    resumes: bool  # go on from the checkpoint that is in the folder, if there is one


class Report:
    """What a launcher tells while jobs run: it is kept in the ledger and shown."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._entries: dict[int, Entry] = {entry.number: entry for entry in ledger.jobs}

    def started(self, job: Job) -> None:
        """A job runs now."""
        self._entries[job.number].status = "running"
        self._ledger.changed()
        self.note(f"#{job.number}  {' '.join(job.overrides)}")

    def ended(self, job: Job, status: str, value: float | None, reason: str | None = None) -> None:
        """A job ended: with the status of its summary.json or failed, and its best validation metric."""
        entry = self._entries[job.number]
        self._ledger.look_up(entry)
        entry.status, entry.reason = status, reason
        self._ledger.changed()

    def hopeless(self, job: Job, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether to prune a job after this validation; its status is then pruned."""
        return False

    def note(self, line: str) -> None:
        """Show a line, without breaking the bar."""
        print(line, flush=True)


Runner = Callable[[list[Job], Report], None]


def command() -> str:
    """The command that runs, as one would type it."""
    return shlex.join(["python", "-m", "dl_lab.train", *sys.argv[1:]])


def said(jobs: Sequence[Entry]) -> list[str]:
    """A line for each job that failed."""
    return [f"  #{entry.number}  {' '.join(entry.overrides)}: {entry.reason}" for entry in jobs]
