"""A call of the API: it computes with the settings of a new process, as a command does, and restores the caller's."""

import os
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from dl_lab.config.messages import explain
from dl_lab.core import devices
from dl_lab.core.errors import FAILURES, ConfigError, Diverged, Failed, JobsFailed
from dl_lab.core.progress import announce
from dl_lab.data.tables.report import announced
from dl_lab.runs.folders import remove_empty_folders

LOCK = threading.RLock()  # most of these settings are those of the process: calls in other threads wait


@contextmanager
def call(*arguments: str) -> Iterator[None]:
    """Everything that a call of the API does is inside this context; `arguments` are those of the command.

    Raises:
        ConfigError, Diverged, Failed, JobsFailed: with the line that the command prints.
    """
    with LOCK, ExitStack() as restored:
        for settings in (_interpreter, _hydra, _generators, _torch):
            restored.enter_context(settings())
        announce.cache_clear()
        announced.clear()
        sys.argv = ["dl_lab", *arguments]
        with _one_line():
            yield


@contextmanager
def _one_line() -> Iterator[None]:
    """Raise errors that a user can cause with their line; bugs keep their traceback."""
    try:
        yield
    except (ConfigError, Diverged, Failed, JobsFailed) as error:
        if isinstance(error.__cause__, HydraException | OmegaConfBaseException):
            raise error from None
        raise
    except FAILURES as error:
        if (line := explain(error)) is None:
            raise
        raise (Failed if isinstance(error, SystemExit | GeneratorExit) else ConfigError)(line) from None
    finally:
        remove_empty_folders()


@contextmanager
def _interpreter() -> Iterator[None]:
    """The environment, working folder, arguments, import path, filters of warnings and error handling of NumPy."""
    variables, arguments, path, entries, here = dict(os.environ), sys.argv, sys.path, list(sys.path), Path.cwd()
    try:
        with warnings.catch_warnings(), np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            yield
    finally:
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})
        sys.argv, sys.path = arguments, path
        sys.path[:] = entries
        with suppress(OSError):  # the folder was removed meanwhile
            os.chdir(here)


@contextmanager
def _hydra() -> Iterator[None]:
    """A Hydra of our own: the caller may be a Hydra application, with configurations stored under our names."""
    Plugins.instance()
    store = ConfigStore.instance()
    before, stored, resolvers = dict(Singleton._instances), store.repo, dict(BaseContainer._resolvers)
    own = (GlobalHydra, HydraConfig, VersionBase)
    Singleton._instances = {kind: one for kind, one in before.items() if kind not in own}
    store.repo = {name: node for name, node in stored.items() if name == "hydra" or name.startswith("_")}
    try:
        yield
    finally:
        others = {kind: one for kind, one in Singleton._instances.items() if kind not in own}
        Singleton._instances, store.repo = {**others, **before}, stored
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(resolvers)


@contextmanager
def _generators() -> Iterator[None]:
    """The global generators of Python, NumPy and torch."""
    python, cpu = random.getstate(), torch.default_generator.get_state()
    numpy = np.random.get_state()  # noqa: NPY002  # of the one that the caller may draw from
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.default_generator.set_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        elif torch.cuda.is_initialized():  # by this call: with the seed that the caller has set for all devices
            torch.cuda.manual_seed_all(torch.initial_seed())
        if mps is not None:
            torch.mps.set_rng_state(mps)


@contextmanager
def _torch() -> Iterator[None]:
    """The settings of torch that change results."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    with ExitStack() as modes:
        modes.enter_context(devices.default_dtype(torch.float32))
        for mode in (torch.inference_mode(False), torch.enable_grad()):
            modes.enter_context(mode)
        for kind in {"cpu", devices.available()[0].partition(":")[0]}:
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":  # by torch.device as a context, too, which torch 2.6 does not report
            modes.enter_context(torch.device("cpu"))
        torch.set_float32_matmul_precision("highest")
        try:
            if is_deterministic:
                torch.use_deterministic_algorithms(False)
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(precision)
            if (is_deterministic, only_warns) != (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ):
                torch.use_deterministic_algorithms(is_deterministic, warn_only=only_warns)
