"""Patches of Hydra: it does not run code that a configuration names, and skips work whose result is not used."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from dl_lab.core.errors import ConfigError

CAN_SET_MODE = ("hydra.mode", "hydra=", "hydra.searchpath", "--config", "-c")  # itself, or with a file that it adds


@contextmanager
def patched() -> Iterator[None]:
    """Patch Hydra inside the context. Each patch has a test that fails when Hydra changes."""
    with (
        _wrapped(ConfigLoaderImpl, "_load_configuration_impl", _refusing_code),
        _wrapped(Hydra, "get_mode", _composing_once),
        _wrapped(Hydra, "format_config_groups", _listing_when_shown),
    ):
        yield


@contextmanager
def _wrapped(owner: type, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _refusing_code(compose: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Check every composed configuration before Hydra acts on it (security)."""

    def checked(
        loader: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        config = compose(loader, config_name, overrides, *args, **kwargs)
        if config_name is not None or overrides:  # otherwise it is Hydra's own, for --hydra-help
            refuse_code(config)
            refuse_settings(config)
        return config

    return checked


def _composing_once(get_mode: Callable[..., Any]) -> Callable[..., Any]:
    """Skip a second composition, from which Hydra would only read hydra.mode, unless an argument can set it."""

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        can_set = any(argument.lstrip("+~").startswith(CAN_SET_MODE) for argument in sys.argv[1:])
        return get_mode(hydra, config_name, overrides) if can_set else None

    return mode


def _listing_when_shown(list_groups: Callable[..., str]) -> Callable[..., Any]:
    """List the groups only if the text is shown. Our --help has a list of its own, and Hydra's takes as long as the
    rest of --help.
    """

    class Groups:
        def __init__(self, *args: Any, **kwargs: Any):
            self._arguments = args, kwargs

        def __str__(self) -> str:
            args, kwargs = self._arguments
            return list_groups(*args, **kwargs)

    return lambda *args, **kwargs: Groups(*args, **kwargs)  # a class would not become a method


def refuse_code(config: DictConfig) -> None:
    """Check that the group hydra names no code that Hydra would run: callbacks, logging factories, and launchers or
    sweepers that are not plugins.

    Raises:
        ConfigError: naming the key.
    """
    hydra_node = OmegaConf.to_container(config.hydra, resolve=False)
    assert isinstance(hydra_node, dict)
    for key in ("callbacks", "job_logging", "hydra_logging"):
        if "_target_" in (text := str(hydra_node.get(key))) or "'()'" in text or "'class'" in text or "://" in text:
            raise ConfigError(f"hydra.{key} names code; allowed: no code; hint: import your own with imports=[MODULE]")
    for key in ("launcher", "sweeper"):
        target = str(node.get("_target_") if isinstance(node := hydra_node.get(key), dict) else node)
        if not target.startswith(("hydra_plugins.", "hydra._internal.core_plugins.")):
            raise ConfigError(f"hydra.{key}._target_={target} is not a plugin of Hydra; allowed: hydra/{key}=NAME")


def refuse_settings(config: DictConfig) -> None:
    """Check the settings of Hydra with which it would fail, or write its own files into a run folder.

    Raises:
        ConfigError: naming the key and its value.
    """
    verbose, subdir = config.hydra.verbose, config.hydra.output_subdir
    if not isinstance(verbose, bool | str | ListConfig):
        raise ConfigError(f"hydra.verbose={verbose} is not allowed; allowed: true, false, or the names of loggers")
    if subdir is not None:
        raise ConfigError(f"hydra.output_subdir={subdir} is not allowed; allowed: null, because a run writes .hydra/")
