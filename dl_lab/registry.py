"""The registries: a name from the command line reaches what is registered here, and nothing else."""

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from dl_lab.core.errors import unknown
from dl_lab.data.spec import KINDS, TASKS

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """One choice of a group.

    `build` takes an instance of `schema` first and what exists only at run time after it. `kinds` and `tasks` are
    those that a model or loss accepts, or that a dataset gives; a dataset that can give several tasks has a `task`
    on its configuration that says which.
    """

    name: str
    schema: type
    build: Callable[..., Any]
    kinds: frozenset[str]
    tasks: frozenset[str]


class Registry:
    """The choices of one group, found by importing every module of `package` when first asked for."""

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
            ValueError: if the name is taken.
        """

        def add(build: Builder) -> Builder:
            if name in self._entries:
                raise ValueError(f"{self.group}={name} is registered twice")
            self._entries[name] = Entry(name, schema, build, frozenset(kinds), frozenset(tasks))
            return build

        return add

    def names(self) -> list[str]:
        self._import_all()
        return sorted(self._entries)

    def __getitem__(self, name: str) -> Entry:
        """The entry called `name`.

        Raises:
            ConfigError: if there is none, with the nearest.
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
