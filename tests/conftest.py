"""Run the whole suite on every core, with one thread per process."""

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigSource

from dl_lab.config.compose import CONF
from dl_lab.registry import REGISTRIES

# Workers, and the processes that tests start, must not compete for cores. Torch reads this when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start one worker per core, but none if the command line names files or tests: workers take seconds to start."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True, scope="session")
def _files_are_composed_once() -> Iterator[None]:
    """Remember what Hydra reads from the files of conf/ and merges, which is half the time of a tiny run."""
    load, merge = ConfigRepository.load_config, ConfigLoaderImpl._compose_config_from_defaults_list
    known: dict[str, bytes] = {}

    def remember(read: Callable[[], Any], what: object, sources: Sequence[ConfigSource | None]) -> Any:
        folders = [Path(source.path) for source in sources if source and source.scheme() == "file"]
        of_users = [path for folder in folders if folder != CONF for path in folder.rglob("*.yaml") if path.is_file()]
        key = str((what, sources, [(path, path.read_bytes()) for path in of_users]))
        if key not in known:
            known[key] = pickle.dumps(read())
        return pickle.loads(known[key])

    def load_once(self: ConfigRepository, config_path: str) -> Any:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        return remember(lambda: load(self, config_path), config_path, [source])

    def merge_once(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: CachingConfigRepository) -> Any:
        return remember(lambda: merge(self, defaults, repo), defaults, repo.get_sources())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", load_once)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once)
        yield


modules_that_stay: set[str] = set()


@pytest.fixture(autouse=True)
def _forget_code_of_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the modules that a test has written and imported, and the entries of any that registered some, so that the
    order of tests does not matter.
    """
    yield
    written = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - modules_that_stay:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(written):
            del sys.modules[name]
        else:
            modules_that_stay.add(name)
    for registry in REGISTRIES.values():
        for name, entry in list(registry._entries.items()):
            module = entry.build.__module__
            if module.partition(".")[0] not in ("dl_lab", "experiments"):
                del registry._entries[name]
                sys.modules.pop(module, None)
