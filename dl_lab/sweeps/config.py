"""Checks of the settings of a sweep and of the values that it combines. Imports no torch."""

from collections.abc import Iterable
from math import prod

from hydra.core.override_parser.types import Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from dl_lab.config.schema import MAX_JOBS, SWEEPS, GridConfig
from dl_lab.config.validation import typed
from dl_lab.core.errors import ConfigError, require, unknown


def settings_of(config: DictConfig) -> GridConfig:
    """Check the group sweep of a composed configuration and give it types.

    Raises:
        ConfigError: for a value that is not allowed.
    """
    values = OmegaConf.to_container(config.sweep, resolve=True)
    assert isinstance(values, dict)
    if values["name"] not in SWEEPS:
        raise unknown("sweep.name", values["name"], SWEEPS)
    settings: GridConfig = typed(SWEEPS[values["name"]], values, "sweep")
    return settings


def values_of(override: Override) -> tuple[str, ...]:
    """Return every value of a swept key, as it is written on the command line.

    Raises:
        ConfigError: if there is none, or there are more than MAX_JOBS.
    """
    key, given, space = override.get_key_element(), override.get_value_string(), override.value()
    allowed = f"1 to {MAX_JOBS} values"
    if isinstance(space, RangeSweep):  # count before listing
        assert space.start is not None
        assert space.stop is not None
        require(space.step != 0, key, given, "a step that is not 0")
        require(abs(space.stop - space.start) <= MAX_JOBS * abs(space.step), key, given, allowed)
    values = tuple(override.sweep_string_iterator())
    require(len(values) > 0, key, given, allowed)
    return values


def refuse_grid(overrides: Iterable[Override]) -> None:
    """Raise ConfigError if a key is an interval, or if there are no or too many combinations of values."""
    counts = {}
    for override in overrides:
        if override.is_interval_sweep():
            raise ConfigError(f"{override.input_line} is not a list of values; hint: sweep=random or sweep=optuna")
        if override.is_sweep_override():
            counts[override.get_key_element()] = len(values_of(override))
    if prod(counts.values()) > MAX_JOBS:
        raise ConfigError(f"{' x '.join(map(str, counts.values()))} jobs are too many; allowed: up to {MAX_JOBS}")
