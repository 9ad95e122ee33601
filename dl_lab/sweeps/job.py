"""One job of a sweep: its configuration, how it runs in this process, and how it ends. Imports no torch."""

import os
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dl_lab.config.messages import described, explain, is_full
from dl_lab.core.errors import Diverged

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext

    from dl_lab.sweeps.report import Report


@dataclass
class Job:
    """One job of a sweep. A resumed sweep gives it the same number and folder again."""

    number: int
    overrides: list[str]  # of the run, as the user wrote them
    config: DictConfig | None  # with Hydra's node; None if it cannot be composed, and such a job reaches no launcher
    values: dict[str, Any] | None  # the same as plain values, without Hydra's node
    folder: Path
    resumes: bool  # whether to continue from the checkpoint in the folder, if there is one


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended: "failed", or the status of its summary.json, and the reason."""

    status: str
    reason: str | None = None
    traceback: str | None = None  # of an unexpected error
    disk_is_full: bool = False


def outcome_of_error(error: BaseException) -> JobOutcome:
    """Return how a job ended that raised `error`."""
    reason = explain(error)
    if reason is not None:
        status = "diverged" if isinstance(error, Diverged) else "failed"
        return JobOutcome(status, reason, disk_is_full=is_full(error))
    return JobOutcome("failed", described(error), "".join(traceback.format_exception(error)))


def outcome_of_return(returned: "JobReturn") -> JobOutcome:
    """Return how a job ended from what Hydra's launchers return."""
    from hydra.core.utils import JobStatus

    if returned.status is JobStatus.FAILED:
        return outcome_of_error(returned._return_value)  # the public property would print to stderr
    return JobOutcome("completed")


def run_in_turn(jobs: list[Job], report: "Report", task: Callable[[DictConfig], Any], context: "HydraContext") -> None:
    """Run the jobs one after the other in this process."""
    for job in jobs:
        report.started(job)
        try:
            outcome = run_one(job, task, context)
        except BaseException:
            report.ended(job, JobOutcome("stopped", "interrupted"))
            raise
        report.ended(job, outcome)


def run_one(job: Job, task: Callable[[DictConfig], Any], context: "HydraContext") -> JobOutcome:
    """Run one job with Hydra. Its own output is dropped, because it would hide the lines of the sweep."""
    from hydra.core.utils import run_job

    assert job.config is not None
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        returned = run_job(
            task_function=task,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=context,
        )
    return outcome_of_return(returned)
