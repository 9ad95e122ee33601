"""The learning rate over a run.

A builder takes its configuration and the number of steps of the run, and gives the factor on the optimizer's lr as a
function of the step, counted from 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

from dl_lab.core.errors import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, Rule, check, require
from dl_lab.registry import SCHEDULES

Schedule = Callable[[int], float]

DECAY: Rule = (lambda value: 0 < value <= 1, "a number above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class ConstantConfig:
    """Nothing to set."""


@SCHEDULES.register("constant", ConstantConfig)
def constant(config: ConstantConfig, total_steps: int) -> Schedule:
    """The same lr throughout."""
    return lambda step: 1.0


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """`gamma` is multiplied in after every `step_size` steps."""

    step_size: int
    gamma: float

    def __post_init__(self) -> None:
        check("schedule", self, {"step_size": COUNT, "gamma": DECAY})


@SCHEDULES.register("step", StepConfig)
def step(config: StepConfig, total_steps: int) -> Schedule:
    """gamma^floor(step / step_size), as torch.optim.lr_scheduler.StepLR."""
    return lambda step: config.gamma ** (step // config.step_size)


@dataclass(frozen=True, kw_only=True)
class ExponentialConfig:
    """`gamma` is multiplied in at every step."""

    gamma: float

    def __post_init__(self) -> None:
        check("schedule", self, {"gamma": DECAY})


@SCHEDULES.register("exponential", ExponentialConfig)
def exponential(config: ExponentialConfig, total_steps: int) -> Schedule:
    """gamma^step, as torch.optim.lr_scheduler.ExponentialLR."""
    return lambda step: float(config.gamma**step)


@dataclass(frozen=True, kw_only=True)
class CosineConfig:
    """`final`: the factor at the end of the run."""

    final: float

    def __post_init__(self) -> None:
        check("schedule", self, {"final": FRACTION})


def _cosine(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine, as progress goes from 0 to 1."""
    return end + (start - end) * (1 + cos(pi * progress)) / 2


@SCHEDULES.register("cosine", CosineConfig)
def cosine(config: CosineConfig, total_steps: int) -> Schedule:
    """Half a cosine from 1 to `final`: Loshchilov & Hutter 2017, arXiv:1608.03983."""
    return lambda step: _cosine(1.0, config.final, min(1.0, step / total_steps))


@dataclass(frozen=True, kw_only=True)
class WarmupCosineConfig(CosineConfig):
    """Linear over `warmup_steps`, then the cosine."""

    warmup_steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check("schedule", self, {"warmup_steps": NOT_NEGATIVE})


@SCHEDULES.register("warmup_cosine", WarmupCosineConfig)
def warmup_cosine(config: WarmupCosineConfig, total_steps: int) -> Schedule:
    """Linear warm-up, then half a cosine to `final` at the end of the run, as nanoGPT has it.

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


@dataclass(frozen=True, kw_only=True)
class OneCycleConfig:
    """torch.optim.lr_scheduler.OneCycleLR's parameters; the optimizer's lr is its max_lr."""

    pct_start: float
    div_factor: float
    final_div_factor: float

    def __post_init__(self) -> None:
        rising: Rule = (lambda value: 0 < value < 1, "a number between 0 and 1")
        check("schedule", self, {"pct_start": rising, "div_factor": POSITIVE, "final_div_factor": POSITIVE})


@SCHEDULES.register("one_cycle", OneCycleConfig)
def one_cycle(config: OneCycleConfig, total_steps: int) -> Schedule:
    """Up, then far down, along cosines: Smith & Topin 2017, arXiv:1708.07120. Momentum stays as it is."""
    initial = 1 / config.div_factor
    final = initial / config.final_div_factor
    peak, last = config.pct_start * total_steps - 1, total_steps - 1

    def factor(step: int) -> float:
        if step <= peak:
            return _cosine(initial, 1.0, step / peak if peak else 1.0)
        return _cosine(1.0, final, min(1.0, (step - peak) / (last - peak)))

    return factor


@dataclass(frozen=True, kw_only=True)
class InverseSquareRootConfig:
    """Linear over `warmup_steps`, then falling as one over the square root of the step."""

    warmup_steps: int

    def __post_init__(self) -> None:
        check("schedule", self, {"warmup_steps": COUNT})


@SCHEDULES.register("inverse_square_root", InverseSquareRootConfig)
def inverse_square_root(config: InverseSquareRootConfig, total_steps: int) -> Schedule:
    """min(t / w, sqrt(w / t)) with t = step + 1: Vaswani et al. 2017, arXiv:1706.03762, eq. 3, with peak 1."""
    warmup = config.warmup_steps
    return lambda step: float(min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5))
