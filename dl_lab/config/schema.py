"""The typed configuration of a run."""

import os
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import platformdirs

from dl_lab.config.validation import typed as typed
from dl_lab.core.errors import COUNT, POSITIVE, ConfigError, check, require
from dl_lab.registry import Entry


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
