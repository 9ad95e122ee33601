"""Hydra's door to sweeps: it loads launchers and sweepers from this namespace only, at every start. Free of torch."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, setup_globals

from dl_lab.config.compose import is_of_sweep
from dl_lab.core.errors import ConfigError, require
from dl_lab.sweeps.config import GridConfig, SearchConfig, refuse_grid, settings_of
from dl_lab.sweeps.job import Job, Report, Runner, run_elsewhere, run_in_turn
from dl_lab.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from dl_lab.sweeps.process_pool import Workers

RUNS_A_PROCESS = 4  # of a stack, at least: fewer are not worth that another process imports torch


class LabLauncher(BasicLauncher):
    """What our launchers share: jobs that have ended before are left alone; one that fails leaves the others so."""

    prunes = False  # whether it asks the report which runs are hopeless

    def __init__(self) -> None:
        super().__init__()
        self._sweep: Sweep | None = None

    def begin(self, jobs: int, settings: GridConfig) -> None:
        """Called with the most jobs there will be at once, before they are composed: processes can start meanwhile."""

    @abstractmethod
    def run(self, jobs: list[Job], report: Report) -> None:
        """Run the jobs, and tell the report of each that it started and how it ended."""

    def end(self) -> None:
        """Called when there are no more jobs, or an error has ended the sweep."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run these jobs for a sweeper that is not ours; the manifest numbers them."""
        setup_globals()
        assert self.config is not None
        assert self.hydra_context is not None
        if self._sweep is None:
            loader = self.hydra_context.config_loader
            self._sweep = Sweep(self.config, settings_of(self.config), loader, len(job_overrides))
        try:
            self.begin(len(job_overrides), settings_of(self.config))
            return [self._sweep.returned(entry) for entry in self._sweep.launch(job_overrides, self.run)]
        finally:
            self.end()


class InTurnLauncher(LabLauncher):
    """One job after the other in this process."""

    def run(self, jobs: list[Job], report: Report) -> None:
        assert self.task_function is not None
        assert self.hydra_context is not None
        run_in_turn(jobs, report, self.task_function, self.hydra_context)


class ProcessesLauncher(LabLauncher):
    """Several jobs at a time, each in a process with one thread."""

    def __init__(self, processes: int | None) -> None:
        """Raises: ConfigError if there are to be none."""
        super().__init__()
        is_count = processes is None or (isinstance(processes, int) and processes >= 1)
        require(is_count, "hydra.launcher.processes", processes, "null, or a whole number, 1 or more")
        self.processes = processes
        self._workers: Workers | None = None

    def begin(self, jobs: int, settings: GridConfig) -> None:
        from dl_lab.sweeps.process_pool import Workers, cores

        self._workers = Workers(min(self.processes or cores(), jobs), threads=1)

    def run(self, jobs: list[Job], report: Report) -> None:
        assert self._workers is not None
        self._workers.run_each(jobs, report)

    def end(self) -> None:
        if self._workers is not None:
            self._workers.end()
            self._workers = None


class VectorizedLauncher(ProcessesLauncher):
    """Jobs that are alike as one stack, or as one in each of several processes; the others by themselves."""

    prunes = True

    def begin(self, jobs: int, settings: GridConfig) -> None:
        from dl_lab.sweeps.process_pool import Workers, cores, has_gpu

        assert self.config is not None
        one = settings.prune != "none" or (self.config.device != "cpu" and has_gpu())
        at_most = max(1, cores() // (self.config.threads or 1))
        count = self.processes or (1 if one else min(at_most, ceil(jobs / RUNS_A_PROCESS)))
        if settings.prune != "none" and count > 1:
            key = f"hydra.launcher.processes={count}"
            raise ConfigError(f"{key} does not go with sweep.prune={settings.prune}, which compares runs; allowed: 1")
        if count > 1:
            self._workers = Workers(min(count, jobs), threads=max(1, cores() // count))

    def run(self, jobs: list[Job], report: Report) -> None:
        if self._workers is not None:
            self._workers.run_together(jobs, report)
            return
        from dl_lab.sweeps.vectorized_launcher import run

        assert self.task_function is not None
        assert self.hydra_context is not None
        run(jobs, report, partial(run_in_turn, task=self.task_function, context=self.hydra_context))


class LabSweeper(BasicSweeper):
    """Every combination of values, or a search, as the group sweep says; kept in sweep.json."""

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the sweep.

        Raises:
            JobsFailed: at the end, if jobs failed, with a line for each.
        """
        assert self.config is not None
        assert self.hydra_context is not None
        setup_globals()
        settings = settings_of(self.config)
        loader = self.hydra_context.config_loader
        given = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        overrides = [override for override in given if not is_of_sweep(str(override.input_line))]
        try:
            if isinstance(settings, SearchConfig):
                return self._search(settings, overrides)
            return self._every(settings, overrides)
        finally:
            if isinstance(self.launcher, LabLauncher):
                self.launcher.end()

    def _every(self, settings: GridConfig, overrides: list[Override]) -> list[JobReturn]:
        assert self.config is not None
        assert self.hydra_context is not None
        batches = self._grid(overrides)
        runner = self._runner(settings, max(map(len, batches), default=0))
        with Sweep(self.config, settings, self.hydra_context.config_loader, sum(map(len, batches))) as sweep:
            entries = [entry for batch in batches for entry in sweep.launch(batch, runner)]
            sweep.finish()
        return [sweep.returned(entry) for entry in entries]

    def _search(self, settings: SearchConfig, overrides: list[Override]) -> list[JobReturn]:
        from dl_lab.sweeps.search import Study, space_of

        assert self.config is not None
        assert self.hydra_context is not None
        space = space_of(overrides, settings)
        runner = self._runner(settings, settings.batch or settings.trials)
        with Sweep(self.config, settings, self.hydra_context.config_loader, settings.trials) as sweep:
            study = Study(sweep, settings, space)
            entries = study.run(runner)
            sweep.finish(study.told())
        return [sweep.returned(entry) for entry in entries]

    def _grid(self, overrides: list[Override]) -> list[list[list[str]]]:
        """Every combination of values, in the batches that are launched together."""
        refuse_grid(overrides)
        return self.split_arguments(overrides, self.max_batch_size)

    def _runner(self, settings: GridConfig, jobs: int) -> Runner:
        """How the launcher that was chosen runs jobs, of which there are so many at once."""
        launcher = self.launcher
        if settings.prune != "none" and not getattr(launcher, "prunes", False):
            raise ConfigError(
                f"sweep.prune={settings.prune} needs runs that train side by side; allowed: hydra/launcher=vectorized"
            )
        if not isinstance(launcher, LabLauncher):
            return partial(run_elsewhere, launcher=launcher)
        launcher.begin(jobs, settings)
        return launcher.run
