"""The sweeper: every combination of values, or a search. Like `launchers`, it imports little."""

from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

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
        from dl_lab.config.schema import SearchConfig
        from dl_lab.sweeps.config import settings_of

        setup_globals()
        settings = settings_of(self.config)
        given = [self._overrides(params, lines) for params, lines in self._experiments(arguments)]
        try:
            if isinstance(settings, SearchConfig):
                return self._search(settings, given)
            return self._grid(settings, given)
        finally:
            if isinstance(self.launcher, LabLauncher):
                self.launcher.stop()

    def _parse(self, lines: list[str]) -> list[Override]:
        return OverridesParser.create(config_loader=self.loader).parse_overrides(lines)

    def _overrides(self, params: dict[str, Any] | None, arguments: list[str]) -> list[Override]:
        """Return the overrides of the jobs: those of an experiment, then those of the command line."""
        from dl_lab.config.compose import is_of_sweep

        parsed = self._parse([*(f"{key}={value}" for key, value in (params or {}).items()), *arguments])
        for override in parsed:
            if is_of_sweep(str(override.input_line)) and override.is_sweep_override():
                raise ConfigError(f"{override.input_line} has several values; allowed: one for the whole sweep")
        return [override for override in parsed if not is_of_sweep(str(override.input_line))]

    def _experiments(self, arguments: list[str]) -> list[tuple[dict[str, Any], list[str]]]:
        """Return the values that each swept experiment sweeps over, with the arguments in which it is the only one.

        Raises:
            ConfigError: if one of them needs another launcher or other settings of the sweep.
        """
        from dl_lab.sweeps.compose import hydra_overrides
        from dl_lab.sweeps.config import values_of

        parsed = self._parse(arguments)
        places = [place for place, each in enumerate(parsed) if each.key_or_group == "experiment"]
        if not places or not (swept := parsed[places[-1]]).is_sweep_override() or swept.is_interval_sweep():
            return [(self.params, arguments)]
        others = [line for place, line in enumerate(arguments) if place not in places]
        experiments: list[tuple[dict[str, Any], list[str]]] = []
        for value in values_of(swept):
            lines = [f"experiment={value}", *others]
            given = [*hydra_overrides(self.config), *lines]
            config = self.loader.load_configuration("config", given, RunMode.MULTIRUN)
            for key, own in sweep_settings(config).items():
                if own != sweep_settings(self.config)[key]:
                    raise ConfigError(
                        f"{swept.input_line} differ in {key}, and a sweep has only one; allowed: experiments that "
                        "agree; hint: give it on the command line, or run a sweep for each"
                    )
            experiments.append((dict(config.hydra.sweeper.params or {}), lines))
        same = all(params == experiments[0][0] for params, _ in experiments)
        return [(experiments[0][0], arguments)] if same else experiments

    def _grid(self, settings: "GridConfig", given: list[list[Override]]) -> list[JobReturn]:
        from dl_lab.sweeps.config import combinations
        from dl_lab.sweeps.sweep import Sweep

        jobs = [job for overrides in given for job in combinations(overrides)]
        size = self.max_batch_size or len(jobs)
        runner = self._runner(settings, min(size, len(jobs)))
        with Sweep(self.config, settings, self.loader, len(jobs)) as sweep:
            starts = range(0, len(jobs), size)
            entries = [entry for start in starts for entry in sweep.launch(jobs[start : start + size], runner)]
            sweep.finish()
        return [sweep.returned(entry) for entry in entries]

    def _search(self, settings: "SearchConfig", given: list[list[Override]]) -> list[JobReturn]:
        from dl_lab.sweeps.search import Study, space_of
        from dl_lab.sweeps.sweep import Sweep

        if len(given) > 1:
            raise ConfigError("the experiments sweep over different values; allowed: sweep=grid, or one experiment")
        space = space_of(given[0], settings)
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


def sweep_settings(config: DictConfig) -> dict[str, Any]:
    """Return what a sweep has once, whatever its jobs are."""
    sweeper = {key: value for key, value in config.hydra.sweeper.items() if key != "params"}
    nodes = {"hydra/launcher": config.hydra.launcher, "sweep": config.sweep}
    plain = {key: OmegaConf.to_container(node, resolve=False) for key, node in nodes.items()}
    return {**plain, "hydra/sweeper": sweeper}
