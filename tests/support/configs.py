"""Compose configurations as the command line does."""

from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from dl_lab.config.compose import CONF, compose
from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig


@cache  # composing takes a tenth of a second
def parsed(*overrides: str) -> RunConfig:
    """Return the validated configuration of `python -m dl_lab.train OVERRIDES`."""
    return parse(compose(*overrides))


def choices(group: str) -> list[str]:
    """List the YAML files of a group."""
    return sorted(path.stem for path in (Path(CONF) / group).glob("*.yaml"))


def container(*overrides: str, resolve: bool = True) -> dict[str, object]:
    """Return the configuration as plain dictionaries."""
    values = OmegaConf.to_container(compose(*overrides), resolve=resolve)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
