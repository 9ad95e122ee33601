"""The sweeper: every combination of values, or a search. Like `launchers`, it imports little."""

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dl_lab.core.errors import ConfigError, require
from dl_lab.sweeps.launchers import LabLauncher, run_with_plugin

if TYPE_CHECKING:
    from dl_lab.config.schema import GridConfig, SearchConfig
    from dl_lab.sweeps.report import Runner


class LabSweeper(Sweeper):
    """Run the jobs that the group sweep describes, and record them in sweep.json."""

    config: DictConfig
    launcher: Launcher

    def __init__(self, max_batch_size: int | None, params: dict[str, Any] | None) -> None:
        """Raises: ConfigError if `max_batch_size` is not a count."""
        is_count = max_batch_size is None or (isinstance(max_batch_size, int) and max_batch_size >= 1)
        require(is_count, "hydra.sweeper.max_batch_size", max_batch_size, "null, or a whole number, 1 or more")
        self.max_batch_size = max_batch_size
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.config = hydra_context.config_loader, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the sweep.

        Raises:
            JobsFailed: at the end, if jobs failed, with a line for each.
        """
        from dl_lab.config.compose import is_of_sweep
        from dl_lab.config.schema import SearchConfig
        from dl_lab.sweeps.config import settings_of

        setup_globals()
        settings = settings_of(self.config)
        given = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(given)
        overrides = [override for override in parsed if not is_of_sweep(str(override.input_line))]
        try:
            if isinstance(settings, SearchConfig):
                return self._search(settings, overrides)
            return self._grid(settings, overrides)
        finally:
            if isinstance(self.launcher, LabLauncher):
                self.launcher.stop()

    def _grid(self, settings: "GridConfig", overrides: list[Override]) -> list[JobReturn]:
        from dl_lab.sweeps.sweep import Sweep

        jobs = combinations(overrides)
        size = self.max_batch_size or len(jobs)
        runner = self._runner(settings, min(size, len(jobs)))
        with Sweep(self.config, settings, self.loader, len(jobs)) as sweep:
            starts = range(0, len(jobs), size)
            entries = [entry for start in starts for entry in sweep.launch(jobs[start : start + size], runner)]
            sweep.finish()
        return [sweep.returned(entry) for entry in entries]

    def _search(self, settings: "SearchConfig", overrides: list[Override]) -> list[JobReturn]:
        from dl_lab.sweeps.search import Study, space_of
        from dl_lab.sweeps.sweep import Sweep

        space = space_of(overrides, settings)
        runner = self._runner(settings, settings.batch or settings.trials)
        with Sweep(self.config, settings, self.loader, settings.trials) as sweep:
            study = Study(sweep, settings, space)
            entries = study.run(runner)
            sweep.finish(study.summary())
        return [sweep.returned(entry) for entry in entries]

    def _runner(self, settings: "GridConfig", jobs: int) -> "Runner":
        """Return the function by which the chosen launcher runs up to `jobs` jobs at once."""
        launcher = self.launcher
        if settings.prune != "none" and not getattr(launcher, "can_prune", False):
            raise ConfigError(
                f"sweep.prune={settings.prune} compares runs while they train; hint: hydra/launcher=vectorized"
            )
        if not isinstance(launcher, LabLauncher):
            return partial(run_with_plugin, launcher=launcher)
        launcher.start(jobs, settings)
        return launcher.run


def combinations(overrides: list[Override]) -> list[list[str]]:
    """Return the overrides of every job: all combinations of the values. The last override of a key counts."""
    from dl_lab.sweeps.config import refuse_grid, values_of

    refuse_grid(overrides)
    values: dict[str, list[str]] = {}
    for override in overrides:
        key, is_swept = override.get_key_element(), override.is_sweep_override()
        choices = values_of(override) if is_swept else [override.get_value_element_as_str()]
        values[key] = [f"{key}={choice}" for choice in choices]
    return [list(job) for job in product(*values.values())]
