"""Run jobs one after the other in this process. Imports no torch."""

import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig

from dl_lab.sweeps.job import Job, JobOutcome, outcome_of_return
from dl_lab.sweeps.report import Report


def run_in_turn(jobs: list[Job], report: Report, task: Callable[[DictConfig], Any], context: HydraContext) -> None:
    """Run the jobs one after the other in this process."""
    for job in jobs:
        report.started(job)
        try:
            outcome = run_one(job, task, context)
        except BaseException:
            report.ended(job, JobOutcome("stopped", "interrupted"))
            raise
        report.ended(job, outcome)


def run_one(job: Job, task: Callable[[DictConfig], Any], context: HydraContext) -> JobOutcome:
    """Run one job with Hydra. Its own output is dropped, because it would hide the lines of the sweep."""
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
