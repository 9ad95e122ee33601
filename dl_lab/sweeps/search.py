"""Searches: a search space in Hydra's grammar, trials drawn at random or proposed by Optuna, kept in the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import exp, inf, isfinite, log
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.override_parser.types import IntervalSweep, Override

from dl_lab.config.schema import SearchConfig
from dl_lab.core.errors import ConfigError, require
from dl_lab.sweeps.config import latest, lines_of, values_of
from dl_lab.sweeps.manifest import NAME, Entry
from dl_lab.sweeps.report import Runner
from dl_lab.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Parameters = dict[str, Any]
Trial = dict[str, Any]  # number, job, parameters, value and status, as in sweep.json
EXAMPLE = "optimizer.lr=tag(log,interval(1e-4,1e-1)), 'train.batch_size=16,32', 'model.depth=range(1,9)'"


@dataclass(frozen=True)
class Axis:
    """The values of one key: a list, as written on the command line, or the numbers from `low` to `high`."""

    key: str
    values: tuple[str, ...] = ()
    ordered: bool = False  # the values are numbers in ascending order
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: Any) -> bool:
        """Whether a search may propose this value."""
        if self.values:
            return isinstance(value, str) and value in self.values
        return type(value) is (int if self.whole else float) and self.low <= value <= self.high


def axis_of(override: Override) -> Axis:
    """Return the axis of an override like key=interval(0,1), key=range(1,9) or key=a,b,c.

    Raises:
        ConfigError: for an empty or infinite interval, a logarithmic one that is not above 0, or no values.
    """
    key, space = override.get_key_element(), override.value()
    logarithmic = "log" in getattr(space, "tags", ())
    if not isinstance(space, IntervalSweep):
        if logarithmic:
            raise ConfigError(f"{override.input_line} is not an interval; allowed: tag(log,interval(LOW,HIGH))")
        return Axis(key, values_of(override), override.is_range_sweep())
    low, high = space.start, space.end
    assert low is not None
    assert high is not None
    require(0 < high - low < inf, key, override.get_value_string(), "interval(LOW,HIGH) with LOW below HIGH, finite")
    require(low > 0 or not logarithmic, key, override.get_value_string(), "a logarithmic interval above 0")
    return Axis(key, low=low, high=high, log=logarithmic)


def drawn(axis: Axis, generator: np.random.Generator) -> Any:
    """Draw one value, uniformly or log-uniformly; whole numbers include both ends."""
    if axis.values:
        return axis.values[generator.integers(len(axis.values))]
    margin = 0.5 if axis.whole else 0.0  # so that whole numbers at the ends are as likely as the others
    low, high = axis.low - margin, axis.high + margin
    value = exp(generator.uniform(log(low), log(high))) if axis.log else generator.uniform(low, high)
    return min(max(round(value) if axis.whole else float(value), axis.low), axis.high)


def at_random(axes: Sequence[Axis], seed: int, number: int) -> Parameters:
    """Draw the parameters of trial `number`, which do not depend on earlier trials."""
    generator = np.random.default_rng([seed, number])
    return {axis.key: drawn(axis, generator) for axis in axes}


def proposed(axes: Sequence[Axis], trials: Sequence[Trial], count: int, seed: int, maximize: bool) -> list[Parameters]:
    """Propose the next `count` trials by TPE (Bergstra et al. 2011), as a function of the trials so far."""
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # constant_liar keeps the trials of a batch apart from each other
        sampler = optuna.samplers.TPESampler(seed=(seed + len(trials)) % 2**32, constant_liar=True)
        study = optuna.create_study(sampler=sampler, direction="maximize" if maximize else "minimize")
    spaces = {axis.key: distribution(axis) for axis in axes}
    study.add_trials([frozen(axes, spaces, trial) for trial in trials])
    suggested = [study.ask(spaces).params for _ in range(count)]
    return [{axis.key: value_at(axis, parameters[axis.key]) for axis in axes} for parameters in suggested]


def distribution(axis: Axis) -> "BaseDistribution":
    """Return Optuna's distribution for an axis; ordered values are represented by their positions."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.values:
        return IntDistribution(0, len(axis.values) - 1) if axis.ordered else CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def value_at(axis: Axis, value: Any) -> Any:
    """Convert Optuna's value of a parameter to ours."""
    return axis.values[value] if axis.ordered else value


def frozen(axes: Sequence[Axis], spaces: "dict[str, BaseDistribution]", trial: Trial) -> "FrozenTrial":
    """Convert a trial to Optuna's. A diverged or pruned trial counts as worse than every completed one."""
    from optuna.trial import TrialState, create_trial

    known = {axis.key: trial["parameters"][axis.key] for axis in axes}
    parameters = {axis.key: axis.values.index(known[axis.key]) if axis.ordered else known[axis.key] for axis in axes}
    states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "diverged": TrialState.PRUNED}
    state = states.get(trial["status"], TrialState.FAIL)
    value = trial["value"] if state is TrialState.COMPLETE else None
    return create_trial(state=state, value=value, params=parameters, distributions=spaces)


@dataclass(frozen=True)
class Space:
    """A search space: its axes, the overrides that all trials share, and the axes as the user wrote them."""

    axes: list[Axis]
    fixed: list[str]
    given: dict[str, str]


def space_of(overrides: Sequence[Override], settings: SearchConfig) -> Space:
    """Return the search space of the overrides.

    Raises:
        ConfigError: if there is nothing to search over, or Optuna is needed and not installed.
    """
    if settings.name == "optuna" and find_spec("optuna") is None:
        raise ConfigError("sweep=optuna is not installed; hint: pip install 'dl_lab[search]', or sweep=random")
    counting = latest(overrides)
    swept = {override.get_key_element(): override for override in counting if override.is_sweep_override()}
    if not swept:
        raise ConfigError(f"sweep={settings.name} has nothing to search over; hint: for example {EXAMPLE}")
    fixed = [line for override in counting if not override.is_sweep_override() for line in lines_of(override)]
    if len(swept) + len(fixed) < len(counting):
        raise ConfigError("a key is swept twice; allowed: once, in a search")
    given = {key: override.get_value_string() for key, override in swept.items()}
    return Space([axis_of(override) for override in swept.values()], fixed, given)


class Study:
    """The trials of a search, which the manifest of its sweep keeps."""

    def __init__(self, sweep: Sweep, settings: SearchConfig, space: Space):
        """Start the search, or continue the one in the manifest.

        Raises:
            ConfigError: if that one has another space, method or seed.
        """
        self._sweep = sweep
        self._settings = settings
        self._axes, self._fixed, given = space.axes, space.fixed, space.given
        sweep.swept = {axis.key for axis in space.axes}
        search = sweep.manifest.search or {"name": settings.name, "seed": settings.seed, "space": given, "trials": []}
        for key, value in (("name", settings.name), ("seed", settings.seed), ("space", given)):
            if search.get(key) != value:
                raise ConfigError(
                    f"sweep.resume={settings.resume} searched with {key} {search.get(key)}; allowed: this"
                )
        trials = search.get("trials")
        for number, trial in enumerate(trials if isinstance(trials, list) else [None]):
            if not self._proposes(number, trial):
                reason = f"{sweep.folder / NAME} has a trial {number} of another search"
                raise ConfigError(f"{reason}; hint: restore it, or start a new sweep")
        self._trials: list[Trial] = search["trials"]
        self._search = sweep.manifest.search = search

    def _proposes(self, number: int, trial: Any) -> bool:
        """Whether a trial from the manifest is one of this search. Its parameters are composed, so that they must be
        those that the command would draw or could have proposed.
        """
        if not isinstance(trial, dict) or trial.keys() != {"number", "job", "parameters", "value", "status"}:
            return False
        parameters, value = trial["parameters"], trial["value"]
        if self._settings.name == "random":
            same = parameters == at_random(self._axes, self._settings.seed, number)
        else:
            same = isinstance(parameters, dict) and parameters.keys() == {axis.key for axis in self._axes}
            same = same and all(axis.holds(parameters[axis.key]) for axis in self._axes)
        measured = value is None and trial["status"] != "completed"
        measured = measured or (isinstance(value, int | float) and isfinite(value))
        return same and measured and isinstance(trial["status"], str) and trial["number"] == number

    def run(self, runner: Runner) -> list[Entry]:
        """Propose trials and run them, a batch at a time. Trials in the manifest are not proposed again."""
        entries: list[Entry] = []
        size = self._settings.batch or self._settings.trials
        for first in range(0, self._settings.trials, size):
            last = min(first + size, self._settings.trials)
            self._propose(last - len(self._trials))
            batch = self._trials[first:last]
            ended = self._sweep.launch([self._overrides(trial) for trial in batch], runner)
            for trial, entry in zip(batch, ended, strict=True):
                trial |= {"job": entry.number, "value": self._sweep.value(entry), "status": entry.status}
            entries += ended
            self._find_best()
        return entries

    def _propose(self, count: int) -> None:
        """Add `count` trials to the manifest."""
        first, axes, seed = len(self._trials), self._axes, self._settings.seed
        if self._settings.name == "random":
            more = [at_random(axes, seed, number) for number in range(first, first + count)]
        elif count > 0:
            more = proposed(axes, self._trials, count, seed, self._sweep.higher_is_better())
        else:
            more = []
        for number, parameters in enumerate(more, first):
            trial = {"number": number, "job": None, "parameters": parameters, "value": None, "status": "pending"}
            self._trials.append(trial)

    def _overrides(self, trial: Trial) -> list[str]:
        return [*self._fixed, *(f"{key}={value}" for key, value in trial["parameters"].items())]

    def _find_best(self) -> None:
        """Store the best completed trial in the manifest, with its folder and checkpoint."""
        completed = [trial for trial in self._trials if trial["status"] == "completed"]
        if completed:
            sign = -1 if self._sweep.higher_is_better() else 1
            best = min(completed, key=lambda trial: sign * trial["value"])
            folder = self._sweep.manifest[best["job"]].folder
            copied = {key: best[key] for key in ("number", "job", "value", "parameters")}
            self._search["best"] = {**copied, "folder": folder, "checkpoint": f"{folder}/checkpoints/best.pt"}

    def summary(self) -> list[str]:
        """Return the lines that show the best trial."""
        best = self._search.get("best")
        if best is None:
            return ["best   none: no trial completed"]
        parameters = " ".join(f"{key}={value}" for key, value in best["parameters"].items())
        metric, folder = self._sweep.manifest.objective, self._sweep.folder
        return [
            f"best   {metric} {best['value']:.4g}  trial {best['number']}  {parameters}",
            f"       {folder / best['checkpoint']}",
        ]
