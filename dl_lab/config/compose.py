"""Compose the configuration of a run from the YAML files of conf/."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dl_lab.core.errors import ConfigError, unknown_key
from dl_lab.core.shell import word
from dl_lab.runs.naming import key_of

if TYPE_CHECKING:
    from hydra.conf import HydraConf

PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # installed, or in a checkout
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "sweep.resume", "data_dir")
TEXTS = re.compile(  # keys whose value is one text: files, columns and names
    r"dataset\.(?:path|\w+_path|image_folder|images|split|group|time|sample_weight|text)|name|sweep\.name"
)
PLAIN = re.compile(r"'.*'|\".*\"|[\w./-]*", re.ASCII)  # what Hydra reads as it is written


def compose(*overrides: str) -> DictConfig:
    """Return the configuration of `python -m dl_lab.train OVERRIDES`."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return hydra.compose("config", list(overrides))


def with_new_keys(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an older run, in which keys that its choices have got since have their default."""
    values = dict(saved)
    for group, own in saved.items():
        name = f"{group}/{own.get('name', 'default')}" if isinstance(own, Mapping) else ""
        path = CONF / f"{name}.yaml"
        if re.fullmatch(r"\w+/\w+", name) and path.is_file():
            new = {key: _selected(value, saved) for key, value in defaults(path).items() if key not in own}
            values[group] = {**own, **new}
    return values


def _selected(value: Any, saved: Mapping[str, Any]) -> Any:
    """A default, which may be that of another group: ${oc.select:model.context_length,64}."""
    if (found := re.fullmatch(r"\$\{oc\.select:(\w+)\.(\w+),(\d+)\}", str(value))) is None:
        return value
    own = saved.get(found[1])
    return own.get(found[2], int(found[3])) if isinstance(own, Mapping) else int(found[3])


@cache
def defaults(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file and of the files that it extends; a missing value is null."""
    loaded = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(loaded, dict)
    values: dict[str, Any] = {}
    for base in loaded.pop("defaults", []):
        extended = path.parent / f"{base}.yaml"
        values |= defaults(extended) if extended.is_file() else {}  # _self_ is no file
    return values | {str(key): None if value == "???" else value for key, value in loaded.items()}


def refuse_added_keys(config: DictConfig, overrides: Iterable[str]) -> None:
    """Raise ConfigError for +key=value: every known key has a value already, so an added key is unknown."""
    for override in overrides:
        if override.startswith("+") and not override.startswith("++"):
            from dl_lab.config import hints  # which imports this module

            whole, _, value = override[1:].partition("=")
            group, _, key = whole.rpartition(".")
            node = OmegaConf.select(config, group) if group else config
            names = [str(name) for name in node if name not in (key, "experiment")]
            present = {name: [each for each in own if each != key] for name, own in config.items() if name == group}
            raise unknown_key(group, key, names, hints.of_key(group, key, value, {**config, **present}))


def quoted(value: object) -> str:
    """A value as text in Hydra's grammar, whatever its characters are."""
    return QuotedString(str(value), Quote.single).with_quotes()


def argument(key: str, value: str) -> str:
    """key=value for train and the shell, for a value that is one text, with any character."""
    is_odd = TEXTS.fullmatch(key) and re.search(r"[,'\"$\\]", value)
    return word(f"{key}={quoted(value) if is_odd else value}")


def is_of_sweep(override: str) -> bool:
    """Whether an override belongs to the group sweep."""
    return override.lstrip("+~").startswith(("sweep.", "sweep="))


def refuse_sweep(overrides: Iterable[str]) -> None:
    """Raise ConfigError for an override of the group sweep in a single run."""
    for override in filter(is_of_sweep, overrides):
        raise ConfigError(f"{override} applies to sweeps only; hint: -m starts a sweep")


def varied_in_sweep(job: "HydraConf") -> tuple[str, ...]:
    """The overrides in which a job differs from the other jobs of its sweep; none of a single run. The sweep excludes
    the other keys from the name of the job.
    """
    if job.mode is not RunMode.MULTIRUN:
        return ()
    shared = job.job.config.override_dirname.exclude_keys
    return tuple(each for each in job.overrides.task if key_of(each) not in shared and not is_of_sweep(each))
