"""A run in training: its Plan, which stays the same, and its TrainState, which changes and is saved."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab.config.messages import described
from dl_lab.config.schema import RunConfig
from dl_lab.core import eager_optim
from dl_lab.core.errors import ConfigError, counted, printable
from dl_lab.core.progress import Progress
from dl_lab.data.batching import training_batches
from dl_lab.data.dataset import Data
from dl_lab.data.splits import Batch
from dl_lab.runs.checkpoint import Checkpoint
from dl_lab.runs.logger import RunLogger
from dl_lab.schedules.schedules import Schedule
from dl_lab.training.intervals import Interval
from dl_lab.training.python_state import python_state
from dl_lab.training.tasks.task import Task
from dl_lab.training.tasks.totals import Totals, moved


@dataclass(frozen=True)
class Plan:
    """What stays the same throughout a run."""

    run: RunConfig
    data: Data
    task: Task
    schedule: Schedule
    device: torch.device
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    joins: bool = False  # whether a last batch of one example joins the one before it, see `batching.cut`

    @property
    def eval_batch_size(self) -> int:
        spec = self.data.spec
        positions = spec.input_shape[0] if spec.is_language else 1
        return self.run.train.eval_batch_of(self.batch_size, prod(spec.input_shape) + positions * spec.num_outputs)

    @property
    def seed(self) -> int:
        return self.run.settings.seed

    @cached_property
    def has_user_code(self) -> bool:
        """Whether a choice is not of dl_lab and may draw from the global generators, which its own choices never do."""
        run = self.run
        choices = (run.model, run.initializer, run.dropout, run.dataset, run.loss, run.schedule, run.optimizer)
        return any(not getattr(choice.entry.build, "__module__", "").startswith("dl_lab.") for choice in choices)

    def gathers(self, at_end: bool) -> bool:
        """Whether an evaluation keeps all outputs for the metrics that need them."""
        names = self.task.gathered_names
        return bool(names) if at_end else self.run.train.best in names

    def batches(self, start: int) -> Iterator[Batch]:
        """Training batches from step `start` on, without end."""
        return training_batches(self.data.train, self.seed, self.batch_size, self.device, start, self.joins)

    @property
    def validate_every(self) -> int:
        return self.run.train.steps_between_validations(self.steps_per_epoch)


@dataclass
class TrainState:
    """What changes during training.

    `forward` is the model in training mode, compiled or not. `dropout_key` is None for a model without dropout, and
    `norm_before_clipping`, the norm of the last step's gradient, is None where nothing is clipped. `window` holds the
    totals of every step since the last point of the training curves, on the device; `since_validation` holds those of
    every point since the last validation. `first_loss` is that of the batch of step 1. `best` and `last` are the
    metrics of validations. `together` is the size of the stack that the run was trained in, or None.
    """

    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    dropout_key: Tensor | None
    step: int = 0
    first_loss: float | None = None
    best: dict[str, float] | None = None
    last: dict[str, float] | None = None
    validations_since_best: int = 0
    window: list[list[Totals]] = field(default_factory=list)
    since_validation: list[dict[str, list[float]]] = field(default_factory=list)
    norm_before_clipping: Tensor | None = None
    together: int | None = None

    def python_state(self, plan: Plan) -> dict[str, str]:
        """What user code remembers in Python, as digests by name."""
        losses = {head.name: task.loss for head, task in zip(plan.task.heads, plan.task.head_tasks, strict=True)}
        return python_state(self.model, losses, self.optimizer)


@dataclass
class ActiveRun:
    """A run in training: its plan, its state, the writer of its run folder, and its progress bar.

    `finished` is set once its outcome is in summary.json. A stack divides its seconds among its `shared_by` members.
    `intervals` are those of the metrics of its test split, and `warnings` are what `diagnose` found.
    """

    plan: Plan
    state: TrainState
    logger: RunLogger
    progress: Progress
    started: float = field(default_factory=time.perf_counter)
    shared_by: int = 1
    finished: bool = False
    intervals: dict[str, Interval] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def epoch(self) -> float:
        return self.state.step / self.plan.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the start, divided among the members of a stack."""
        return (time.perf_counter() - self.started) / self.shared_by


def checkpoint_of(state: TrainState, plan: Plan) -> Checkpoint:
    """The contents of a checkpoint: plain dictionaries of tensors and numbers."""
    own: dict[str, Any] = {}
    if plan.has_user_code:
        saved = state.model.state_dict()
        own["buffers"] = {name: buffer for name, buffer in state.model.named_buffers() if name not in saved}
        own["attributes"] = state.python_state(plan)
    if plan.task.class_weights:
        own["class_weights"] = {head: weights.tolist() for head, weights in plan.task.class_weights.items()}
    return {
        **own,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "first_loss": state.first_loss,
        "best": state.best,
        "last": state.last,
        "validations_since_best": state.validations_since_best,
        "window": state.window,
        "since_validation": state.since_validation,
        "config": plan.run.as_dict,
        "data": plan.data.fingerprint,
        "preprocessing": plan.data.preprocessing and plan.data.preprocessing.as_dict(),
        "together": state.together,
    }


def restore(state: TrainState, plan: Plan, checkpoint: Checkpoint, folder: Path) -> None:
    """Put the state back to where the checkpoint of the run in `folder` was saved.

    Raises:
        ConfigError: if the run would end before the checkpoint, or its schedule depends on a length that has changed.
    """
    if checkpoint["step"] > plan.total_steps:
        raise ConfigError(
            f"{folder} is at step {checkpoint['step']}, behind the last of {counted(plan.total_steps, 'step')}; "
            f"allowed: train.steps or train.epochs that end at step {checkpoint['step']} or later"
        )
    refuse_other_rates(plan, checkpoint, folder)
    warn_of_python_state(plan, state, checkpoint, folder)
    measured = {*plan.task.training_names, plan.run.train.best, "step", "epoch"}  # older checkpoints have no others
    try:
        load_model(state.model, checkpoint)
        eager_optim.restore(state.optimizer, checkpoint["optimizer"])
        for name in ("step", "best", "validations_since_best", "since_validation"):
            setattr(state, name, checkpoint[name])
        for name in ("first_loss", "last", "together"):  # missing in older checkpoints
            setattr(state, name, checkpoint.get(name))
        state.window = [[moved(totals, plan.device) for totals in pieces] for pieces in checkpoint["window"]]
        if missing := [] if state.best is None else sorted(measured - state.best.keys()):
            raise KeyError(missing[0])
    except Exception as error:  # of many kinds
        raise unfit(folder, error) from error


def unfit(folder: Path, error: Exception) -> ConfigError:
    """The error for a checkpoint that is whole, but whose contents do not fit the run."""
    return ConfigError(
        f"{folder} has a checkpoint whose contents do not fit its run ({described(error)[:200]}); "
        f"hint: restore it, or start again with rerun={folder}"
    )


def load_model(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load parameters and buffers, also those that a user's model registers as not persistent."""
    model.load_state_dict(checkpoint["model"])
    for name, buffer in checkpoint.get("buffers", {}).items():
        model.get_buffer(name).copy_(buffer)


def warn_of_python_state(plan: Plan, state: TrainState, checkpoint: Checkpoint, folder: Path) -> None:
    """Name attributes that training has changed in Python, which a checkpoint does not hold."""
    saved: dict[str, str] = checkpoint.get("attributes", {})
    now = state.python_state(plan) if saved else {}
    changed = [name for name in saved.keys() | now.keys() if saved.get(name) != now.get(name)]
    if changed:
        print(
            printable(f"training changes {', '.join(sorted(changed))} in Python, which no checkpoint holds: ")
            + printable(f"what follows can differ from the run in {folder}; hint: register tensors as buffers"),
            file=sys.stderr,
        )


def refuse_other_rates(plan: Plan, checkpoint: Checkpoint, folder: Path) -> None:
    """Raise ConfigError if a run has been lengthened or shortened and its schedule would have given the steps that are
    done other learning rates.
    """
    lengths = {key: checkpoint["config"]["train"].get(key) for key in ("steps", "epochs")}
    before = replace(plan.run.train, **lengths).total_steps(plan.steps_per_epoch)
    if before == plan.total_steps:
        return
    schedule, name = plan.run.schedule, plan.run.schedule.entry.name
    old: Schedule = schedule.entry.build(schedule.config, before)
    changes = [abs(old(step) - plan.schedule(step)) for step in range(checkpoint["step"])]
    if any(changes):
        step = changes.index(max(changes))
        raise ConfigError(
            f"schedule={name} depends on the length: {counted(plan.total_steps, 'step')} instead of {before} would "
            f"have changed its factor at step {step} of {folder} from {old(step):.3g} to {plan.schedule(step):.3g}; "
            f"allowed: {counted(before, 'step')}; hint: start a new run"
        )
