"""Launchers: how the jobs of a sweep run. Hydra imports this module at every start, so it imports little."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dl_lab.core.errors import ConfigError, require

if TYPE_CHECKING:
    from dl_lab.config.schema import GridConfig
    from dl_lab.sweeps.job import Job
    from dl_lab.sweeps.process_pool import ProcessPool
    from dl_lab.sweeps.report import Report
    from dl_lab.sweeps.sweep import Sweep

MIN_STACK = 4  # runs per process: for fewer it does not pay to import torch in another process


class LabLauncher(Launcher):
    """The base of our launchers. A sweeper calls `start` once, `run` for every batch of jobs, and `stop` at the end."""

    can_prune = False  # whether `run` asks the report which runs are hopeless
    _sweep: "Sweep | None" = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def start(self, jobs: int, settings: "GridConfig") -> None:
        """Prepare for batches of up to `jobs` jobs. They are composed afterwards, while processes start."""

    @abstractmethod
    def run(self, jobs: "list[Job]", report: "Report") -> None:
        """Run the jobs, and report when each one starts and how it ends. A job that fails does not stop the others."""

    def stop(self) -> None:
        """Release what `start` has acquired. Called after the last job and after an error."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run these jobs for a third-party sweeper. The manifest numbers them."""
        from dl_lab.sweeps.config import settings_of
        from dl_lab.sweeps.sweep import Sweep

        setup_globals()
        settings = settings_of(self.config)
        if self._sweep is None:
            self._sweep = Sweep(self.config, settings, self.hydra_context.config_loader, len(job_overrides))
        try:
            self.start(len(job_overrides), settings)
            return [self._sweep.returned(entry) for entry in self._sweep.launch(job_overrides, self.run)]
        finally:
            self.stop()
            self._sweep.save()


class InTurnLauncher(LabLauncher):
    """Run one job after the other in this process."""

    def run(self, jobs: "list[Job]", report: "Report") -> None:
        from dl_lab.sweeps.in_turn import run_in_turn

        run_in_turn(jobs, report, self.task_function, self.hydra_context)


class ProcessesLauncher(LabLauncher):
    """Run several jobs at a time, each in a process with one thread."""

    def __init__(self, processes: int | None) -> None:
        """Raises: ConfigError if `processes` is not a count."""
        is_count = processes is None or (isinstance(processes, int) and processes >= 1)
        require(is_count, "hydra.launcher.processes", processes, "null, or a whole number, 1 or more")
        self.processes = processes
        self._pool: ProcessPool | None = None

    def start(self, jobs: int, settings: "GridConfig") -> None:
        from dl_lab.sweeps.process_pool import ProcessPool, cores

        self._pool = ProcessPool(min(self.processes or cores(), jobs), threads=1)

    def run(self, jobs: "list[Job]", report: "Report") -> None:
        assert self._pool is not None
        self._pool.run_separately(jobs, report)

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class VectorizedLauncher(ProcessesLauncher):
    """Train jobs that are alike as one stack, or as one stack per process, and the other jobs separately."""

    can_prune = True

    def start(self, jobs: int, settings: "GridConfig") -> None:
        from dl_lab.sweeps.process_pool import ProcessPool, cores

        count = self.processes or self._default_processes(jobs, settings)
        if settings.prune != "none" and count > 1:
            key = f"hydra.launcher.processes={count}"
            raise ConfigError(f"{key} does not go with sweep.prune={settings.prune}, which compares runs; allowed: 1")
        if count > 1:
            self._pool = ProcessPool(min(count, jobs), threads=max(1, cores() // count))

    def _default_processes(self, jobs: int, settings: "GridConfig") -> int:
        """One process if runs are pruned or share a GPU, otherwise enough to use all cores."""
        from dl_lab.sweeps.process_pool import cores, has_gpu

        if settings.prune != "none" or (self.config.device != "cpu" and has_gpu()):
            return 1
        return min(max(1, cores() // (self.config.threads or 1)), ceil(jobs / MIN_STACK))

    def run(self, jobs: "list[Job]", report: "Report") -> None:
        if self._pool is not None:
            self._pool.run_stacked(jobs, report)
            return
        from dl_lab.sweeps import vectorized_launcher
        from dl_lab.sweeps.in_turn import run_in_turn

        in_turn = partial(run_in_turn, task=self.task_function, context=self.hydra_context)
        vectorized_launcher.run(jobs, report, in_turn)


def run_with_plugin(jobs: "list[Job]", report: "Report", launcher: Launcher) -> None:
    """Run the jobs with a third-party launcher, all at once, and report them when all have ended."""
    from dl_lab.config.compose import quoted
    from dl_lab.config.messages import described, is_full
    from dl_lab.sweeps.job import JobOutcome, outcome_of_return

    overrides = []
    for job in jobs:
        report.started(job)
        assert job.config is not None
        # sweep.resume for every job: one that a cluster starts again then continues
        own = [f"hydra.sweep.subdir={quoted(job.config.hydra.sweep.subdir)}", f"sweep.resume={quoted(job.folder)}"]
        excluded = job.config.hydra.job.config.override_dirname.exclude_keys
        own.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(map(quoted, excluded))}]")
        overrides.append([*job.overrides, *own])
    try:
        outcomes = [outcome_of_return(returned) for returned in launcher.launch(overrides, initial_job_idx=0)]
    except Exception as error:  # of the launcher: a process died, a cluster refused
        reason = f"the launcher failed ({described(error)})"
        ended = [final_status(job.folder) or "failed" for job in jobs]
        outcomes = [JobOutcome(status, reason, disk_is_full=is_full(error)) for status in ended]
    for job, outcome in zip(jobs, outcomes, strict=True):
        report.ended(job, outcome)


def final_status(folder: Path) -> str | None:
    """Return the status in a run folder; None unless it is final."""
    from dl_lab.runs.reader import Run, read_tolerant
    from dl_lab.sweeps.manifest import FINAL

    run = read_tolerant(folder)
    return run.status if isinstance(run, Run) and run.status in FINAL else None
