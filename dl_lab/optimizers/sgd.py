"""Stochastic gradient descent: plain, with momentum, and averaged."""

from typing import Any

from torch import Tensor, optim

from dl_lab.core import eager_optim
from dl_lab.core.errors import require
from dl_lab.core.schema import BelowOne, NonNegativeFloat, PositiveFloat, Schema
from dl_lab.optimizers.from_torch import register


class SGDConfig(Schema):
    lr: PositiveFloat
    momentum: BelowOne
    dampening: BelowOne
    weight_decay: NonNegativeFloat
    nesterov: bool

    def __post_init__(self) -> None:
        is_valid = not self.nesterov or (self.momentum > 0 and self.dampening == 0)
        require(is_valid, "optimizer.nesterov", self.nesterov, "true only with momentum above 0 and dampening 0")


class ASGDConfig(Schema):
    lr: PositiveFloat
    lambd: NonNegativeFloat
    alpha: NonNegativeFloat
    t0: NonNegativeFloat
    weight_decay: NonNegativeFloat


class ASGD(optim.ASGD):
    """torch.optim.ASGD. `rate` is that of the last step: torch computes it one step in advance, from the lr of then."""

    rate: Tensor | None = None

    def step(self, closure: Any = None) -> Any:
        state = self.state.get(self.param_groups[0]["params"][0])
        self.rate = state["eta"].clone() if state else None
        return eager_optim.step(self, closure, optim.ASGD)


SGD = "SGD (Robbins & Monro 1951) with momentum (Polyak 1964) or Nesterov momentum (Sutskever et al. 2013)."

register("sgd", SGDConfig, optim.SGD, SGD, fused=True)
register("asgd", ASGDConfig, ASGD, "Averaged SGD (Polyak & Juditsky 1992, doi:10.1137/0330046).", foreach=True)
