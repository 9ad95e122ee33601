"""Let Hydra read and merge the same files once per process of the tests: half the time of a tiny run is composing."""

import pickle
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigSource

from dl_lab.config import messages
from dl_lab.config.compose import CONF

KNOWN: dict[str, bytes] = {}
load, merge = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list


def remember(read: Callable[[], Any], what: object, sources: Sequence[ConfigSource | None]) -> Any:
    """Return a copy of what `read` returned for the same arguments and the same contents of users' folders."""
    folders = [Path(source.path) for source in sources if source and source.scheme() == "file"]
    of_users = [path for folder in folders if folder != CONF for path in folder.rglob("*.yaml") if path.is_file()]
    key = str((read.__code__, what, sources, [(path, path.read_bytes()) for path in of_users]))
    if key not in KNOWN:
        KNOWN[key] = pickle.dumps(read())
    return pickle.loads(KNOWN[key])


def copy_shallowly(self: CachingConfigRepository, delegate: ConfigRepository) -> None:
    self.delegate, self.cache = copy(delegate), {}  # only its list of sources is replaced


def load_once(self: ConfigRepository, config_path: str) -> Any:
    source = self._find_object_source(config_path, ObjectType.CONFIG)
    return remember(lambda: load(self, config_path), config_path, [source])


def merge_once(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: CachingConfigRepository) -> Any:
    return remember(lambda: merge(self, defaults, repo), defaults, repo.get_sources())


def list_once(
    repo: CachingConfigRepository, config_name: str | None, overrides_list: list[Override], **options: bool
) -> DefaultsList:
    """Remember the files of the same choices. An override with a dot in its key chooses no file."""
    choices = [override for override in overrides_list if "." not in override.key_or_group]
    what = config_name, [override.input_line for override in choices], options
    listed = remember(lambda: create_defaults_list(repo, config_name, choices, **options), what, repo.get_sources())
    values = {override.input_line for override in listed.config_overrides}
    listed.config_overrides = [
        override for override in overrides_list if override not in choices or override.input_line in values
    ]
    return listed


def compose_once() -> None:
    """Patch Hydra until this process ends."""
    config_loader_impl.create_defaults_list = list_once
    CachingConfigRepository.__init__ = copy_shallowly
    ConfigRepository.load_config = load_once
    ConfigLoaderImpl._compose_config_from_defaults_list = merge_once
    messages.LIBRARIES.add(Path(__file__).parent.name)  # errors that pass through this file are not of a user's code
