"""Stochastic gradient descent: plain, with momentum, and averaged."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab.core import eager_optim
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


class ASGD(torch.optim.ASGD):
    """torch.optim.ASGD. `rate` is that of the last step: torch computes it one step in advance, from the lr of then."""

    rate: Tensor | None = None

    def step(self, closure: Any = None) -> Any:
        state = self.state.get(self.param_groups[0]["params"][0])
        self.rate = state["eta"].clone() if state else None
        return eager_optim.step(self, closure, torch.optim.ASGD)


@OPTIMIZERS.register("asgd", ASGDConfig)
def asgd(config: ASGDConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Averaged SGD (Polyak & Juditsky 1992, doi:10.1137/0330046)."""
    return ASGD(parameters, **asdict(config), foreach=True)
