"""Hydra, kept from running code that a configuration names, and from work that nobody sees. Imports no torch."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from dl_lab.core.errors import ConfigError

SETS_MODE = ("hydra.mode", "hydra=", "hydra.searchpath", "--config", "-c")  # or brings files that do


def refuse_code(config: DictConfig) -> None:
    """Raise ConfigError where Hydra's own part of a configuration names code that Hydra would run by itself: callbacks,
    the factories of logging, a launcher or sweeper that is no plugin.
    """
    hydra_node = OmegaConf.to_container(config.hydra, resolve=False)
    assert isinstance(hydra_node, dict)
    for key in ("callbacks", "job_logging", "hydra_logging"):
        if "_target_" in (text := str(hydra_node.get(key))) or "'()'" in text or "'class'" in text or "://" in text:
            raise ConfigError(f"hydra.{key} names code; allowed: none, and imports=[my_module] for code of yours")
    for key in ("launcher", "sweeper"):
        target = str(node.get("_target_") if isinstance(node := hydra_node.get(key), dict) else node)
        if not target.startswith(("hydra_plugins.", "hydra._internal.core_plugins.")):
            raise ConfigError(f"hydra.{key}._target_={target} is no plugin of Hydra's; allowed: hydra/{key}=NAME")


def refuse_settings(config: DictConfig) -> None:
    """Raise ConfigError for a setting of Hydra's at which it would fail, or write beside what a run writes."""
    verbose, subdir = config.hydra.verbose, config.hydra.output_subdir
    if not isinstance(verbose, bool | str | ListConfig):
        raise ConfigError(f"hydra.verbose={verbose} is not allowed; allowed: true, false, or the names of loggers")
    if subdir is not None:
        raise ConfigError(f"hydra.output_subdir={subdir} is not allowed; allowed: null, the run writes .hydra/ itself")


@contextmanager
def only_plugins() -> Iterator[None]:
    """While the context is open, whatever Hydra composes is checked before Hydra acts on it."""
    compose = ConfigLoaderImpl._load_configuration_impl

    def checked(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *given: Any, **named: Any
    ) -> DictConfig:
        config = compose(self, config_name, overrides, *given, **named)
        if config_name is not None or overrides:  # as against Hydra's own defaults, for --hydra-help
            refuse_code(config)
            refuse_settings(config)
        return config

    ConfigLoaderImpl._load_configuration_impl = checked
    try:
        yield
    finally:
        ConfigLoaderImpl._load_configuration_impl = compose


@contextmanager
def composed_once() -> Iterator[None]:
    """While the context is open, Hydra does not compose a configuration only to read hydra.mode of it, which takes as
    long as to compose the one that runs; but where the command line names what could set it.
    """
    read = Hydra.get_mode

    def mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        can_set = any(argument.lstrip("+~").startswith(SETS_MODE) for argument in sys.argv[1:])
        return read(self, config_name, overrides) if can_set else None

    Hydra.get_mode = mode
    try:
        yield
    finally:
        Hydra.get_mode = read


class _Lazy:
    """Text that is made when it is asked for."""

    def __init__(self, make: Callable[[], str]):
        self._make = make

    def __str__(self) -> str:
        return self._make()


@contextmanager
def groups_listed_if_shown() -> Iterator[None]:
    """While the context is open, Hydra does not list its groups, for which it copies the search path a hundred times,
    for a template of help that does not name them.
    """
    list_groups = Hydra.format_config_groups

    def when_shown(self: Hydra, *given: Any, **named: Any) -> _Lazy:
        return _Lazy(lambda: list_groups(self, *given, **named))

    Hydra.format_config_groups = when_shown
    try:
        yield
    finally:
        Hydra.format_config_groups = list_groups
