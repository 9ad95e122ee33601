"""Parse a composed configuration: find every mistake that can be found before the data is loaded."""

import sys
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dl_lab.config import hints
from dl_lab.config.messages import described
from dl_lab.config.schema import Choice, RunConfig, RunSettings, TrainConfig
from dl_lab.config.validation import typed as typed
from dl_lab.core import devices
from dl_lab.core.errors import FAILURES, ConfigError, refuse_interpolations, unknown, unknown_key
from dl_lab.core.paths import user_path
from dl_lab.data.spec import METRICS, all_metrics, kind_of
from dl_lab.registry import LOSSES, MODELS, REGISTRIES, Entry
from dl_lab.runs.identity import MOVED


def parse(config: DictConfig | Mapping[str, Any]) -> RunConfig:
    """Validate a composed configuration and give it types.

    Raises:
        ConfigError: for an unknown name, a value that is not allowed, or choices that do not fit together.
    """
    values = _resolved(config)
    values.pop("sweep", None)  # not part of a run
    if isinstance(dataset := values.get("dataset"), dict):
        for key in MOVED:
            name = key.partition(".")[2]
            if isinstance(path := dataset.get(name), str) and path.startswith("~"):
                dataset[name] = str(user_path(path, key))
    settings_names = [field.name for field in fields(RunSettings)]
    known = [*REGISTRIES, "train", "claim", *settings_names]
    for key in values:
        if key not in known:
            raise unknown_key("", key, known, hints.of_key("", key, values[key], values))
    for key in known:
        if key not in values:
            raise ConfigError(f"{key} is missing; hint: see --help")
    settings = typed(RunSettings, {name: values[name] for name in settings_names}, "")
    import_user_modules(settings.imports)
    choices = {group: _choice(group, values[group]) for group in REGISTRIES}
    train = typed(TrainConfig, values["train"], "train")
    run = RunConfig(**choices, train=train, settings=settings, as_dict=with_absolute_paths(values))
    check_fit(run)
    devices.choose(settings.device, settings.precision)
    return run


def with_absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that is valid in every working folder."""
    saved = {**values, "dataset": dict(values["dataset"])}
    paths = [(saved["dataset"], key.partition(".")[2], key) for key in MOVED]
    for group, key, name in (*paths, (saved, "data_dir", "data_dir")):
        if key == "data_dir" and group.get(key) == "":
            group[key] = None  # the variable DL_LAB_DATA is empty
        if group.get(key) is not None:
            group[key] = str(user_path(str(group[key]), name).absolute())
    return saved


def import_user_modules(modules: list[str]) -> None:
    """Import modules of the user, from the current folder or an installed package; they register their entries."""
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)
    for module in modules:
        try:
            import_module(module)
        except ConfigError:
            raise
        except FAILURES as error:
            if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
                reason = f"is not found; allowed: a module in {here} or an installed one"
            else:
                reason = f"cannot be imported ({described(error)}); allowed: a module without errors"
            raise ConfigError(f"imports={module} {reason}") from error


def _resolved(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values; a mapping is only copied, because OmegaConf takes 4 ms for each job of a sweep."""
    try:
        values = (
            OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            if isinstance(config, DictConfig)
            else deepcopy(dict(config))
        )
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} is missing; hint: {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}; hint: see --help") from error
    assert isinstance(values, dict)
    refuse_interpolations(values)
    return {str(key): value for key, value in values.items()}


def _choice(group: str, values: Any) -> Choice:
    registry = REGISTRIES[group]
    if not isinstance(values, dict) or "name" not in values:
        raise ConfigError(f"{group}={values} has no name; allowed: one of {', '.join(registry.names())}")
    entry = registry[str(values["name"])]
    keeps_name = "name" in {field.name for field in fields(entry.schema)}
    given = {key: value for key, value in values.items() if key != "name" or keeps_name}
    return Choice(entry, typed(entry.schema, given, group))


def check_best(best: str, metrics: Iterable[str]) -> None:
    """Raises: ConfigError if `train.best` is not one of the metrics."""
    if best not in metrics:
        raise unknown("train.best", best, metrics)


def check_fit(run: RunConfig) -> None:
    """Check that model, loss, schedule and dropout fit the dataset and the optimizer. A task that is `auto`, or set for
    each target, is known with the data only, and then checked by `check_task`.

    Raises:
        ConfigError: naming the choices that fit.
    """
    dataset, kind = run.dataset, run.dataset.kind
    tasks = dataset.entry.tasks
    task = next(iter(tasks)) if len(tasks) == 1 else getattr(dataset.config, "task", None)
    is_known = task != "auto" and not isinstance(task, dict)
    if is_known and task not in tasks:
        name = dataset.entry.name
        raise ConfigError(
            f"dataset={name} is registered with {len(tasks)} tasks, of which its key `task` selects {task}; allowed: "
            f"{', '.join(sorted(tasks))}; hint: register it with one of them, or add a key `task` to its schema"
        )
    check_task(run, *([task] if is_known else tasks))
    if run.optimizer.entry.name == "rprop" and run.schedule.entry.name != "constant":
        schedule = run.schedule.entry.name
        raise ConfigError(
            f"schedule={schedule} does not work with optimizer=rprop, which reads lr only once; allowed: constant"
        )
    if kind == "tokens" and getattr(run.dropout.config, "input_p", 0) > 0:
        raise ConfigError(
            f"dropout.input_p={run.dropout.config.input_p} does not fit dataset={dataset.entry.name} ({kind}, {task}); "
            "allowed: 0; hint: dropout.p"
        )


def check_task(run: RunConfig, *tasks: str) -> None:
    """Raises: ConfigError if model, loss or train.best fit none of the tasks that the data may have, naming those that
    fit.
    """
    dataset, kind = run.dataset, run.dataset.kind

    def fits(entry: Entry) -> bool:
        return kind in entry.kinds and not entry.tasks.isdisjoint(tasks)

    about = f"dataset={dataset.entry.name} ({kind}, {tasks[0] if len(tasks) == 1 else 'any task'})"
    for group, registry, chosen in (("model", MODELS, run.model.entry), ("loss", LOSSES, run.loss.entry)):
        if not fits(chosen):
            fitting = [name for name in registry.names() if fits(registry[name])]
            raise ConfigError(f"{group}={chosen.name} does not fit {about}; allowed: {', '.join(fitting)}")
    if len(tasks) == 1 and tasks[0] in METRICS:
        best, task = run.train.best, tasks[0]
        check_best(kind_of(best) if task == "regression" else best, all_metrics(task))  # the targets are not known yet
