"""The configuration of a call: composed from the same files and with the same checks as that of a command."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict, read_write

from dl_lab.cli import app, hydra_patches
from dl_lab.cli.train_arguments import options_first
from dl_lab.config.compose import CONF, quoted, refuse_added_keys, refuse_sweep
from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import ConfigError
from dl_lab.core.paths import user_path

KEYS_OF_HYDRA = ("hydra.run.dir", "hydra.searchpath")


@dataclass(frozen=True)
class Composed:
    """A run to train: its configuration, its overrides and its folder."""

    run: RunConfig
    overrides: list[str]
    folder: Path


def checked(overrides: Sequence[object], config_dir: str | Path | None) -> list[str]:
    """The overrides as Hydra reads them, and the folder of the user's own choices.

    Raises:
        ConfigError: for anything that is not text such as model=cnn.
    """
    for override in overrides:
        if not isinstance(override, str):
            raise ConfigError(f"{override!r} is not text; allowed: group=choice and key=value")
        if override.startswith("-"):
            hint = "dl_lab.sweep for -m, config_dir=FOLDER for --config-dir"
            raise ConfigError(f"{override} is an option; allowed: group=choice and key=value; hint: {hint}")
    lines = options_first([str(override) for override in overrides])
    if config_dir is None:
        return lines
    folder = user_path(str(config_dir), "config_dir").absolute()
    if not folder.is_dir():
        raise ConfigError(f"config_dir={config_dir} is not a folder; allowed: an existing folder")
    return [*lines, f"hydra.searchpath=[{quoted(f'file://{folder}')}]"]


def composed(lines: Sequence[str]) -> Composed:
    """Compose a run as `python -m dl_lab.train LINES` does, and reserve its folder."""
    app.register_resolvers()
    with hydra_patches.patched(), hydra.initialize_config_dir(str(CONF), "dl_lab", version_base="1.3"):
        config = GlobalHydra.instance().config_loader().load_configuration("config", list(lines), RunMode.RUN)
        for line in map(str, config.hydra.overrides.hydra):
            if line.lstrip("+").partition("=")[0] not in KEYS_OF_HYDRA:
                raise ConfigError(f"{line} has no effect here; allowed: {', '.join(KEYS_OF_HYDRA)}; hint: dl_lab.sweep")
        HydraConfig.instance().set_config(config)  # for ${hydra:...}
        overrides = [str(line) for line in config.hydra.overrides.task]
        folder = Path(str(OmegaConf.select(config, "hydra.run.dir"))).absolute()
        with read_write(config), open_dict(config):
            del config["hydra"]
        refuse_added_keys(config, overrides)
        refuse_sweep(overrides)
        return Composed(parse(config), overrides, folder)
