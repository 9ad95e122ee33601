"""The typed configuration of a run, and parse(): everything that can be known to be wrong is told before data load."""

import os
import sys
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import platformdirs
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dl_lab.config.validation import typed as typed
from dl_lab.core import devices
from dl_lab.core.errors import COUNT, POSITIVE, ConfigError, check, refuse_interpolations, require, unknown, unknown_key
from dl_lab.registry import LOSSES, MODELS, REGISTRIES, Entry
from dl_lab.training.tasks import HEAD_TASKS


@dataclass(frozen=True)
class Choice:
    """One group's registered entry and its configuration, an instance of the entry's schema."""

    entry: Entry
    config: Any


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, in what portions, and what is watched. `steps`, if given, is the length in place of `epochs`; with
    neither a run is EPOCHS long, but at least LEAST_STEPS, so that small data is learnt too. `validate_every` null is
    once an epoch, or as many epochs as make LEAST_BETWEEN_VALIDATIONS steps.
    """

    BATCH_SIZE: ClassVar[int] = 32
    EVAL_BATCH_SIZE: ClassVar[int] = 1000
    EVAL_VALUES: ClassVar[int] = 4_000_000
    EPOCHS: ClassVar[int] = 20
    LEAST_STEPS: ClassVar[int] = 2000
    LEAST_BETWEEN_VALIDATIONS: ClassVar[int] = 20

    epochs: int | None
    steps: int | None
    batch_size: int | str | None
    accumulate: int
    max_grad_norm: float | None
    decay_biases: bool
    validate_every: int | None
    eval_batch_size: int | None
    log_every: int
    patience: int | None
    best: str
    one_batch: bool
    pictures: int | None

    def __post_init__(self) -> None:
        counts = (
            "epochs",
            "steps",
            "accumulate",
            "validate_every",
            "eval_batch_size",
            "log_every",
            "patience",
            "pictures",
        )
        check("train", self, {**dict.fromkeys(counts, COUNT), "max_grad_norm": POSITIVE})
        size = self.batch_size
        fits = size is None or size == "full" or (isinstance(size, int) and size >= 1)
        require(fits, "train.batch_size", size, "a whole number, 1 or more, or full")
        if isinstance(size, int):
            require(self.accumulate <= size, "train.accumulate", self.accumulate, f"at most {size}, the batch")
        if self.epochs is not None and self.steps is not None:
            raise ConfigError(
                f"train.epochs={self.epochs} and train.steps={self.steps}; allowed: one of them, one null"
            )

    def batch_of(self, examples: int) -> int:
        """The batch size for a training split of so many examples.

        Raises:
            ConfigError: if the batch asked for is larger, or has fewer examples than pieces.
        """
        if self.batch_size is None or self.batch_size == "full":
            size = examples if self.batch_size == "full" else min(self.BATCH_SIZE, examples)
        else:
            size = int(self.batch_size)
        require(size <= examples, "train.batch_size", size, f"at most {examples}, the training split, or full")
        require(self.accumulate <= size, "train.accumulate", self.accumulate, f"at most {size}, the batch")
        return size

    def eval_batch_of(self, batch_size: int, values: int) -> int:
        """The batch size of validation, for examples of so many input and output values."""
        fitting = min(self.EVAL_BATCH_SIZE, self.EVAL_VALUES // values)
        return self.eval_batch_size or max(fitting, batch_size // self.accumulate)

    def total_steps(self, steps_per_epoch: int) -> int:
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return self.epochs * steps_per_epoch
        return max(self.EPOCHS * steps_per_epoch, self.LEAST_STEPS)

    def steps_between_validations(self, steps_per_epoch: int) -> int:
        epochs = ceil(self.LEAST_BETWEEN_VALIDATIONS / steps_per_epoch)
        return self.validate_every or epochs * steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What belongs to no group. `data_dir` null is the user's cache folder."""

    seed: int
    device: str
    precision: str
    threads: int | None
    compile: bool | None
    deterministic: bool
    name: str | None
    tags: list[str]
    imports: list[str]
    data_dir: str | None

    def __post_init__(self) -> None:
        most = max(64, os.cpu_count() or 1)  # a process that the system grants no more threads ends without a word
        fits = self.threads is None or 1 <= self.threads <= most
        require(fits, "threads", self.threads, f"a whole number from 1 to {most}")
        require(0 <= self.seed < 2**63, "seed", self.seed, "a whole number from 0 to 2^63 - 1")

    @property
    def data_folder(self) -> Path:
        return Path(self.data_dir).expanduser() if self.data_dir else Path(platformdirs.user_cache_dir("dl_lab"))


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run is made of; `as_dict` is the plain form that checkpoints keep."""

    model: Choice
    optimizer: Choice
    initializer: Choice
    dropout: Choice
    dataset: Choice
    loss: Choice
    schedule: Choice
    train: TrainConfig
    settings: RunSettings
    as_dict: dict[str, Any]


def parse(config: DictConfig | Mapping[str, Any]) -> RunConfig:
    """Check a composed configuration and give it types.

    Raises:
        ConfigError: for the first unknown name, wrong type, value out of range or pair that does not fit.
    """
    values = _resolved(config)
    values.pop("sweep", None)  # which jobs there are, as against what one is
    settings_names = [field.name for field in fields(RunSettings)]
    known = [*REGISTRIES, "train", "claim", *settings_names]
    for key in values:
        if key not in known:
            raise unknown_key("", key, known)
    for key in known:
        if key not in values:
            raise ConfigError(f"{key} is missing; allowed: see --help")
    settings = typed(RunSettings, {name: values[name] for name in settings_names}, "")
    import_user_modules(settings.imports)
    choices = {group: _choice(group, values[group]) for group in REGISTRIES}
    train = typed(TrainConfig, values["train"], "train")
    run = RunConfig(**choices, train=train, settings=settings, as_dict=with_absolute_paths(values))
    check_fit(run)
    devices.choose(settings.device, settings.precision)
    return run


def with_absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """The same configuration, so that it means the same from any folder."""
    saved = {**values, "dataset": dict(values["dataset"])}
    for group, key in ((saved["dataset"], "path"), (saved, "data_dir")):
        if group.get(key) is not None:
            try:
                group[key] = str(Path(str(group[key])).expanduser().absolute())
            except RuntimeError as error:  # ~ of a user who is not there
                raise ConfigError(f"{key}={group[key]} is in nobody's home; allowed: a folder or file") from error
    return saved


def import_user_modules(modules: list[str]) -> None:
    """Import what `imports` names, from the current folder or the installed packages; it registers what it brings."""
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)
    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(
                f"imports={module} is not found; allowed: a module in {here} or an installed one"
            ) from error


def _resolved(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A plain mapping is taken as it is: OmegaConf would take 4 ms to read it, for every job of a sweep."""
    try:
        values = (
            OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            if isinstance(config, DictConfig)
            else deepcopy(dict(config))
        )
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} is missing; allowed: give it, as {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}; allowed: see --help") from error
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
    """Raises: ConfigError if `train.best` is none of the metrics."""
    if best not in metrics:
        raise unknown("train.best", best, metrics)


def check_fit(run: RunConfig) -> None:
    """Refuse a model that cannot take the data, a loss that does not fit the task, dropout on tokens.

    Raises:
        ConfigError: naming the choices that fit.
    """
    dataset, (kind,) = run.dataset, run.dataset.entry.kinds
    tasks = dataset.entry.tasks
    task = next(iter(tasks)) if len(tasks) == 1 else dataset.config.task

    def fits(entry: Entry) -> bool:
        return kind in entry.kinds and task in entry.tasks

    about = f"dataset={dataset.entry.name} ({kind}, {task})"
    for group, registry, chosen in (("model", MODELS, run.model.entry), ("loss", LOSSES, run.loss.entry)):
        if not fits(chosen):
            fitting = [name for name in registry.names() if fits(registry[name])]
            raise ConfigError(f"{group}={chosen.name} does not fit {about}; allowed: {', '.join(fitting)}")
    if task in HEAD_TASKS:
        check_best(run.train.best, HEAD_TASKS[task].names)
    if run.optimizer.entry.name == "rprop" and run.schedule.entry.name != "constant":
        schedule = run.schedule.entry.name
        raise ConfigError(f"schedule={schedule} cannot reach optimizer=rprop, it reads lr once; allowed: constant")
    if kind == "tokens" and getattr(run.dropout.config, "input_p", 0) > 0:
        raise ConfigError(
            f"dropout.input_p={run.dropout.config.input_p} does not fit {about}; allowed: 0, and dropout.p"
        )
