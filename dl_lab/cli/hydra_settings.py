"""What a configuration may set of Hydra itself. Files of other people are data, but Hydra would run code, start
programs and look up variables that they name: only plain values of permitted keys pass.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.resolvers import oc

from dl_lab.config.compose import CONF
from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.errors import ConfigError
from dl_lab.core.paths import user_path

PERMITTED = {"mode", "searchpath", "run", "sweep", "sweeper", "launcher", "help", "hydra_help", "output_subdir"}
PERMITTED |= {"overrides", "job", "runtime", "verbose"}
SILENT = {"version": 1, "root": None, "disable_existing_loggers": False}  # Hydra's job_logging=none
FIXED = {
    "callbacks": {},
    "env": {},
    "job_logging": SILENT,
    "hydra_logging": SILENT,
}  # with others, Hydra builds what they name
OWN_PLUGINS = ("hydra_plugins.dl_lab_sweeps.", "hydra._internal.core_plugins.")
WORD = re.compile(r"[\w.:+-]*")
VARIABLES = ("DL_LAB_DATA",)  # of the environment, which a file may look up


def check(config: DictConfig, overrides: Sequence[str]) -> None:
    """Check the group hydra of a composed configuration; `overrides` are those of the command line, which is trusted.

    Raises:
        ConfigError: naming the key and its value.
    """
    given = [re.split("[=@]", override.lstrip("+~"), maxsplit=1)[0] for override in overrides]
    values = OmegaConf.to_container(config.hydra, resolve=False)
    assert isinstance(values, dict)
    refuse_code(values, given, overrides)
    refuse_settings(config)
    refuse_shadowed(config)
    settle_folders(config, values)


def refuse_code(values: Mapping[Any, Any], given: Sequence[str], overrides: Sequence[str]) -> None:
    """Check that the group hydra has only permitted keys, and no code, programs or variables that a file names.

    Raises:
        ConfigError: naming the key.
    """
    for key, value in values.items():
        if key not in PERMITTED and value != FIXED.get(key):
            raise ConfigError(f"hydra.{key} names code; allowed: no code; hint: import your own with imports=[MODULE]")
    for key in ("env_set", "env_copy"):
        if values["job"].get(key) and not is_given(f"hydra.job.{key}", given):
            raise ConfigError(f"hydra.job.{key} is set in a file; allowed: on the command line")
    if not set(values["overrides"]["hydra"]) <= set(overrides):
        raise ConfigError("hydra.overrides is set in a file; allowed: what the command line gives")
    for group in ("launcher", "sweeper"):
        node = values[group] if isinstance(values[group], dict) else {"_target_": values[group]}
        target = str(node.get("_target_"))
        if not target.startswith("hydra_plugins.") and not target.startswith(OWN_PLUGINS):
            raise ConfigError(f"hydra.{group}._target_={target} is not a plugin of Hydra; allowed: hydra/{group}=NAME")
        known = () if target.startswith(OWN_PLUGINS) else plugin_defaults(group, target)
        refuse_arguments(
            {key: value for key, value in node.items() if key != "_target_"}, f"hydra.{group}", given, known
        )


def refuse_arguments(node: Any, where: str, given: Sequence[str], known: Sequence[tuple[str, Any]]) -> None:
    """Check the arguments of a launcher or sweeper: numbers and words; more (a path, the commands that set up a job)
    only as the plugin's own defaults, or on the command line. Raises ConfigError for the first other one.
    """
    if (where, node) in known or isinstance(node, int | float | None):
        return
    if isinstance(node, dict):
        for key, value in node.items():
            if str(key).startswith(("_", "hydra.", "hydra/", "+", "~")) and (f"{where}.{key}", value) not in known:
                raise ConfigError(f"{where}.{key} names code or a key of Hydra; allowed: arguments of the plugin")
            if where != "hydra.sweeper.params":  # whose values are those of a sweep
                refuse_arguments(value, f"{where}.{key}", given, known)
    elif not is_given(where, given) and not (isinstance(node, str) and WORD.fullmatch(node)):
        raise ConfigError(f"{where}={node} is set in a file; allowed there: numbers and words; hint: give {where}=")


def is_given(key: str, given: Sequence[str]) -> bool:
    """Whether the command line sets this key, a group that holds it or a key below it."""
    return any(key == each or key.startswith(f"{each}.") or each.startswith(f"{key}.") for each in given)


def plugin_defaults(group: str, target: str) -> list[tuple[str, Any]]:
    """The keys and values, at every depth, of the configurations that an installed plugin has registered."""
    found: list[tuple[str, Any]] = []

    def collect(where: str, node: Any) -> None:
        found.append((where, node))
        for key, value in node.items() if isinstance(node, dict) else ():
            collect(f"{where}.{key}", value)

    for stored in ConfigStore.instance().repo.get("hydra", {}).get(group, {}).values():
        node = OmegaConf.to_container(stored.node, resolve=False) if hasattr(stored, "node") else None
        if isinstance(node, dict) and node.get("_target_") == target:
            collect(f"hydra.{group}", node)
    return found


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


def refuse_shadowed(config: DictConfig) -> None:
    """Check that no file of --config-dir or hydra.searchpath has the name of one of ours, which Hydra would take.

    Raises:
        ConfigError: naming the file.
    """
    sources = [source for source in config.hydra.runtime.config_sources if source.schema == "file"]
    folders = [folder for source in sources if (folder := Path(source.path)).is_dir() and not folder.samefile(CONF)]
    for folder in folders:
        for ours in CONF.rglob("*.yaml"):
            theirs = folder / (name := ours.relative_to(CONF))
            if theirs.is_file() and (not os.access(theirs, os.R_OK) or read_bytes(theirs) != ours.read_bytes()):
                raise ConfigError(f"{theirs} is never read, because dl_lab has {name}; allowed: another name")


def settle_folders(config: DictConfig, values: Mapping[Any, Any]) -> None:
    """Replace ~ at the start of the folder of a run or sweep, wherever it was given.

    Raises:
        ConfigError: as `user_path` does, for no folder, and for an escaped ${, which Hydra would read again.
    """
    for mode, name in (("run", "dir"), ("sweep", "dir"), ("sweep", "subdir")):
        folder = values[mode].get(name) if isinstance(values[mode], dict) else None
        if folder in (None, "") or "\\${" in str(folder):
            raise ConfigError(
                f"hydra.{mode}.{name}={folder or ''} is not allowed; allowed: a folder; hint: a name cannot contain ${{"
            )
        if name == "dir" and str(folder).startswith("~"):
            config.hydra[mode].dir = str(user_path(str(folder), f"hydra.{mode}.dir"))


@contextmanager
def variables_are_named() -> Iterator[None]:
    """Inside the context, ${oc.env:NAME} reads only variables that dl_lab's own files or the command line name: the
    value goes into checkpoints and TensorBoard.
    """

    def env(name: str, *default: Any) -> str | None:
        if name not in VARIABLES and not re.search(rf"oc\.env:{re.escape(name)}\b", " ".join(sys.argv[1:])):
            allowed = f"{', '.join(VARIABLES)}, and those that the command line names"
            raise ConfigError(f"oc.env:{name} in a file looks up a variable of yours; allowed: {allowed}")
        return oc.env(name, *default)

    OmegaConf.register_new_resolver("oc.env", env, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
