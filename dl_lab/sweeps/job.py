"""The jobs of a sweep, what is told of them while they run, and how one is run in this process. Imports no torch."""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from omegaconf import DictConfig
from tqdm import tqdm

from dl_lab.config.messages import explain
from dl_lab.core.errors import Diverged, JobsFailed
from dl_lab.core.progress import format_metrics
from dl_lab.data.spec import higher_is_better
from dl_lab.sweeps import pruners
from dl_lab.sweeps.config import GridConfig
from dl_lab.sweeps.manifest import ENDED, Entry, Manifest

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext

FAILED = ("failed", "diverged")


@dataclass
class Job:
    """One job of a sweep, composed; its number in the sweep stays its own when the sweep is resumed."""

    number: int
    overrides: list[str]  # those of the run, as given
    config: DictConfig | None  # with Hydra's node; None if it could not be composed, which no launcher sees
    values: dict[str, Any] | None  # the same, plain and without that node
    folder: Path
    resumes: bool  # go on from the checkpoint that is in the folder, if there is one


@dataclass(frozen=True)
class Ended:
    """How a job ended: the status of its summary.json, or failed; its best validation metric; why."""

    status: str
    value: float | None = None
    reason: str | None = None
    traceback: str | None = None  # of an error that is ours, or unknown


class Report:
    """What a launcher tells while jobs run: it is kept in the manifest and shown, on a terminal as one bar."""

    def __init__(self, manifest: Manifest, settings: GridConfig, total: int):
        self._manifest = manifest
        self._settings = settings
        self._losses: dict[int, dict[int, float]] = {}  # of validations, by job and step
        if settings.prune != "none" and manifest.objective is not None:
            self._losses = losses_so_far(manifest)
        self._running: set[int] = set()
        self._failed: set[int] = set()
        self._told: set[str] = set()  # tracebacks
        self._bar = tqdm(total=total, unit="job", dynamic_ncols=True, disable=not sys.stderr.isatty())
        self._steps: tqdm[Never] | None = None

    def started(self, job: Job) -> None:
        """A job runs now; one that starts anew, as half of a stack that had not memory enough, is shown once."""
        self._manifest[job.number].status = "running"
        self._manifest.changed()
        if self._bar.disable and job.number not in self._running:
            self.note(f"#{job.number}  {' '.join(job.overrides)}")
        self._running.add(job.number)
        self._refresh()

    def ended(self, job: Job, status: str, value: float | None, reason: str | None = None) -> None:
        """A job ended: with the status of its summary.json or failed, and its best validation metric.

        Raises:
            JobsFailed: if it failed and the sweep was asked to fail fast.
        """
        entry = self._manifest[job.number]
        self._manifest.look_up(entry)
        if status == "failed":
            record_failure(job.folder, str(reason))
        entry.reason = entry.reason if status == entry.status == "diverged" else reason
        entry.status = status
        self._manifest.changed()
        self._running.discard(job.number)
        if not self._running:
            self._end_steps()
        self.passed(entry)
        if status in FAILED:
            self._error(f"error: #{job.number}  {entry.why}")
        elif self._bar.disable:
            self.note(f"  #{job.number}  {status}  {format_metrics(entry.metrics)}")
        if self._settings.fail_fast and status in FAILED:
            raise JobsFailed("\n".join(["a job failed, and sweep.fail_fast=true:", *named([entry])]))

    def recorded(self, job: Job) -> str | None:
        """How a job ended by its own record; None if it did not."""
        entry = self._manifest[job.number]
        self._manifest.look_up(entry)
        return entry.status if entry.status in ENDED else None

    def passed(self, entry: Entry) -> None:
        """Count a job that has ended, in this command or before."""
        if entry.status in FAILED:
            self._failed.add(entry.number)
        self._bar.update()
        self._refresh()

    def validated(self, job: Job, step: int, metrics: Mapping[str, float]) -> None:
        """A validation of a job; told of all that train side by side before any is asked about, none is favoured."""
        objective = str(self._manifest.objective)
        value = metrics[objective.removeprefix("val/")]
        self._losses.setdefault(job.number, {})[step] = as_loss(objective, value)

    def hopeless(self, job: Job, step: int) -> bool:
        """Whether to prune a job after its validation at this step."""
        return pruners.hopeless(self._settings, self._losses, job.number, step)

    def stepped(self, step: int, total: int) -> None:
        """The step that a stack has come to, of so many; on a terminal a second bar."""
        if self._bar.disable:
            return
        if self._steps is None or self._steps.total != total:
            self._end_steps()
            self._steps = tqdm(total=total, unit="step", dynamic_ncols=True, leave=False)
        self._steps.update(step - self._steps.n)

    def _end_steps(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def note(self, line: str) -> None:
        """Show a line, without breaking the bar."""
        if self._bar.disable:
            print(line, flush=True)
        else:
            tqdm.write(line, file=sys.stdout)

    def _error(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()

    def trace(self, text: str | None) -> None:
        """Show a traceback, once for all jobs that end by the same."""
        if text is not None and text not in self._told:
            self._told.add(text)
            self._error(text.rstrip())

    def _refresh(self) -> None:
        self._bar.set_postfix_str(f"{len(self._running)} running, {len(self._failed)} failed")

    def close(self) -> None:
        self._end_steps()
        self._bar.close()


Runner = Callable[[list[Job], Report], None]


def as_loss(objective: str, value: float) -> float:
    """A value of the objective, as pruning compares it: lower is better."""
    return -value if higher_is_better(objective) else value


def losses_so_far(manifest: Manifest) -> dict[int, dict[int, float]]:
    """The validations of every job so far, by its number and step, from the run folders: what an earlier command has
    seen. A job that goes on from before its last one measures the same again.
    """
    from dl_lab.runs.reader import curve

    objective = str(manifest.objective)
    curves = {entry.number: curve(manifest.folder / entry.folder, objective) for entry in manifest.jobs}
    return {
        number: {step: as_loss(objective, value) for step, value in seen.items()}
        for number, seen in curves.items()
        if seen
    }


def named(entries: Iterable[Entry]) -> list[str]:
    """A line for each job that failed."""
    return [f"  #{entry.number}  {' '.join(entry.overrides)}: {entry.why}" for entry in entries]


def record_failure(folder: Path, reason: str) -> None:
    """Leave the reason in the folder of a job that failed before its own record began."""
    if not (folder / "metrics.jsonl").exists() or not (folder / "summary.json").exists():
        from dl_lab.runs.logger import write_summary

        folder.mkdir(parents=True, exist_ok=True)
        write_summary(folder, {"status": "failed", "reason": reason})


def run_in_turn(jobs: list[Job], report: Report, task: Callable[[DictConfig], Any], context: "HydraContext") -> None:
    """Run the jobs one after the other in this process."""
    for job in jobs:
        report.started(job)
        try:
            ended = run_one(job, task, context)
        except BaseException:
            report.ended(job, "stopped", None, "interrupted")
            raise
        report.trace(ended.traceback)
        report.ended(job, ended.status, ended.value, ended.reason)


def run_one(job: Job, task: Callable[[DictConfig], Any], context: "HydraContext") -> Ended:
    """Run one job as Hydra does; what it would print is left out, as it would drown the sweep's own lines."""
    from hydra.core.utils import run_job

    assert job.config is not None
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        done = run_job(
            task_function=task,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=context,
        )
    return by_return(done)


def ended_by(error: BaseException) -> Ended:
    """How a job ended that raised `error`."""
    reason = explain(error)
    if isinstance(error, Diverged):
        return Ended("diverged", reason=reason)
    if reason is not None:
        return Ended("failed", reason=reason)
    text = "".join(traceback.format_exception(error))
    return Ended("failed", reason=f"{type(error).__name__}: {' '.join(str(error).split())}", traceback=text)


def run_elsewhere(jobs: list[Job], report: Report, launcher: "Launcher") -> None:
    """Run the jobs by a launcher of somebody else's, all at once; how each ended is told when all have."""
    asked = []
    for job in jobs:
        report.started(job)
        assert job.config is not None
        # sweep.resume for all: a cluster that starts a job again then goes on with it
        own = [f"hydra.sweep.subdir='{job.config.hydra.sweep.subdir}'", f"sweep.resume='{job.folder}'"]
        asked.append([*job.overrides, *own])
    try:
        returns = launcher.launch(asked, initial_job_idx=0)
        ends = [by_return(returned) for returned in returns]
    except Exception as error:  # of the launcher: a process that died, a cluster that refused
        reason = f"the launcher failed ({type(error).__name__}: {' '.join(str(error).split())})"
        ends = [Ended(report.recorded(job) or "failed", reason=reason) for job in jobs]
    for job, ended in zip(jobs, ends, strict=True):
        report.trace(ended.traceback)
        report.ended(job, ended.status, ended.value, ended.reason)


def by_return(done: "JobReturn") -> Ended:
    """How a job ended, from what Hydra returns of it."""
    from hydra.core.utils import JobStatus

    value = done._return_value
    return ended_by(value) if done.status is JobStatus.FAILED else Ended("completed", value)
