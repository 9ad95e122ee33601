"""Compose configurations as the command line does; one thread, so that small tests do not fight for cores."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from dl_lab.config.compose import CONF
from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def compose(*overrides: str) -> DictConfig:
    """The configuration of `python -m dl_lab.train OVERRIDES`."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return hydra_compose("config", list(overrides))


def parsed(*overrides: str) -> RunConfig:
    """The same, checked and typed."""
    return parse(compose(*overrides))


def choices(group: str) -> list[str]:
    """The YAML files of a group."""
    return sorted(path.stem for path in (Path(CONF) / group).glob("*.yaml"))


def container(*overrides: str, resolve: bool = True) -> dict[str, object]:
    """The configuration as plain dictionaries."""
    values = OmegaConf.to_container(compose(*overrides), resolve=resolve)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
