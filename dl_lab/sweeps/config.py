"""The group sweep, typed: which jobs a sweep has and how it goes. Imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from hydra.core.override_parser.types import Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from dl_lab.config.validation import typed
from dl_lab.core.errors import COUNT, ConfigError, check, one_of, require, up_to

MOST = 100_000  # jobs of a sweep, values of a key: all are in memory before the first begins


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """How a sweep goes; `resume` is the folder of one to go on with."""

    name: str
    resume: str | None
    fail_fast: bool
    prune: str
    prune_after: int
    prune_factor: int
    prune_least: int

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("prune_after", "prune_least"), COUNT)
        check("sweep", self, {**counts, "prune": one_of("none", "median", "asha")})
        require(self.prune_factor >= 2, "sweep.prune_factor", self.prune_factor, "a whole number, 2 or more")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(GridConfig):
    """How many jobs a search asks for, how many at a time, and the seed of what it draws."""

    trials: int
    batch: int | None
    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check("sweep", self, {"trials": up_to(MOST), "batch": COUNT})
        require(0 <= self.seed < 2**32, "sweep.seed", self.seed, "a whole number from 0 to 2^32 - 1")


SCHEMAS = {"grid": GridConfig, "random": SearchConfig, "optuna": SearchConfig}


def settings_of(config: DictConfig) -> GridConfig:
    """The group sweep of a composed configuration, checked.

    Raises:
        ConfigError: for a wrong type, or a value out of range.
    """
    values = OmegaConf.to_container(config.sweep, resolve=True)
    assert isinstance(values, dict)
    check_name = one_of(*SCHEMAS)
    require(check_name[0](values["name"]), "sweep.name", values["name"], check_name[1])
    settings: GridConfig = typed(SCHEMAS[values["name"]], values, "sweep")
    return settings


def values_of(override: Override) -> tuple[str, ...]:
    """Every value of a key that is swept, as one would type it.

    Raises:
        ConfigError: if there is none, or there are more than `MOST`.
    """
    key, given, space = override.get_key_element(), override.get_value_string(), override.value()
    allowed = f"1 to {MOST} values"
    if isinstance(space, RangeSweep):  # counted before it is listed
        assert space.start is not None
        assert space.stop is not None
        require(space.step != 0, key, given, "a step that is not 0")
        require(abs(space.stop - space.start) <= MOST * abs(space.step), key, given, allowed)
    values = tuple(override.sweep_string_iterator())
    require(len(values) > 0, key, given, allowed)
    return values


def refuse_grid(overrides: Iterable[Override]) -> None:
    """Raise ConfigError for overrides whose combinations are none, too many, or not to be counted."""
    counts = {}
    for override in overrides:
        if override.is_interval_sweep():
            raise ConfigError(f"{override.input_line} is no list of values; allowed: sweep=random or sweep=optuna")
        if override.is_sweep_override():
            counts[override.get_key_element()] = len(values_of(override))
    if prod(counts.values()) > MOST:
        raise ConfigError(f"{' x '.join(map(str, counts.values()))} values are too many jobs; allowed: up to {MOST}")
