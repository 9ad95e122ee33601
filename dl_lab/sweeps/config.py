"""Checks of the settings of a sweep and of the values that it combines. Imports no torch."""

from collections.abc import Iterable
from itertools import product
from math import prod

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
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


def latest(overrides: Iterable[Override]) -> list[Override]:
    """Return the overrides that count: the last one of each key, and every {key: value}, which are merged."""
    counting: dict[tuple[str, int | None], Override] = {}
    for place, override in enumerate(overrides):
        space = override.value()
        values = space.list if isinstance(space, ChoiceSweep) else [space]
        counting[override.get_key_element(), place if any(isinstance(each, dict) for each in values) else None] = (
            override
        )
    return list(counting.values())


def combinations(overrides: Iterable[Override]) -> list[list[str]]:
    """Return the overrides of every job: all combinations of the values.

    Raises:
        ConfigError: if a key is an interval, or if there are no or too many combinations.
    """
    values = []
    for override in latest(overrides):
        if override.is_interval_sweep():
            raise ConfigError(f"{override.input_line} is not a list of values; hint: sweep=random or sweep=optuna")
        values.append(lines_of(override))
    if prod(map(len, values)) > MAX_JOBS:
        counts = " x ".join(str(len(each)) for each in values if len(each) > 1)
        raise ConfigError(f"{counts} jobs are too many; allowed: up to {MAX_JOBS}")
    return [list(job) for job in product(*values)]


def lines_of(override: Override) -> list[str]:
    """Return the override with each of its values."""
    key = override.get_key_element()
    if override.is_delete():
        return [str(override.input_line)]
    swept = override.is_sweep_override()
    return [f"{key}={value}" for value in (values_of(override) if swept else [override.get_value_element_as_str()])]
