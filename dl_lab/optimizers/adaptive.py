"""Optimizers that adapt the step size of each parameter and do not average the gradient."""

from collections.abc import Iterable
from dataclasses import asdict
from math import inf
from typing import Annotated

import torch
from annotated_types import Interval, Predicate
from torch import nn

from dl_lab.core.schema import BelowOne, Fraction, NonNegativeFloat, Pair, PositiveFloat, Schema
from dl_lab.registry import OPTIMIZERS


class AdagradConfig(Schema):
    lr: PositiveFloat
    lr_decay: NonNegativeFloat
    weight_decay: NonNegativeFloat
    initial_accumulator_value: NonNegativeFloat
    eps: PositiveFloat


@OPTIMIZERS.register("adagrad", AdagradConfig)
def adagrad(config: AdagradConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adagrad (Duchi et al. 2011, jmlr.org/papers/v12/duchi11a.html)."""
    return torch.optim.Adagrad(parameters, **asdict(config), foreach=True)


class RMSpropConfig(Schema):
    lr: PositiveFloat
    alpha: BelowOne
    eps: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: BelowOne
    centered: bool


@OPTIMIZERS.register("rmsprop", RMSpropConfig)
def rmsprop(config: RMSpropConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """RMSprop (Tieleman & Hinton 2012, lecture 6.5); `centered` (Graves 2013, arXiv:1308.0850)."""
    return torch.optim.RMSprop(parameters, **asdict(config), foreach=True)


class AdadeltaConfig(Schema):
    lr: PositiveFloat
    rho: Fraction
    eps: PositiveFloat
    weight_decay: NonNegativeFloat


@OPTIMIZERS.register("adadelta", AdadeltaConfig)
def adadelta(config: AdadeltaConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adadelta (Zeiler 2012, arXiv:1212.5701)."""
    return torch.optim.Adadelta(parameters, **asdict(config), foreach=True)


class RpropConfig(Schema):
    lr: PositiveFloat
    etas: Annotated[
        list[PositiveFloat],
        Pair,
        Predicate(lambda etas: etas[0] < 1 < etas[1]),
        "two numbers, 0 < first < 1 < second",
    ]
    step_sizes: Annotated[
        list[PositiveFloat],
        Pair,
        Predicate(lambda sizes: sizes[0] < sizes[1]),
        "two numbers, 0 < smallest < largest",
    ]


@OPTIMIZERS.register("rprop", RpropConfig)
def rprop(config: RpropConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Rprop, which uses the signs of full-batch gradients (Riedmiller & Braun 1993, doi:10.1109/ICNN.1993.298623)."""
    return torch.optim.Rprop(
        parameters,
        lr=config.lr,
        etas=(config.etas[0], config.etas[1]),
        step_sizes=(config.step_sizes[0], config.step_sizes[1]),
        foreach=True,
    )


class AdafactorConfig(Schema):
    """`eps`: the smallest mean square (null: the machine epsilon of the dtype), then the smallest parameter scale."""

    lr: PositiveFloat
    beta2_decay: Annotated[float, Interval(gt=-inf, le=0), "0 or a number below it"]
    eps: Annotated[
        list[NonNegativeFloat | None],
        Pair,
        Predicate(lambda eps: eps[1] is not None),
        "null or a number, then a number, 0 or above",
    ]
    d: Annotated[float, Interval(ge=1, lt=inf), "a number, 1 or above"]
    weight_decay: NonNegativeFloat


@OPTIMIZERS.register("adafactor", AdafactorConfig)
def adafactor(config: AdafactorConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adafactor, which keeps second moments by row and by column (Shazeer & Stern 2018, arXiv:1804.04235)."""
    first, second = config.eps
    assert second is not None
    return torch.optim.Adafactor(
        parameters,
        lr=config.lr,
        beta2_decay=config.beta2_decay,
        eps=(first, second),
        d=config.d,
        weight_decay=config.weight_decay,
    )
