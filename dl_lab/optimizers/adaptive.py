"""Optimizers that adapt the step size of each parameter and do not average the gradient."""

from math import inf
from typing import Annotated

from annotated_types import Interval, Predicate
from torch import optim

from dl_lab.core.schema import BelowOne, Fraction, NonNegativeFloat, Pair, PositiveFloat, Schema
from dl_lab.optimizers.from_torch import register


class AdagradConfig(Schema):
    lr: PositiveFloat
    lr_decay: NonNegativeFloat
    weight_decay: NonNegativeFloat
    initial_accumulator_value: NonNegativeFloat
    eps: PositiveFloat


ADAGRAD = "Adagrad (Duchi et al. 2011, jmlr.org/papers/v12/duchi11a.html)."
register("adagrad", AdagradConfig, optim.Adagrad, ADAGRAD, foreach=True)


class RMSpropConfig(Schema):
    lr: PositiveFloat
    alpha: BelowOne
    eps: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: BelowOne
    centered: bool


RMSPROP = "RMSprop (Tieleman & Hinton 2012, lecture 6.5); `centered` (Graves 2013, arXiv:1308.0850)."
register("rmsprop", RMSpropConfig, optim.RMSprop, RMSPROP, foreach=True)


class AdadeltaConfig(Schema):
    lr: PositiveFloat
    rho: Fraction
    eps: PositiveFloat
    weight_decay: NonNegativeFloat


register("adadelta", AdadeltaConfig, optim.Adadelta, "Adadelta (Zeiler 2012, arXiv:1212.5701).", foreach=True)


class RpropConfig(Schema):
    lr: PositiveFloat
    etas: Annotated[
        list[PositiveFloat], Pair, Predicate(lambda etas: etas[0] < 1 < etas[1]), "two numbers, 0 < first < 1 < second"
    ]
    step_sizes: Annotated[
        list[PositiveFloat], Pair, Predicate(lambda sizes: sizes[0] < sizes[1]), "two numbers, 0 < smallest < largest"
    ]


RPROP = "Rprop, which uses the signs of full-batch gradients (Riedmiller & Braun 1993, doi:10.1109/ICNN.1993.298623)."
register("rprop", RpropConfig, optim.Rprop, RPROP, foreach=True)


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


ADAFACTOR = "Adafactor, which keeps second moments by row and by column (Shazeer & Stern 2018, arXiv:1804.04235)."
register("adafactor", AdafactorConfig, optim.Adafactor, ADAFACTOR)
