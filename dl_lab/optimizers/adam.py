"""Adam and its relatives: first and second moments of the gradient."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from dl_lab.optimizers.ranges import check_ranges
from dl_lab.registry import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class AdamaxConfig:
    lr: float
    betas: list[float]
    eps: float
    weight_decay: float

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class AdamConfig(AdamaxConfig):
    amsgrad: bool


@dataclass(frozen=True, kw_only=True)
class RAdamConfig(AdamaxConfig):
    decoupled_weight_decay: bool


@dataclass(frozen=True, kw_only=True)
class NAdamConfig(RAdamConfig):
    momentum_decay: float


@OPTIMIZERS.register("adam", AdamConfig)
def adam(config: AdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Kingma & Ba 2015, arXiv:1412.6980."""
    return torch.optim.Adam(parameters, **asdict(config), fused=True)


@OPTIMIZERS.register("adamw", AdamConfig)
def adamw(config: AdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay: Loshchilov & Hutter 2019, arXiv:1711.05101."""
    return torch.optim.AdamW(parameters, **asdict(config), fused=True)


@OPTIMIZERS.register("nadam", NAdamConfig)
def nadam(config: NAdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with Nesterov momentum: Dozat 2016."""
    return torch.optim.NAdam(parameters, **asdict(config), foreach=True)


@OPTIMIZERS.register("radam", RAdamConfig)
def radam(config: RAdamConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Rectified Adam: Liu et al. 2019, arXiv:1908.03265."""
    return torch.optim.RAdam(parameters, **asdict(config), foreach=True)


@OPTIMIZERS.register("adamax", AdamaxConfig)
def adamax(config: AdamaxConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with the infinity norm: Kingma & Ba 2015, arXiv:1412.6980, section 7.1."""
    return torch.optim.Adamax(parameters, **asdict(config), foreach=True)
