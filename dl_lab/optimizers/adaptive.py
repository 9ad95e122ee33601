"""Step sizes that adapt to each parameter without a first moment."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from dl_lab.core.errors import BELOW_ONE, POSITIVE, check, require
from dl_lab.optimizers.ranges import check_ranges
from dl_lab.registry import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class AdagradConfig:
    lr: float
    lr_decay: float
    weight_decay: float
    initial_accumulator_value: float
    eps: float

    def __post_init__(self) -> None:
        check_ranges(self)


@OPTIMIZERS.register("adagrad", AdagradConfig)
def adagrad(config: AdagradConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Duchi et al. 2011, jmlr.org/papers/v12/duchi11a.html."""
    return torch.optim.Adagrad(parameters, **asdict(config), foreach=True)


@dataclass(frozen=True, kw_only=True)
class RMSpropConfig:
    lr: float
    alpha: float
    eps: float
    weight_decay: float
    momentum: float
    centered: bool

    def __post_init__(self) -> None:
        check_ranges(self)
        check("optimizer", self, {"alpha": BELOW_ONE})


@OPTIMIZERS.register("rmsprop", RMSpropConfig)
def rmsprop(config: RMSpropConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Tieleman & Hinton 2012, lecture 6.5; centered: Graves 2013, arXiv:1308.0850."""
    return torch.optim.RMSprop(parameters, **asdict(config), foreach=True)


@dataclass(frozen=True, kw_only=True)
class AdadeltaConfig:
    lr: float
    rho: float
    eps: float
    weight_decay: float

    def __post_init__(self) -> None:
        check_ranges(self)


@OPTIMIZERS.register("adadelta", AdadeltaConfig)
def adadelta(config: AdadeltaConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Zeiler 2012, arXiv:1212.5701."""
    return torch.optim.Adadelta(parameters, **asdict(config), foreach=True)


@dataclass(frozen=True, kw_only=True)
class RpropConfig:
    lr: float
    etas: list[float]
    step_sizes: list[float]

    def __post_init__(self) -> None:
        check_ranges(self)
        etas_fit = len(self.etas) == 2 and 0 < self.etas[0] < 1 < self.etas[1]
        require(etas_fit, "optimizer.etas", self.etas, "two numbers, 0 < first < 1 < second")
        sizes_fit = len(self.step_sizes) == 2 and 0 < self.step_sizes[0] < self.step_sizes[1]
        require(sizes_fit, "optimizer.step_sizes", self.step_sizes, "two numbers, 0 < smallest < largest")


@OPTIMIZERS.register("rprop", RpropConfig)
def rprop(config: RpropConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Signs of full-batch gradients: Riedmiller & Braun 1993, doi:10.1109/ICNN.1993.298623."""
    return torch.optim.Rprop(
        parameters,
        lr=config.lr,
        etas=(config.etas[0], config.etas[1]),
        step_sizes=(config.step_sizes[0], config.step_sizes[1]),
        foreach=True,
    )


@dataclass(frozen=True, kw_only=True)
class AdafactorConfig:
    """`eps`: null for the smallest step of the dtype, then the smallest scale of a parameter, as torch has it."""

    lr: float
    beta2_decay: float
    eps: list[float | None]
    d: float
    weight_decay: float

    def __post_init__(self) -> None:
        require(self.beta2_decay <= 0, "optimizer.beta2_decay", self.beta2_decay, "0 or a number below it")
        eps_fit = len(self.eps) == 2 and self.eps[1] is not None and all(eps is None or eps >= 0 for eps in self.eps)
        require(eps_fit, "optimizer.eps", self.eps, "null or a number, then a number, 0 or above")
        check("optimizer", self, {"d": (lambda d: d >= 1, "a number, 1 or above"), "lr": POSITIVE})
        require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or a number above it")


@OPTIMIZERS.register("adafactor", AdafactorConfig)
def adafactor(config: AdafactorConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Second moments by row and column: Shazeer & Stern 2018, arXiv:1804.04235."""
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
