"""The registries of all groups. A name on the command line can select registered entries only."""

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from dl_lab.core.errors import ConfigError, unknown
from dl_lab.data.spec import KINDS, TASKS

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One choice of a group.

    `build` receives an instance of `schema`, then what exists only at run time. `kinds` and `tasks` are those that a
    model or loss accepts, or that a dataset provides; if a dataset provides several tasks, its configuration has a
    `task`.
    """

    name: str
    schema: type
    build: Callable[..., Any]
    kinds: frozenset[str]
    tasks: frozenset[str]


class Registry:
    """The entries of one group; the first lookup imports every module of `package`."""

    def __init__(self, group: str, package: str):
        self.group = group
        self.package = package
        self._entries: dict[str, Entry] = {}
        self._complete = False

    def register(
        self, name: str, schema: type, kinds: Iterable[str] = KINDS, tasks: Iterable[str] = TASKS
    ) -> Callable[[Builder], Builder]:
        """Register the decorated builder under `name`.

        Raises:
            ConfigError: if the name is already registered.
        """

        def add(build: Builder) -> Builder:
            if name in self._entries:
                raise ConfigError(f"{self.group}={name} is registered twice; allowed: once; hint: another name")
            self._entries[name] = Entry(name, schema, build, frozenset(kinds), frozenset(tasks))
            return build

        return add

    def names(self) -> list[str]:
        self._import_all()
        return sorted(self._entries)

    def __getitem__(self, name: str) -> Entry:
        """Return the entry with this name.

        Raises:
            ConfigError: for an unknown name, with the nearest one.
        """
        self._import_all()
        if name not in self._entries:
            raise unknown(f"{self.group}.name", name, self._entries)
        return self._entries[name]

    def _import_all(self) -> None:
        if not self._complete:
            for module in pkgutil.iter_modules(import_module(self.package).__path__):
                import_module(f"{self.package}.{module.name}")
            self._complete = True


MODELS = Registry("model", "dl_lab.models")
OPTIMIZERS = Registry("optimizer", "dl_lab.optimizers")
INITIALIZERS = Registry("initializer", "dl_lab.initializers")
DROPOUTS = Registry("dropout", "dl_lab.dropouts")
DATASETS = Registry("dataset", "dl_lab.datasets")
LOSSES = Registry("loss", "dl_lab.losses")
SCHEDULES = Registry("schedule", "dl_lab.schedules")

REGISTRIES = {
    registry.group: registry for registry in (MODELS, OPTIMIZERS, INITIALIZERS, DROPOUTS, DATASETS, LOSSES, SCHEDULES)
}


def registering_packages() -> set[str]:
    """The packages of the entries registered so far, other than dl_lab: code of users."""
    entries = [entry for registry in REGISTRIES.values() for entry in registry._entries.values()]
    return {entry.build.__module__.partition(".")[0] for entry in entries} - {"dl_lab"}
