"""Run the whole suite on every core, with one thread per process."""

import os
import sys
from collections.abc import Iterator

import pytest
from support.composing import compose_once

from dl_lab.core import devices
from dl_lab.registry import REGISTRIES

compose_once()

# Workers, and the processes that tests start, must not compete for cores. Torch reads this when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start one worker per core, but none if the command line names files or tests: workers take seconds to start."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True)
def _prefer_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let device=auto be the CPU, with which the references compute; training/test_gpu.py names the GPU."""
    names = devices.available()
    monkeypatch.setattr(devices, "available", lambda: ["cpu", *names[:-1]])


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
