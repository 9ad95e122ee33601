"""Loss functions.

A builder receives its configuration and the task of a head. It returns a function of (outputs, targets) that sums the
loss over all examples and tokens. A number of the configuration is a tensor () in a stack whose members differ in it.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_lab.core.schema import BelowOne, PositiveFloat, Schema
from dl_lab.data.splits import PADDING
from dl_lab.nn import functional
from dl_lab.registry import LOSSES

Loss = Callable[[Tensor, Tensor], Tensor]


class PlainConfig(Schema):
    """No parameters."""


class CrossEntropyConfig(Schema):
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
    return partial(F.mse_loss, reduction="sum")


@LOSSES.register("l1", PlainConfig, tasks={"regression"})
def l1(config: PlainConfig, task: str) -> Loss:
    """Absolute error."""
    return partial(F.l1_loss, reduction="sum")


@LOSSES.register("huber", HuberConfig, tasks={"regression"})
def huber(config: HuberConfig, task: str) -> Loss:
    """Quadratic up to `delta`, linear above it (Huber 1964)."""
    delta: object = config.delta
    if isinstance(delta, Tensor):
        return partial(_huber, delta=delta)
    return partial(F.huber_loss, reduction="sum", delta=config.delta)


def _huber(outputs: Tensor, targets: Tensor, delta: Tensor) -> Tensor:
    """F.huber_loss for a tensor `delta` (); torch accepts only a number."""
    error, limit = (outputs - targets).abs(), delta.to(outputs.dtype)
    return torch.where(error <= limit, 0.5 * error * error, limit * (error - 0.5 * limit)).sum()


@LOSSES.register("auto", PlainConfig)
def auto(config: PlainConfig, task: str) -> Loss:
    """mse for a regression head, cross_entropy for all others."""
    if task == "regression":
        return mse(config, task)
    return cross_entropy(CrossEntropyConfig(label_smoothing=0.0), task)
