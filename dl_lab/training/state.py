"""What a run is: the Plan, which stays the same, and the TrainState, which changes and is saved."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab.config.schema import RunConfig
from dl_lab.core import eager_optim
from dl_lab.data.dataset import Data
from dl_lab.schedules.schedules import Schedule
from dl_lab.training.tasks import Task, Totals, moved


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
    data_fingerprint: str | None = None  # of the user's own file or folder

    @property
    def eval_batch_size(self) -> int:
        spec = self.data.spec
        positions = spec.input_shape[0] if spec.kind == "tokens" else 1
        return self.run.train.eval_batch_of(self.batch_size, prod(spec.input_shape) + positions * spec.num_outputs)

    @property
    def seed(self) -> int:
        return self.run.settings.seed

    @property
    def validate_every(self) -> int:
        return self.run.train.steps_between_validations(self.steps_per_epoch)


@dataclass
class TrainState:
    """What changes. `forward` is the model in training, compiled or not; `dropout_key` is None for a model without
    dropout, `norm_before_clipping` (of the last step's gradient) where nothing is clipped. `window`: the totals of each
    step since the last point of the curves, on the device; `since_validation`: those of each point since a validation;
    `last`: the metrics of the last one; `together`: how many runs were in the stack that it trained in, if it did.
    """

    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    dropout_key: Tensor | None
    step: int = 0
    best: dict[str, float] | None = None
    last: dict[str, float] | None = None
    validations_since_best: int = 0
    window: list[list[Totals]] = field(default_factory=list)
    since_validation: list[dict[str, list[float]]] = field(default_factory=list)
    norm_before_clipping: Tensor | None = None
    together: int | None = None


def contents_of(state: TrainState, plan: Plan) -> dict[str, Any]:
    """A checkpoint: plain dictionaries of tensors and numbers."""
    return {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best": state.best,
        "last": state.last,
        "validations_since_best": state.validations_since_best,
        "window": state.window,
        "since_validation": state.since_validation,
        "config": plan.run.as_dict,
        "data": plan.data_fingerprint,
        "together": state.together,
    }


def restore(state: TrainState, saved: dict[str, Any], device: torch.device) -> None:
    """Put the state where a checkpoint left it."""
    state.model.load_state_dict(saved["model"])
    eager_optim.restore(state.optimizer, saved["optimizer"])
    for name in ("step", "best", "validations_since_best", "since_validation"):
        setattr(state, name, saved[name])
    for name in ("last", "together"):  # a checkpoint from before they were kept has none
        setattr(state, name, saved.get(name))
    state.window = [[moved(totals, device) for totals in pieces] for pieces in saved["window"]]
