"""What training makes small.

A builder takes its configuration and the task of a head, and gives a function of (outputs, targets): the loss summed
over everything that counts. In a stack of runs that differ in a number of it, that number is a tensor ().
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_lab.core.errors import BELOW_ONE, POSITIVE, check
from dl_lab.data.splits import PADDING
from dl_lab.nn import functional
from dl_lab.registry import LOSSES

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """Nothing to set."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropyConfig:
    """`label_smoothing`: the share of the target that is spread over all classes (Szegedy et al. 2015)."""

    label_smoothing: float

    def __post_init__(self) -> None:
        check("loss", self, {"label_smoothing": BELOW_ONE})


@dataclass(frozen=True, kw_only=True)
class HuberConfig:
    """`delta`: where quadratic becomes linear, in the (standardised) unit of the target."""

    delta: float

    def __post_init__(self) -> None:
        check("loss", self, {"delta": POSITIVE})


@LOSSES.register("cross_entropy", CrossEntropyConfig, tasks={"classification", "language_modelling"})
def cross_entropy(config: CrossEntropyConfig, task: str) -> Loss:
    """Minus the log-probability of the class, in nats; logits (example, class), classes (example,)."""
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
    """Quadratic up to delta, linear beyond (Huber 1964)."""
    delta: object = config.delta
    if isinstance(delta, Tensor):
        return partial(_huber, delta=delta)
    return partial(F.huber_loss, reduction="sum", delta=config.delta)


def _huber(outputs: Tensor, targets: Tensor, delta: Tensor) -> Tensor:
    """F.huber_loss with a tensor for its delta, which it takes as a number alone."""
    error, limit = (outputs - targets).abs(), delta.to(outputs.dtype)
    return torch.where(error <= limit, 0.5 * error * error, limit * (error - 0.5 * limit)).sum()


@LOSSES.register("auto", PlainConfig)
def auto(config: PlainConfig, task: str) -> Loss:
    """mse for a regression head, cross_entropy for any other."""
    if task == "regression":
        return mse(config, task)
    return cross_entropy(CrossEntropyConfig(label_smoothing=0.0), task)
