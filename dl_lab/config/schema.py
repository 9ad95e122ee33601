"""The typed configurations of a run and of a sweep."""

import os
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import platformdirs
from annotated_types import Ge, Interval

from dl_lab.core.errors import ConfigError, require
from dl_lab.core.paths import user_path
from dl_lab.core.schema import PositiveFloat, PositiveInt, Schema, Seed
from dl_lab.registry import Entry

MAX_THREADS = max(64, os.cpu_count() or 1)  # the system ends a process that asks for too many, without a message
MAX_JOBS = 100_000  # also the most values of one key: all are in memory before the first job starts


@dataclass(frozen=True)
class Choice:
    """A registered entry and its configuration, an instance of the entry's schema."""

    entry: Entry
    config: Any

    @property
    def kind(self) -> str:
        """The kind of data of a dataset: its only one, or that which its configuration selects."""
        return str(getattr(self.config, "kind", None) or next(iter(self.entry.kinds)))


class TrainConfig(Schema):
    """Length, batch size, validation and logging of a run.

    `steps` or `epochs` sets the length; without both, a run has EPOCHS epochs, and at least MIN_STEPS steps.
    `validate_every` null validates after every epoch, or after as many epochs as make MIN_STEPS_BETWEEN_VALIDATIONS.
    """

    BATCH_SIZE: ClassVar[int] = 32
    EVAL_BATCH_SIZE: ClassVar[int] = 1000
    EVAL_VALUES: ClassVar[int] = 4_000_000
    EPOCHS: ClassVar[int] = 20
    MIN_STEPS: ClassVar[int] = 2000
    MIN_STEPS_BETWEEN_VALIDATIONS: ClassVar[int] = 20

    epochs: PositiveInt | None
    steps: PositiveInt | None
    batch_size: PositiveInt | Literal["full"] | None
    accumulate: PositiveInt
    max_grad_norm: PositiveFloat | None
    decay_biases: bool
    validate_every: PositiveInt | None
    eval_batch_size: PositiveInt | None
    log_every: PositiveInt
    patience: PositiveInt | None
    best: str
    one_batch: bool
    pictures: PositiveInt | None

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, int):
            self._check_accumulate(self.batch_size)
        if self.epochs is not None and self.steps is not None:
            raise ConfigError(
                f"train.epochs={self.epochs} and train.steps={self.steps} are both set; hint: set one of them to null"
            )

    def _check_accumulate(self, batch_size: int) -> None:
        fits = self.accumulate <= batch_size
        require(fits, "train.accumulate", self.accumulate, f"at most {batch_size}, the batch size")

    def batch_of(self, examples: int) -> int:
        """Return the batch size for a training split with this number of examples.

        Raises:
            ConfigError: if `batch_size` is larger than the split, or `accumulate` is larger than the batch.
        """
        if self.batch_size is None or self.batch_size == "full":
            size = examples if self.batch_size == "full" else min(self.BATCH_SIZE, examples)
        else:
            size = int(self.batch_size)
        require(size <= examples, "train.batch_size", size, f"at most {examples}, the training split, or full")
        self._check_accumulate(size)
        return size

    def eval_batch_of(self, batch_size: int, values: int) -> int:
        """Return the batch size of validation, for examples with this number of input and output values."""
        fitting = min(self.EVAL_BATCH_SIZE, self.EVAL_VALUES // values)
        return self.eval_batch_size or max(fitting, batch_size // self.accumulate)

    def total_steps(self, steps_per_epoch: int) -> int:
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return self.epochs * steps_per_epoch
        return max(self.EPOCHS * steps_per_epoch, self.MIN_STEPS)

    def steps_between_validations(self, steps_per_epoch: int) -> int:
        epochs = ceil(self.MIN_STEPS_BETWEEN_VALIDATIONS / steps_per_epoch)
        return self.validate_every or epochs * steps_per_epoch


class GridConfig(Schema):
    """The settings of every sweep; `resume` is the folder of a sweep to continue."""

    name: str
    resume: str | None
    fail_fast: bool
    prune: Literal["none", "median", "asha"]
    prune_after: PositiveInt
    prune_factor: Annotated[int, Ge(2), "a whole number, 2 or more"]
    prune_least: PositiveInt


class SearchConfig(GridConfig):
    """The number of trials of a search, how many are proposed at a time, and the seed of the search."""

    trials: Annotated[int, Interval(ge=1, le=MAX_JOBS), f"a whole number from 1 to {MAX_JOBS}"]
    batch: PositiveInt | None
    seed: Annotated[int, Interval(ge=0, lt=2**32), "a whole number from 0 to 2^32 - 1"]


SWEEPS: dict[str, type[GridConfig]] = {"grid": GridConfig, "random": SearchConfig, "optuna": SearchConfig}


def data_folder(data_dir: str | None) -> Path:
    """The folder of downloaded data: `data_dir`, or else the user's cache folder."""
    return user_path(data_dir, "data_dir") if data_dir else Path(platformdirs.user_cache_dir("dl_lab"))


def own_data_folder(data_dir: str | None) -> Path:
    """The folder into which a command downloads that takes its configuration from a run folder: `data_dir`, if the
    command gives it, or else that of conf/config.yaml.
    """
    return data_folder(data_dir or os.environ.get("DL_LAB_DATA"))


class RunSettings(Schema):
    """The keys that belong to no group. `data_dir` null is the user's cache folder."""

    seed: Seed
    device: str
    precision: str
    threads: Annotated[int, Interval(ge=1, le=MAX_THREADS), f"a whole number from 1 to {MAX_THREADS}"] | None
    compile: bool | None
    deterministic: bool
    name: str | None
    tags: list[str]
    imports: list[str]
    data_dir: str | None

    @property
    def data_folder(self) -> Path:
        return data_folder(self.data_dir)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The complete configuration of a run; checkpoints contain the plain form `as_dict`."""

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
