"""Stacked optimizers: each run of a stack gets the weights and the state that torch's own optimizer gives it alone."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import prod
from typing import Any

import pytest
import torch
from support.configs import parsed
from torch import Tensor, nn

from dl_lab.config.schema import Choice, RunConfig
from dl_lab.core import eager_optim
from dl_lab.registry import OPTIMIZERS
from dl_lab.training.loop import learning_rate
from dl_lab.training.setup import build_optimizer
from dl_lab.vectorized.optimizers import StackedOptimizer, must_be_equal
from dl_lab.vectorized.optimizers.stack import RULES

RUNS, STEPS = 4, 100
SHAPES = [torch.Size(shape) for shape in [(6, 4), (6,), (5, 3, 2, 2), (5,), (3, 7), (1,), ()]]
NAMED = [(f"weight{number}", shape) for number, shape in enumerate(SHAPES)]
SIZE = sum(prod(shape) for shape in SHAPES)

# Values of each run, where scaling what the YAML has would leave the range or show nothing.
VALUES: dict[str, list[Any]] = {
    "momentum": [0.0, 0.9, 0.5, 0.99],
    "dampening": [0.4, 0.0, 0.3, 0.1],
    "weight_decay": [0.0, 0.3, 0.01, 0.1],
    "etas": [[0.5, 1.2], [0.3, 1.5], [0.7, 3.0], [0.9, 1.01]],
    "step_sizes": [[1e-6, 50.0], [1e-3, 0.02], [1e-2, 0.011], [1e-6, 0.1]],
    "t0": [1e6, 5.0, 50.0, 0.0],
    "asgd.lr": [0.01, 0.5, 0.2, 0.1],  # so large that its fall shows in float32
    "asgd.alpha": [0.75, 0.6, 0.9, 0.3],
    "lambd": [1e-4, 0.1, 0.02, 1e-2],
    "adafactor.lr": [0.01, 0.5, 0.2, 2.0],  # 1 / sqrt(step) is the most that it takes
    "d": [1.0, 1.1, 1.5, 3.0],
    "adafactor.eps": [[None, 1e-3], [1e-3, 0.1], [0.3, 1e-3], [1e-10, 2.0]],
    "ns_coefficients": [[3.4445, -4.775, 2.0315]] * RUNS,
}
FLAGS: dict[str, list[Any]] = {"adjust_lr_fn": [None, "original", "match_rms_adamw"], "ns_steps": [5, 2]}
NESTEROV = {"momentum": [0.2, 0.9, 0.5, 0.99], "dampening": [0.0] * RUNS}


@dataclass(frozen=True)
class Case:
    """An optimizer, with flags changed from its YAML."""

    name: str
    flags: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{flag}={value}" for flag, value in self.flags)])

    def configs(self) -> list[Any]:
        """A configuration for each run, no two with a number in common where it may differ."""
        config = run_of(self.name).optimizer.config
        values = {field: values_of(self.name, field, value) for field, value in asdict(config).items()}
        values |= {flag: [value] * RUNS for flag, value in self.flags}
        if self.name == "sgd" and values["nesterov"][0]:
            values |= NESTEROV
        return [replace(config, **{field: given[run] for field, given in values.items()}) for run in range(RUNS)]


@cache
def run_of(name: str, decay_biases: bool = True) -> RunConfig:
    """A run with an optimizer as in its YAML."""
    return parsed(f"optimizer={name}", f"train.decay_biases={decay_biases}")


def values_of(name: str, field: str, value: Any) -> list[Any]:
    for key in (f"{name}.{field}", field):
        if key in VALUES:
            return VALUES[key]
    return [other(value, run) for run in range(RUNS)]


def other(value: Any, run: int) -> Any:
    """The YAML's number, made smaller; or larger, if it is 0."""
    if isinstance(value, list):
        return [other(part, run) for part in value]
    return (value * (1 - 0.1 * run) or 0.02 * run) if isinstance(value, float) else value


def stacks(name: str) -> bool:
    return must_be_equal(name, run_of(name).optimizer.config) is not None


def cases() -> Iterator[Case]:
    """Every optimizer that stacks as in its YAML, and with each flag the other way."""
    for name in filter(stacks, OPTIMIZERS.names()):
        yield Case(name)
        for field, value in asdict(run_of(name).optimizer.config).items():
            options = [False, True] if isinstance(value, bool) else FLAGS.get(field, [])
            yield from (Case(name, ((field, option),)) for option in options if option != value)


CASES = list(cases())
NO_DECAY_TO_SPARE = ("muon", "rprop", "asgd")  # refused or alone with decay_biases=false
WITH_DECAY = [case for case in CASES if case.name not in NO_DECAY_TO_SPARE]
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)


class Solo:
    """A run alone, with the optimizer that dl_lab builds for it."""

    def __init__(self, name: str, config: Any, weights: Tensor, decay_biases: bool = True):
        self.model = nn.Module()
        parts = weights.clone().split([prod(shape) for shape in SHAPES])
        for (parameter, shape), part in zip(NAMED, parts, strict=True):
            self.model.register_parameter(parameter, nn.Parameter(part.view(shape).clone()))
        run = run_of(name, decay_biases)
        self.optimizer = build_optimizer(replace(run, optimizer=Choice(run.optimizer.entry, config)), self.model)

    def step(self, gradient: Tensor, factor: float) -> None:
        parts = gradient.split([prod(shape) for shape in SHAPES])
        for parameter, part in zip(self.model.parameters(), parts, strict=True):
            parameter.grad = part.view(parameter.shape).clone()
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        eager_optim.step(self.optimizer)

    @property
    def weights(self) -> Tensor:
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.model.parameters()])


class Problem:
    """Weights to start from (run, P), and for every step gradients (run, P) and factors on the lr (run,).

    Gradients do not follow from the weights: what rounding does in one step is not fed to the next, and the bfloat16
    in muon, where a last bit may become 0.4 %, sees the same numbers in a stack as alone. Some are always 0.
    """

    def __init__(self, dtype: torch.dtype):
        draw = torch.Generator().manual_seed(5)
        self.start = torch.randn(RUNS, SIZE, generator=draw, dtype=torch.float64).to(dtype)
        trend = torch.randn(RUNS, SIZE, generator=draw, dtype=torch.float64)
        noise = torch.randn(STEPS, RUNS, SIZE, generator=draw, dtype=torch.float64)
        self.gradients = (trend + noise).mul_((torch.arange(SIZE) % 9 > 0).double()).to(dtype)
        falling = torch.linspace(1.0, 0.0, STEPS, dtype=torch.float64)
        self.factors = torch.stack([falling, 1 - 0.5 * falling, torch.ones_like(falling), falling.square()], dim=1)


def stacked(case: Case, dtype: torch.dtype, decay_biases: bool = True) -> StackedOptimizer:
    return StackedOptimizer(case.name, case.configs(), NAMED, "cpu", dtype, decay_biases)


def alone(case: Case, problem: Problem, decay_biases: bool = True) -> list[Solo]:
    return [
        Solo(case.name, config, start, decay_biases)
        for config, start in zip(case.configs(), problem.start, strict=True)
    ]


def together(solos: list[Solo]) -> Tensor:
    return torch.stack([solo.weights for solo in solos])


def advance(optimizer: StackedOptimizer, flat: Tensor, solos: list[Solo], problem: Problem, steps: range) -> None:
    """The same steps by both, of all runs."""
    for step in steps:
        gradient, factors = problem.gradients[step], problem.factors[step]
        untouched = gradient.clone()
        optimizer.step(flat, gradient, factors)
        assert torch.equal(gradient, untouched)
        for run, solo in enumerate(solos):
            solo.step(gradient[run], float(factors[run]))


def tolerance(case: Case, dtype: torch.dtype) -> float:
    """Of weights, relative to the largest of them, after a hundred steps that round in another order than torch's.

    In float32 the last bit is 1.2e-7; in float64 1e-12 leaves the three digits that 1 - 0.999 ** step loses. Centered
    rmsprop subtracts two means that may be nearly equal. In muon's bfloat16 the last bit is 0.8 %, and in float32
    stacked matrices may differ from those alone by it, once in thousands.
    """
    if dtype == torch.float32 and case.name == "muon":
        return 1e-4
    return (1e-6 if dtype == torch.float32 else 1e-12) * (10 if ("centered", True) in case.flags else 1)


def assert_same(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.stride() == theirs.stride()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(1e-6, float(theirs.abs().max())))


def assert_same_state(ours: Any, theirs: Any, tolerance: float) -> None:
    """Of two optimizers, what they save; in tensors of sums that cancel a digit more is lost than in weights."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same_state(ours[key], theirs[key], tolerance)
    elif isinstance(theirs, Tensor):
        assert_same(ours, theirs, 10 * tolerance)
    else:
        assert ours == theirs


@PRECISIONS
@EVERY_CASE
def test_each_run_ends_where_it_ends_alone(case, dtype):
    problem = Problem(dtype)
    optimizer, flat, solos = stacked(case, dtype), problem.start.clone(), alone(case, problem)
    advance(optimizer, flat, solos, problem, range(STEPS))
    assert_same(flat, together(solos), tolerance(case, dtype))
    assert not torch.allclose(flat, problem.start, rtol=1e-3, atol=1e-3)
    assert optimizer.lrs() == [learning_rate(solo.optimizer) for solo in solos]


@PRECISIONS
@pytest.mark.parametrize("case", WITH_DECAY, ids=str)
def test_biases_can_be_spared_weight_decay(case, dtype):
    problem = Problem(dtype)
    optimizer, flat, solos = stacked(case, dtype, False), problem.start.clone(), alone(case, problem, False)
    advance(optimizer, flat, solos, problem, range(30))
    assert_same(flat, together(solos), tolerance(case, dtype))
    everything = problem.start.clone()
    advance(stacked(case, dtype), everything, [], problem, range(30))
    assert not torch.allclose(everything, flat, rtol=1e-3, atol=1e-3)
    for run, (solo, built) in enumerate(zip(solos, alone(case, problem, False), strict=True)):
        optimizer.to_torch(run, built.optimizer)
        assert_same_state(built.optimizer.state_dict(), solo.optimizer.state_dict(), tolerance(case, dtype))


@PRECISIONS
@EVERY_CASE
def test_a_checkpoint_is_that_of_a_run_alone(case, dtype):
    problem = Problem(dtype)
    optimizer, flat, solos = stacked(case, dtype), problem.start.clone(), alone(case, problem)
    for steps in (range(0), range(30)):
        advance(optimizer, flat, solos, problem, steps)
        for run, (solo, built) in enumerate(zip(solos, alone(case, problem), strict=True)):
            optimizer.to_torch(run, built.optimizer)
            assert_same_state(built.optimizer.state_dict(), solo.optimizer.state_dict(), tolerance(case, dtype))


@PRECISIONS
@EVERY_CASE
def test_runs_go_on_from_checkpoints_of_different_steps(case, dtype):
    problem = Problem(dtype)
    solos = alone(case, problem)
    for run, steps in enumerate((0, 1, 7, 20)):
        for step in range(steps):
            solos[run].step(problem.gradients[step, run], float(problem.factors[step, run]))
    optimizer = stacked(case, dtype)
    for run, solo in enumerate(solos):
        optimizer.from_torch(run, solo.optimizer)
    assert optimizer.lrs() == [solo.optimizer.param_groups[0]["lr"] for solo in solos]
    flat = together(solos)
    advance(optimizer, flat, solos, problem, range(20, 50))
    assert_same(flat, together(solos), tolerance(case, dtype))


@PRECISIONS
@EVERY_CASE
def test_some_runs_stop_and_the_others_go_on(case, dtype):
    problem = Problem(dtype)
    optimizer, flat, solos = stacked(case, dtype), problem.start.clone(), alone(case, problem)
    advance(optimizer, flat, solos, problem, range(20))
    for remaining in ([3, 0, 1], [1]):  # of the four, then of these three; the last one has no momentum
        kept = torch.tensor(remaining)
        optimizer.keep(kept)
        assert optimizer.lrs() == [learning_rate(solos[run].optimizer) for run in remaining]
        flat, solos = flat[kept], [solos[run] for run in remaining]
        problem.gradients, problem.factors = problem.gradients[:, kept], problem.factors[:, kept]
        advance(optimizer, flat, solos, problem, range(20, 40))
        assert_same(flat, together(solos), tolerance(case, dtype))
    built = Solo(case.name, case.configs()[0], problem.start[0])
    optimizer.to_torch(0, built.optimizer)
    assert_same_state(built.optimizer.state_dict(), solos[0].optimizer.state_dict(), tolerance(case, dtype))


@pytest.mark.parametrize("case", [case for case in CASES if not case.flags], ids=str)
def test_a_run_among_many_is_rounded_as_alone(case):
    # 40 numbers take other instructions than 4: in asgd's float32 power they end in another last bit.
    problem, many = Problem(torch.float64), 40
    config = case.configs()[1]
    optimizer = StackedOptimizer(case.name, [config] * many, NAMED, "cpu", torch.float64)
    flat, solo = problem.start[1].repeat(many, 1), Solo(case.name, config, problem.start[1])
    for step in range(50):
        gradient, factor = problem.gradients[step, 1], problem.factors[step, 1]
        optimizer.step(flat, gradient.repeat(many, 1), factor.repeat(many))
        solo.step(gradient, float(factor))
    assert_same(flat, solo.weights.repeat(many, 1), tolerance(case, torch.float64))


def test_every_rule_is_that_of_an_optimizer_whose_every_field_it_knows():
    assert RULES.keys() == {name for name in OPTIMIZERS.names() if stacks(name)}
    assert not stacks("lbfgs")


@pytest.mark.parametrize("case", [case for case in CASES if case.flags], ids=str)
def test_runs_with_different_flags_do_not_stack(case):
    changed, plain = case.configs()[1], Case(case.name).configs()[1]
    assert must_be_equal(case.name, changed) != must_be_equal(case.name, plain)
    assert must_be_equal(case.name, plain) == must_be_equal(case.name, Case(case.name).configs()[2])
    with pytest.raises(AssertionError, match=f"^{case.name}: these runs do not stack"):
        StackedOptimizer(case.name, [changed, plain], NAMED, "cpu", torch.float32)


def test_an_optimizer_of_ones_own_does_not_stack_nor_one_with_a_field_more():
    @dataclass(frozen=True)
    class Mine:
        lr: float
        momentum: float
        dampening: float
        weight_decay: float
        nesterov: bool
        maximize: bool

    mine = Mine(0.1, 0.9, 0.0, 0.0, False, True)
    assert must_be_equal("mine", mine) is None
    assert must_be_equal("sgd", mine) is None


def test_a_step_of_no_length_moves_nothing_even_where_there_was_no_gradient():
    for case in (Case("adam"), Case("radam"), Case("rmsprop"), Case("adamax"), Case("nadam")):
        optimizer, flat = stacked(case, torch.float32), torch.ones(RUNS, SIZE)
        optimizer.step(flat, torch.zeros(RUNS, SIZE), torch.zeros(RUNS, dtype=torch.float64))
        assert torch.equal(flat, torch.ones(RUNS, SIZE))
