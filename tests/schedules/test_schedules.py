"""Schedules against torch.optim.lr_scheduler over whole runs, and against the formulas of their papers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from support.configs import parsed
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import ConfigError
from dl_lab.registry import SCHEDULES
from dl_lab.training.setup import build_schedule

LENGTHS = (1, 2, 3, 10, 1000)
LR = 0.3
TOO_SHORT = {"warmup_cosine": 100}  # documented: no run as long as its YAML's warm-up, or shorter


def factors(run: RunConfig, total_steps: int) -> list[float]:
    """The factor at every step of a run so long."""
    schedule = build_schedule(run, total_steps)
    return [schedule(step) for step in range(total_steps)]


def torch_factors(scheduler: Callable[[torch.optim.Optimizer], LRScheduler], total_steps: int) -> list[float]:
    """The same, of a torch scheduler that is stepped once after each optimizer step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    stepped = scheduler(optimizer)
    rates = []
    for step in range(total_steps):
        rates.append(float(optimizer.param_groups[0]["lr"]) / LR)
        optimizer.step()
        if step < total_steps - 1:  # OneCycleLR refuses a step beyond its last
            stepped.step()
    return rates


def close(values: list[float]) -> Any:
    """torch multiplies its rates on from step to step, and so rounds by up to 1e-16 at each of 1,000."""
    return pytest.approx(values, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("step_size", "gamma"), [(1, 0.9), (7, 0.5), (400, 0.1), (5, 1.0)])
def test_step_is_torchs(step_size: int, gamma: float) -> None:
    run = parsed("schedule=step", f"schedule.step_size={step_size}", f"schedule.gamma={gamma}")
    for total_steps in LENGTHS:
        expected = torch_factors(partial(lr_scheduler.StepLR, step_size=step_size, gamma=gamma), total_steps)
        assert factors(run, total_steps) == close(expected)


@pytest.mark.parametrize("gamma", [0.5, 0.999, 1.0])
def test_exponential_is_torchs(gamma: float) -> None:
    run = parsed("schedule=exponential", f"schedule.gamma={gamma}")
    for total_steps in LENGTHS:
        expected = torch_factors(partial(lr_scheduler.ExponentialLR, gamma=gamma), total_steps)
        assert factors(run, total_steps) == close(expected)


@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine_is_torchs(final: float) -> None:
    run = parsed("schedule=cosine", f"schedule.final={final}")
    for total_steps in LENGTHS:
        annealing = partial(lr_scheduler.CosineAnnealingLR, T_max=total_steps, eta_min=final * LR)
        assert factors(run, total_steps) == close(torch_factors(annealing, total_steps))


@pytest.mark.parametrize("shape", [(0.3, 25.0, 1e4), (0.25, 10.0, 1.0), (0.75, 2.0, 100.0)])
def test_one_cycle_is_torchs(shape: tuple[float, float, float]) -> None:
    arguments = dict(zip(("pct_start", "div_factor", "final_div_factor"), shape, strict=True))
    run = parsed("schedule=one_cycle", *(f"schedule.{key}={value}" for key, value in arguments.items()))
    for total_steps in LENGTHS:
        cycle = partial(lr_scheduler.OneCycleLR, max_lr=LR, total_steps=total_steps, cycle_momentum=False, **arguments)
        assert factors(run, total_steps) == close(torch_factors(cycle, total_steps))


def test_one_cycle_whose_rise_is_one_step_begins_at_its_peak() -> None:
    """Where OneCycleLR itself divides by zero."""
    run = parsed("schedule=one_cycle", "schedule.pct_start=0.25")
    with pytest.raises(ZeroDivisionError):
        torch_factors(partial(lr_scheduler.OneCycleLR, max_lr=LR, total_steps=4, pct_start=0.25), 4)
    rates = factors(run, 4)
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)


def nanogpt(step: int, warmup_steps: int, total_steps: int, final: float) -> float:
    """get_lr of github.com/karpathy/nanoGPT/blob/master/train.py with learning_rate = 1, min_lr = final."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if step > total_steps:
        return final
    decay_ratio = (step - warmup_steps) / (total_steps - warmup_steps)
    coefficient = 0.5 * (1.0 + math.cos(math.pi * decay_ratio))
    return final + coefficient * (1 - final)


@pytest.mark.parametrize("warmup_steps", [0, 1, 5, 999])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_warmup_cosine_is_nanogpts_and_needs_a_run_longer_than_its_warmup(warmup_steps: int, final: float) -> None:
    run = parsed("schedule=warmup_cosine", f"schedule.warmup_steps={warmup_steps}", f"schedule.final={final}")
    for total_steps in LENGTHS:
        if warmup_steps >= total_steps:
            with pytest.raises(ConfigError, match=rf"^schedule\.warmup_steps={warmup_steps} .* {total_steps} steps$"):
                factors(run, total_steps)
        else:
            expected = [nanogpt(step, warmup_steps, total_steps, final) for step in range(total_steps)]
            assert factors(run, total_steps) == close(expected)


@pytest.mark.parametrize("warmup_steps", [1, 4, 300, 4000])
def test_inverse_square_root_is_equation_3_of_vaswani_over_its_peak(warmup_steps: int) -> None:
    def equation(step: int) -> float:
        return float(512**-0.5 * min(step**-0.5, step * warmup_steps**-1.5))

    run = parsed("schedule=inverse_square_root", f"schedule.warmup_steps={warmup_steps}")
    for total_steps in LENGTHS:
        expected = [equation(step + 1) / equation(warmup_steps) for step in range(total_steps)]
        assert factors(run, total_steps) == close(expected)


def test_constant_is_one() -> None:
    assert factors(parsed("schedule=constant"), 1000) == [1.0] * 1000


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_factors_are_finite_and_not_negative_in_runs_of_any_length(name: str) -> None:
    run = parsed(f"schedule={name}")
    for total_steps in LENGTHS:
        if total_steps <= TOO_SHORT.get(name, 0):
            with pytest.raises(ConfigError):
                factors(run, total_steps)
        else:
            rates = factors(run, total_steps)
            assert len(rates) == total_steps
            assert all(0 <= rate < math.inf for rate in rates)  # nan fails too
            assert max(rates) > 0


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_a_factor_is_a_function_of_the_step_alone(name: str) -> None:
    schedule = build_schedule(parsed(f"schedule={name}"), 200)
    forwards = [schedule(step) for step in range(200)]
    assert [schedule(step) for step in reversed(range(200))] == forwards[::-1]


@pytest.mark.parametrize(
    "override",
    [
        "step schedule.step_size=0",
        "step schedule.gamma=0",
        "step schedule.gamma=1.1",
        "exponential schedule.gamma=-0.5",
        "cosine schedule.final=1.5",
        "cosine schedule.final=-0.1",
        "warmup_cosine schedule.warmup_steps=-1",
        "inverse_square_root schedule.warmup_steps=0",
        "one_cycle schedule.pct_start=0",
        "one_cycle schedule.pct_start=1",
        "one_cycle schedule.div_factor=0",
        "one_cycle schedule.final_div_factor=inf",
    ],
)
def test_a_value_out_of_range_is_refused(override: str) -> None:
    name, changed = override.split()
    with pytest.raises(ConfigError, match=rf"^{changed.split('=')[0]}=.* is not allowed; allowed: "):
        parsed(f"schedule={name}", changed)
