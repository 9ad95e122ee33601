"""Hydra's door to sweeps: it loads launchers and sweepers from this namespace only, at every start. Free of torch."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, setup_globals

from dl_lab.command_line import is_of_sweep
from dl_lab.errors import ConfigError
from dl_lab.sweep_settings import GridConfig, SearchConfig, settings_of
from dl_lab.sweeping import Sweep
from dl_lab.sweeps import Job, Report, Runner, run_elsewhere, run_in_turn


class LabLauncher(BasicLauncher):
    """What our launchers share: jobs that have ended before are left alone; one that fails leaves the others so."""

    prunes = False  # whether it asks the report which runs are hopeless

    def __init__(self) -> None:
        super().__init__()
        self._sweep: Sweep | None = None

    @abstractmethod
    def run(self, jobs: list[Job], report: Report) -> None:
        """Run the jobs, and tell the report of each that it started and how it ended."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run these jobs for a sweeper that is not ours; the ledger numbers them."""
        setup_globals()
        assert self.config is not None
        assert self.hydra_context is not None
        if self._sweep is None:
            loader = self.hydra_context.config_loader
            self._sweep = Sweep(self.config, settings_of(self.config), loader, len(job_overrides))
        return [self._sweep.returned(entry) for entry in self._sweep.launch(job_overrides, self.run)]


class InTurnLauncher(LabLauncher):
    """One job after the other in this process."""

    def run(self, jobs: list[Job], report: Report) -> None:
        assert self.task_function is not None
        assert self.hydra_context is not None
        run_in_turn(jobs, report, self.task_function, self.hydra_context)


class ProcessesLauncher(LabLauncher):
    """Several jobs at a time, each in a process with one thread."""

    def __init__(self, processes: int | None) -> None:
        super().__init__()
        self.processes = processes

    def run(self, jobs: list[Job], report: Report) -> None:
        from dl_lab.processes import run

        run(jobs, report, self.processes)


class VectorizedLauncher(LabLauncher):
    """Jobs that are alike as one stack, the others one after the other."""

    prunes = True

    def run(self, jobs: list[Job], report: Report) -> None:
        from dl_lab.together import run

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
        runner = self._runner(settings)
        if isinstance(settings, SearchConfig):
            return self._search(settings, overrides, runner)
        batches = self._grid(overrides)
        with Sweep(self.config, settings, loader, sum(map(len, batches))) as sweep:
            entries = [entry for batch in batches for entry in sweep.launch(batch, runner)]
            sweep.finish()
        return [sweep.returned(entry) for entry in entries]

    def _search(self, settings: SearchConfig, overrides: list[Override], runner: Runner) -> list[JobReturn]:
        from dl_lab.search import Study, space_of

        assert self.config is not None
        assert self.hydra_context is not None
        space = space_of(overrides, settings)
        with Sweep(self.config, settings, self.hydra_context.config_loader, settings.trials) as sweep:
            study = Study(sweep, settings, space)
            entries = study.run(runner)
            sweep.finish(study.told())
        return [sweep.returned(entry) for entry in entries]

    def _grid(self, overrides: list[Override]) -> list[list[list[str]]]:
        """Every combination of values, in the batches that are launched together."""
        for override in overrides:
            if override.is_interval_sweep():
                raise ConfigError(f"{override.input_line} is no list of values; allowed: sweep=random or sweep=optuna")
        return self.split_arguments(overrides, self.max_batch_size)

    def _runner(self, settings: GridConfig) -> Runner:
        """How the launcher that was chosen runs jobs."""
        launcher = self.launcher
        if settings.prune != "none" and not getattr(launcher, "prunes", False):
            raise ConfigError(
                f"sweep.prune={settings.prune} needs runs that train side by side; allowed: hydra/launcher=vectorized"
            )
        return launcher.run if isinstance(launcher, LabLauncher) else partial(run_elsewhere, launcher=launcher)
