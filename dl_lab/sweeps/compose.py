"""The configurations of a sweep's jobs: Hydra's own, but composed from the YAML files once for each set of choices.

Hydra reads and merges the files anew for every job (64 ms); jobs with the same choices differ only in values, which
Hydra too sets after the files are merged (1 ms).
"""

import pickle
from collections.abc import Sequence
from functools import cache

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf


class Composer:
    """Composes jobs of one sweep, whose own configuration is `master`."""

    def __init__(self, loader: ConfigLoader, master: DictConfig):
        parser = OverridesParser.create(config_loader=loader)
        self._loader = loader
        self._master = master
        self._frames: dict[tuple[str, ...], bytes] = {}
        self._parse = cache(lambda line: parser.parse_overrides([line])[0])
        name, given = master.hydra.job.config_name, list(master.hydra.overrides.hydra)
        assert isinstance(loader, ConfigLoaderImpl)  # there is no other
        _, repository = loader._parse_overrides_and_create_caching_repo(name, given)
        self._is_group = cache(lambda key: bool(repository.get_group_options(key, None)))

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """What Hydra's load_sweep_config gives for these overrides; raises what it raises."""
        try:
            config = self._quickly(overrides)
        except Exception:
            config = None  # Hydra tells better what is wrong
        return config or self._by_hydra(overrides)

    def _by_hydra(self, overrides: Sequence[str]) -> DictConfig:
        config: DictConfig = self._loader.load_sweep_config(self._master, list(overrides))
        return config

    def _quickly(self, overrides: Sequence[str]) -> DictConfig | None:
        """The same from the frame of the choices, with the values set; None where more than values is asked for."""
        parsed = [self._parse(override) for override in overrides]
        if not all(_is_plain(override) for override in parsed):
            return None
        choices = [override for override in parsed if self._is_group(override.key_or_group)]
        values = [override for override in parsed if not self._is_group(override.key_or_group)]
        if any(isinstance(override.value(), dict) for override in choices):
            return None  # {key: value} for a group sets values, after the choice
        config = self._frame(tuple(str(override.input_line) for override in choices))
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        job = config.hydra.job
        config.hydra.overrides.task = list(overrides)
        naming = job.config.override_dirname
        job.override_dirname = get_overrides_dirname(
            overrides=parsed, kv_sep=naming.kv_sep, item_sep=naming.item_sep, exclude_keys=naming.exclude_keys
        )
        OmegaConf.copy_cache(from_config=self._master, to_config=config)
        return config

    def _frame(self, choices: tuple[str, ...]) -> DictConfig:
        """A configuration of its own with these choices; to unpickle one is five times as fast as to copy it."""
        if choices not in self._frames:
            self._frames[choices] = pickle.dumps(self._by_hydra(choices))
        config: DictConfig = pickle.loads(self._frames[choices])
        return config


def _is_plain(override: Override) -> bool:
    """Whether it is key=value for a run: nothing added or taken away, no package, not Hydra's, a single value."""
    simple = override.type is OverrideType.CHANGE and override.package is None
    return simple and not override.is_hydra_override() and not override.is_sweep_override()
