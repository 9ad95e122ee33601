"""Adam and its variants, which average the gradient and its square."""

from typing import Annotated

from torch import optim

from dl_lab.core.schema import BelowOne, NonNegativeFloat, Pair, PositiveFloat, Schema
from dl_lab.optimizers.from_torch import register

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


ADAMW = "Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101)."
ADAMAX = "Adam with the infinity norm (Kingma & Ba 2015, arXiv:1412.6980, section 7.1)."

register("adam", AdamConfig, optim.Adam, "Adam (Kingma & Ba 2015, arXiv:1412.6980).", fused=True)
register("adamw", AdamConfig, optim.AdamW, ADAMW, fused=True)
register("nadam", NAdamConfig, optim.NAdam, "Adam with Nesterov momentum (Dozat 2016).", foreach=True)
register("radam", RAdamConfig, optim.RAdam, "Rectified Adam (Liu et al. 2019, arXiv:1908.03265).", foreach=True)
register("adamax", AdamaxConfig, optim.Adamax, ADAMAX, foreach=True)
