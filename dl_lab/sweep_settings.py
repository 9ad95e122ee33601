"""The group sweep, typed: which jobs a sweep has and how it goes. Imports no torch."""

from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from dl_lab.errors import COUNT, check, one_of, require
from dl_lab.schemas import typed


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
        check("sweep", self, {"trials": COUNT, "batch": COUNT})
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
