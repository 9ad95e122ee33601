"""Stochastic gradient descent: plain, with momentum, and averaged."""

from collections.abc import Iterable
from dataclasses import asdict

import torch
from torch import nn

from dl_lab.core.errors import require
from dl_lab.core.schema import BelowOne, NonNegativeFloat, PositiveFloat, Schema
from dl_lab.registry import OPTIMIZERS


class SGDConfig(Schema):
    lr: PositiveFloat
    momentum: BelowOne
    dampening: BelowOne
    weight_decay: NonNegativeFloat
    nesterov: bool

    def __post_init__(self) -> None:
        is_valid = not self.nesterov or (self.momentum > 0 and self.dampening == 0)
        require(is_valid, "optimizer.nesterov", self.nesterov, "true only with momentum above 0 and dampening 0")


@OPTIMIZERS.register("sgd", SGDConfig)
def sgd(config: SGDConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD (Robbins & Monro 1951) with momentum (Polyak 1964) or Nesterov momentum (Sutskever et al. 2013)."""
    return torch.optim.SGD(parameters, **asdict(config), fused=True)


class ASGDConfig(Schema):
    lr: PositiveFloat
    lambd: NonNegativeFloat
    alpha: NonNegativeFloat
    t0: NonNegativeFloat
    weight_decay: NonNegativeFloat


@OPTIMIZERS.register("asgd", ASGDConfig)
def asgd(config: ASGDConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Averaged SGD (Polyak & Juditsky 1992, doi:10.1137/0330046)."""
    return torch.optim.ASGD(parameters, **asdict(config), foreach=True)
