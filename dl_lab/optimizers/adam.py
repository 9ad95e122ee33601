"""Adam and its variants, which average the gradient and its square."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import torch
from torch import nn

from dl_lab.core.schema import BelowOne, NonNegativeFloat, Pair, PositiveFloat, Schema
from dl_lab.registry import OPTIMIZERS

Betas = Annotated[list[BelowOne], Pair, "two numbers from 0 up to, but not including, 1"]


class AdamaxConfig(Schema):
    lr: PositiveFloat
    betas: Betas
    eps: PositiveFloat
    weight_decay: NonNegativeFloat


class AdamConfig(AdamaxConfig):
    amsgrad: bool


class RAdamConfig(AdamaxConfig):
    decoupled_weight_decay: bool


class NAdamConfig(RAdamConfig):
    momentum_decay: NonNegativeFloat


@OPTIMIZERS.register("adam", AdamConfig)
def adam(config: AdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980)."""
    return torch.optim.Adam(parameters, **asdict(config), fused=True)


@OPTIMIZERS.register("adamw", AdamConfig)
def adamw(config: AdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    return torch.optim.AdamW(parameters, **asdict(config), fused=True)


@OPTIMIZERS.register("nadam", NAdamConfig)
def nadam(config: NAdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with Nesterov momentum (Dozat 2016)."""
    return torch.optim.NAdam(parameters, **asdict(config), foreach=True)


@OPTIMIZERS.register("radam", RAdamConfig)
def radam(config: RAdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Rectified Adam (Liu et al. 2019, arXiv:1908.03265)."""
    return torch.optim.RAdam(parameters, **asdict(config), foreach=True)


@OPTIMIZERS.register("adamax", AdamaxConfig)
def adamax(config: AdamaxConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with the infinity norm (Kingma & Ba 2015, arXiv:1412.6980, section 7.1)."""
    return torch.optim.Adamax(parameters, **asdict(config), foreach=True)
