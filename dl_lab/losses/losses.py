"""Loss functions.

A builder receives its configuration and the task of a head. It returns a function of (outputs, targets) that sums the
loss over all examples and tokens; if examples have weights (example,), of (outputs, targets, weights=...), which
multiply the loss of each. A number of the configuration is a tensor () in a stack whose members differ in it.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_lab.core.schema import BelowOne, NonNegativeFloat, PositiveFloat, Schema
from dl_lab.data.splits import PADDING
from dl_lab.nn import functional
from dl_lab.registry import LOSSES

Loss = Callable[..., Tensor]
OfClasses = list[NonNegativeFloat] | Literal["balanced"]


class PlainConfig(Schema):
    """No parameters."""


class ClassWeightsConfig(Schema):
    """A loss with this key also takes `class_weights` (class,), see training/class_weights."""

    class_weights: Annotated[
        OfClasses | dict[str, OfClasses] | None,
        "null, balanced, a list with a number of 0 or more for each class, or {HEAD: one of these}",
    ]


class CrossEntropyConfig(ClassWeightsConfig):
    """`label_smoothing`: the fraction of the target spread evenly over all classes (Szegedy et al. 2015)."""

    label_smoothing: BelowOne


class HuberConfig(Schema):
    """`delta`: the error at which the loss changes from quadratic to linear, in the (standardized) target unit."""

    delta: PositiveFloat


@LOSSES.register("cross_entropy", CrossEntropyConfig, tasks={"classification", "language_modelling"})
def cross_entropy(config: CrossEntropyConfig, task: str) -> Loss:
    """Cross-entropy in nats, for logits (example, class) and class numbers (example,)."""
    ignored = PADDING if task == "language_modelling" else None
    return partial(functional.cross_entropy, ignore_index=ignored, label_smoothing=config.label_smoothing)


@LOSSES.register("mse", PlainConfig, tasks={"regression"})
def mse(config: PlainConfig, task: str) -> Loss:
    """Squared error."""
    return partial(_summed, F.mse_loss)


@LOSSES.register("l1", PlainConfig, tasks={"regression"})
def l1(config: PlainConfig, task: str) -> Loss:
    """Absolute error."""
    return partial(_summed, F.l1_loss)


@LOSSES.register("huber", HuberConfig, tasks={"regression"})
def huber(config: HuberConfig, task: str) -> Loss:
    """Quadratic up to `delta`, linear above it (Huber 1964)."""
    delta: Any = config.delta
    return partial(_summed, partial(_huber if isinstance(delta, Tensor) else F.huber_loss, delta=delta))


def _summed(function: Any, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """A loss of torch for outputs and targets (example, target), summed; weights are (example,)."""
    if weights is None:
        total: Tensor = function(outputs, targets, reduction="sum")
        return total
    losses: Tensor = function(outputs, targets, reduction="none")
    return (losses * weights.to(losses.dtype)[:, None]).sum()


def _huber(outputs: Tensor, targets: Tensor, delta: Tensor, reduction: str) -> Tensor:
    """F.huber_loss for a tensor `delta` (); torch accepts only a number."""
    error, limit = (outputs - targets).abs(), delta.to(outputs.dtype)
    losses = torch.where(error <= limit, 0.5 * error * error, limit * (error - 0.5 * limit))
    return losses.sum() if reduction == "sum" else losses


@LOSSES.register("binary_cross_entropy", PlainConfig, tasks={"multilabel"})
def binary_cross_entropy(config: PlainConfig, task: str) -> Loss:
    """Binary cross-entropy in nats, for logits and targets of 0 and 1 (example, label)."""
    return partial(_summed, F.binary_cross_entropy_with_logits)


@LOSSES.register("auto", ClassWeightsConfig)
def auto(config: ClassWeightsConfig, task: str) -> Loss:
    """mse for a regression head, binary_cross_entropy for labels, cross_entropy for all others."""
    if task == "regression":
        return mse(PlainConfig(), task)
    if task == "multilabel":
        return binary_cross_entropy(PlainConfig(), task)
    return cross_entropy(CrossEntropyConfig(label_smoothing=0.0, class_weights=config.class_weights), task)
