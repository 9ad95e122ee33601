"""Learning rate schedules.

A builder receives its configuration and the number of steps of the run. It returns a function from the step, counted
from 0, to the factor on the optimizer's lr.
"""

from collections.abc import Callable
from math import cos, pi
from typing import Annotated

from annotated_types import Interval

from dl_lab.core.errors import require
from dl_lab.core.schema import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Schema
from dl_lab.registry import SCHEDULES

Schedule = Callable[[int], float]

Decay = Annotated[float, Interval(gt=0, le=1), "a number above 0, at most 1"]


class ConstantConfig(Schema):
    """No parameters."""


@SCHEDULES.register("constant", ConstantConfig)
def constant(config: ConstantConfig, total_steps: int) -> Schedule:
    """A constant lr."""
    return lambda step: 1.0


class StepConfig(Schema):
    """The lr is multiplied by `gamma` every `step_size` steps."""

    step_size: PositiveInt
    gamma: Decay


@SCHEDULES.register("step", StepConfig)
def step(config: StepConfig, total_steps: int) -> Schedule:
    """gamma^floor(step / step_size), as in torch.optim.lr_scheduler.StepLR."""
    return lambda step: config.gamma ** (step // config.step_size)


class ExponentialConfig(Schema):
    """The lr is multiplied by `gamma` at every step."""

    gamma: Decay


@SCHEDULES.register("exponential", ExponentialConfig)
def exponential(config: ExponentialConfig, total_steps: int) -> Schedule:
    """gamma^step, as in torch.optim.lr_scheduler.ExponentialLR."""
    return lambda step: float(config.gamma**step)


class CosineConfig(Schema):
    """`final`: the factor on the lr at the end of the run."""

    final: Fraction


def _cosine(start: float, end: float, progress: float) -> float:
    """Interpolate from start to end along half a cosine; progress is from 0 to 1."""
    return end + (start - end) * (1 + cos(pi * progress)) / 2


@SCHEDULES.register("cosine", CosineConfig)
def cosine(config: CosineConfig, total_steps: int) -> Schedule:
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    return lambda step: _cosine(1.0, config.final, min(1.0, step / total_steps))


class WarmupCosineConfig(CosineConfig):
    """`warmup_steps`: the length of the linear warm-up before the cosine."""

    warmup_steps: NonNegativeInt


@SCHEDULES.register("warmup_cosine", WarmupCosineConfig)
def warmup_cosine(config: WarmupCosineConfig, total_steps: int) -> Schedule:
    """Linear warm-up, then half a cosine to `final` at the end of the run, as in nanoGPT.

    Raises:
        ConfigError: if the run is no longer than the warm-up.
    """
    warmup = config.warmup_steps
    require(warmup < total_steps, "schedule.warmup_steps", warmup, f"less than the run's {total_steps} steps")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return _cosine(1.0, config.final, min(1.0, (step - warmup) / (total_steps - warmup)))

    return factor


class OneCycleConfig(Schema):
    """The parameters of torch.optim.lr_scheduler.OneCycleLR; the optimizer's lr is its max_lr."""

    pct_start: Annotated[float, Interval(gt=0, lt=1), "a number between 0 and 1"]
    div_factor: PositiveFloat
    final_div_factor: PositiveFloat


@SCHEDULES.register("one_cycle", OneCycleConfig)
def one_cycle(config: OneCycleConfig, total_steps: int) -> Schedule:
    """Rise, then fall far below the start, along cosines (Smith & Topin 2017, arXiv:1708.07120); constant momentum."""
    initial = 1 / config.div_factor
    final = initial / config.final_div_factor
    peak, last = config.pct_start * total_steps - 1, total_steps - 1

    def factor(step: int) -> float:
        if step <= peak:
            return _cosine(initial, 1.0, step / peak if peak else 1.0)
        return _cosine(1.0, final, min(1.0, (step - peak) / (last - peak)))

    return factor


class InverseSquareRootConfig(Schema):
    """`warmup_steps`: the length of the linear warm-up before the decay."""

    warmup_steps: PositiveInt


@SCHEDULES.register("inverse_square_root", InverseSquareRootConfig)
def inverse_square_root(config: InverseSquareRootConfig, total_steps: int) -> Schedule:
    """min(t / w, sqrt(w / t)) with t = step + 1 (Vaswani et al. 2017, arXiv:1706.03762, eq. 3, with peak 1)."""
    warmup = config.warmup_steps
    return lambda step: float(min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5))
