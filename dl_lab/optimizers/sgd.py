"""Stochastic gradient descent, plain, with momentum, and averaged."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from dl_lab.core.errors import BELOW_ONE, NOT_NEGATIVE, check, require
from dl_lab.optimizers.ranges import check_ranges
from dl_lab.registry import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class SGDConfig:
    lr: float
    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool

    def __post_init__(self) -> None:
        check_ranges(self)
        check("optimizer", self, {"dampening": BELOW_ONE})
        plain = not self.nesterov or (self.momentum > 0 and self.dampening == 0)
        require(plain, "optimizer.nesterov", self.nesterov, "true only with momentum above 0 and dampening 0")


@OPTIMIZERS.register("sgd", SGDConfig)
def sgd(config: SGDConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Robbins & Monro 1951; momentum: Polyak 1964; Nesterov's: Sutskever et al. 2013."""
    return torch.optim.SGD(parameters, **asdict(config), fused=True)


@dataclass(frozen=True, kw_only=True)
class ASGDConfig:
    lr: float
    lambd: float
    alpha: float
    t0: float
    weight_decay: float

    def __post_init__(self) -> None:
        check_ranges(self)
        check("optimizer", self, {"lambd": NOT_NEGATIVE, "alpha": NOT_NEGATIVE, "t0": NOT_NEGATIVE})


@OPTIMIZERS.register("asgd", ASGDConfig)
def asgd(config: ASGDConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Averaged SGD: Polyak & Juditsky 1992, doi:10.1137/0330046."""
    return torch.optim.ASGD(parameters, **asdict(config), foreach=True)
