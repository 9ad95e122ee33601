"""Patches of Hydra: it checks what a configuration sets of it, and skips work whose result is not used."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra._internal.hydra import Hydra
from hydra.core.default_element import GroupDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from dl_lab.cli import hydra_settings
from dl_lab.config.compose import CONF
from dl_lab.core import yaml_files

CAN_SET_MODE = ("hydra.mode", "hydra=", "hydra.searchpath", "--config", "-c")  # itself, or with a file that it adds
MOST_TRIED = 64  # combinations of choices, each of which takes 64 ms


@contextmanager
def patched() -> Iterator[None]:
    """Patch Hydra inside the context. Each patch has a test that fails when Hydra changes."""
    with (
        _wrapped(ConfigLoaderImpl, "_load_configuration_impl", _refusing_code),
        _wrapped(ConfigLoaderImpl, "_load_configuration_impl", _choosing_first),
        _wrapped(ConfigRepository, "load_config", _checking_yaml),
        _wrapped(Overrides, "add_override", _overriding_ours),
        _wrapped(Hydra, "get_mode", _composing_once),
        _wrapped(Hydra, "format_config_groups", _listing_when_shown),
        hydra_settings.variables_are_named(),
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
            hydra_settings.check(config, overrides)
        return config

    return checked


def _checking_yaml(load: Callable[..., Any]) -> Callable[..., Any]:
    """Check the YAML files of users before Hydra reads them: its errors are tracebacks of a hundred lines."""

    def checked(repository: ConfigRepository, config_path: str) -> Any:
        source = repository._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
        if source is not None and source.scheme() == "file" and not Path(source.path).samefile(CONF):
            yaml_files.check(Path(source.path, source._normalize_file_name(config_path)))
        return load(repository, config_path)

    return checked


def _choosing_first(compose: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Compose the configuration of a sweep with the first of its choices that have every key. Hydra takes the default
    choices, which need not have the keys that the swept choices share.
    """

    def chosen(
        loader: ConfigLoaderImpl,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        *args: Any,
        **kwargs: Any,
    ) -> DictConfig:
        if run_mode is not RunMode.MULTIRUN:
            return compose(loader, config_name, overrides, run_mode, *args, **kwargs)
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        if not any(override.is_sweep_override() for override in parsed):
            return compose(loader, config_name, overrides, RunMode.RUN, *args, **kwargs)
        loader.validate_sweep_overrides_legal(parsed, run_mode, from_shell=True)
        failures = []
        for chosen_lines in islice(
            product(*(_candidates(each, loader, config_name, overrides) for each in parsed)), MOST_TRIED
        ):
            try:
                given = [line for line in chosen_lines if line is not None]
                config = compose(loader, config_name, given, RunMode.RUN, *args, **kwargs)
            except Exception as failure:  # Hydra raises many types
                failures.append(failure)
            else:
                _set_overrides(config, [override for override in parsed if not override.is_hydra_override()])
                return config
        raise failures[0]

    return chosen


def _candidates(override: Override, loader: ConfigLoaderImpl, name: str | None, lines: list[str]) -> list[str | None]:
    """What to try for an override: all choices of a group, and nothing for another key that is swept, as Hydra does."""
    group = override.key_or_group
    if not override.is_sweep_override():
        return [override.input_line]
    if not isinstance(override.value(), ChoiceSweep | Glob) or not loader.get_group_options(group, None, name, lines):
        return [None]
    values = override.sweep_string_iterator()
    return [f"{override.get_key_element()}={value}" for value in islice(values, MOST_TRIED)] or [None]


def _set_overrides(config: DictConfig, overrides: list[Override]) -> None:
    """Give the configuration of a sweep the overrides of the sweep instead of those of the choices that were tried."""
    with open_dict(config):
        job = config.hydra.job
        config.hydra.overrides.task = [override.input_line for override in overrides]
        job.override_dirname = get_overrides_dirname(overrides=overrides, **job.config.override_dirname)


def _overriding_ours(add: Callable[..., None]) -> Callable[..., None]:
    """Let an experiment override what config.yaml overrides, such as /hydra/launcher. In Hydra the first wins."""

    def added(overrides: Overrides, parent_config_path: str, default: GroupDefault) -> None:
        known = overrides.override_metadata.get(key := default.get_override_key())
        if known is not None and not known.external_override and known.containing_config_path == "config":
            del overrides.override_choices[key]
        add(overrides, parent_config_path, default)

    return added


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
