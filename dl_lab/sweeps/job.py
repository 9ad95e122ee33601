"""One job of a sweep: its configuration, and how it ends. Imports no torch."""

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dl_lab.config.messages import described, explain, is_full
from dl_lab.core.errors import Diverged

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn


@dataclass
class Job:
    """One job of a sweep. A resumed sweep gives it the same number and folder again."""

    number: int
    overrides: list[str]  # of the run, as the user wrote them
    config: DictConfig | None  # with Hydra's node; None if it cannot be composed, and such a job reaches no launcher
    values: dict[str, Any] | None  # the same as plain values, without Hydra's node
    folder: Path
    resumes: bool  # whether to continue from the checkpoint in the folder, if there is one
    varied: tuple[str, ...] = ()  # the overrides in which it differs from other jobs


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
