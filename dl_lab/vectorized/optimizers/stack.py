"""Hyper-parameters and state of many runs for an update rule, and columns that broadcast over parameters."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor

Values = dict[str, Any]  # the hyper-parameters of a run
Step = Callable[..., None]


@dataclass(frozen=True)
class Rule:
    """How one optimizer updates parameters.

    `build` returns the step of a Stack, a function of weights and gradients (run, P) that updates the weights in place;
    a `whole` rule receives two lists of views (run, *shape) instead. Runs may differ in `numbers` but not in `equal`.
    `counts`: the state in torch contains the step; `on_device`: torch keeps numbers of the state on the device.
    `rest`: if given, the rule trains matrices only, and AdamW trains the others with the values that `rest` returns.
    """

    build: Callable[["Stack"], Step]
    numbers: frozenset[str]
    equal: frozenset[str]
    whole: bool
    counts: bool
    on_device: bool
    rest: Callable[[Values], Values] | None


RULES: dict[str, Rule] = {}


def rule(
    name: str,
    numbers: str,
    equal: str = "",
    *,
    whole: bool = False,
    counts: bool = True,
    on_device: bool = False,
    rest: Callable[[Values], Values] | None = None,
) -> Callable[[Callable[["Stack"], Step]], Callable[["Stack"], Step]]:
    """Register the decorated function as the rule of the optimizer `name`.

    `numbers` and `equal` together name all fields of its configuration, separated by spaces.
    """

    def add(build: Callable[["Stack"], Step]) -> Callable[["Stack"], Step]:
        assert name not in RULES, f"{name} already has a rule"
        fields = frozenset(numbers.split()), frozenset(equal.split())
        RULES[name] = Rule(build, *fields, whole=whole, counts=counts, on_device=on_device, rest=rest)
        return build

    return add


class Stack:
    """Hyper-parameters and state of runs that share a rule, for parameters of these shapes.

    `count` (run,): steps taken, including this one; `rate` (run,): the lr of this step. The numbers of a run are
    float64 on the CPU, as in torch, so that they never wait for a device.
    """

    def __init__(
        self,
        rule: Rule,
        values: list[Values],
        shapes: list[torch.Size],
        device: torch.device,
        dtype: torch.dtype,
        decay_biases: bool,
    ):
        self.rule, self.values, self.shapes = rule, values, shapes
        self.device, self.dtype = device, dtype
        self.slices = [slice(*ends) for ends in pairwise(accumulate((prod(s) for s in shapes), initial=0))]
        self.decays = None if decay_biases else self._decays()
        self.count = torch.zeros(len(values), dtype=torch.float64)
        self.kept_numbers: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}
        self.kept_of: list[dict[str, Tensor]] = [{} for _ in shapes]
        self.owners: dict[str, Tensor] = {}
        self._prepare()

    def _prepare(self) -> None:
        self.lr = self.number("lr")
        self.rate = self.lr.clone()
        self.used_rate: Tensor | None = None  # of the last step, for a rule that does not use `rate`
        self.weight_decay = self.number("weight_decay") if "weight_decay" in self.rule.numbers else self.lr * 0
        self.has_decay = bool(self.weight_decay.any())
        (self.decay_column,) = self.columns(self.weight_decay)
        if self.decays is not None:
            self.decay_column = self.decay_column * self.decays
        self.decayed_gradient = self.scratch() if self.has_decay else None
        self.take_step = self.rule.build(self)

    def _decays(self) -> Tensor:
        """A mask (1, P): 0 for parameters without weight decay, 1 for the others."""
        row = torch.zeros(1, self.slices[-1].stop, dtype=self.dtype, device=self.device)
        for part, shape in zip(self.slices, self.shapes, strict=True):
            row[:, part] = float(len(shape) >= 2)
        return row

    def step(self, weights: Any, gradient: Any, factors: Tensor) -> None:
        self.count += 1
        self.rate = self.lr * factors
        self.take_step(weights, gradient)

    def keep(self, runs: Tensor) -> None:
        on_device, rows = runs.to(self.device), runs.tolist()
        self.values = [self.values[row] for row in rows]
        self.count = self.count[runs.cpu()]
        self.kept_numbers = {name: numbers[runs.cpu()] for name, numbers in self.kept_numbers.items()}
        for kept in (self.kept, *self.kept_of):
            kept.update({name: tensor[on_device] for name, tensor in kept.items()})
        rate, used, self.owners = self.rate[runs.cpu()], self.used_rate, {}
        self._prepare()
        self.rate, self.used_rate = rate, None if used is None else used[runs.cpu()]
        self.kept = {name: self.kept[name] for name in self.owners}  # for example, no remaining run has momentum

    def of_run(self, run: int) -> "Stack":
        """Copy the state of this run; the copy cannot take steps."""
        alone, one = copy(self), slice(run, run + 1)
        alone.values = self.values[one]
        alone.count, alone.rate = self.count[one].clone(), self.rate[one].clone()
        alone.kept_numbers = {name: numbers[one].clone() for name, numbers in self.kept_numbers.items()}
        alone.kept = {name: tensor[one].clone() for name, tensor in self.kept.items()}
        alone.kept_of = [{name: tensor[one].clone() for name, tensor in kept.items()} for kept in self.kept_of]
        alone.owners = {name: owners[one] for name, owners in self.owners.items()}
        return alone

    def shared(self, field: str) -> Any:
        """The value of a field that is equal in all runs."""
        return self.values[0][field]

    def number(self, field: str) -> Tensor:
        """The values of a field (run,), or (number, run) for a list of numbers."""
        return torch.tensor([values[field] for values in self.values], dtype=torch.float64).movedim(0, -1)

    def columns(self, *numbers: Tensor) -> tuple[Tensor, ...]:
        """Turn each (run,) into (run, 1) with the device and dtype of the parameters, in one asynchronous copy."""
        together = torch.stack(numbers).to(self.dtype)
        return together.to(self.device, non_blocking=self.device.type == "cuda").unsqueeze(-1).unbind()

    def zeros(self, name: str, owners: Tensor | None = None) -> Tensor:
        """State (run, P) under its name in torch; `owners` (run,): the runs that have it in torch, if not all."""
        return self.filled(name, torch.zeros(len(self.values), dtype=torch.float64), owners)

    def filled(self, name: str, numbers: Tensor, owners: Tensor | None = None) -> Tensor:
        """State (run, P) with one initial number for each run."""
        if name not in self.kept:
            (column,) = self.columns(numbers)
            self.kept[name] = column.repeat(1, self.slices[-1].stop)
        self.owners[name] = torch.ones_like(numbers).bool() if owners is None else owners
        return self.kept[name]

    def scratch(self) -> Tensor:
        """A buffer (run, P) for intermediate results; allocating it in every step would be slow."""
        size = 0 if self.rule.whole else self.slices[-1].stop
        return torch.empty(len(self.values), size, dtype=self.dtype, device=self.device)

    def zeros_for(self, parameter: int, name: str, shape: tuple[int, ...]) -> Tensor:
        """State (run, *shape) of one parameter, given by its number."""
        states = self.kept_of[parameter]
        if name not in states:
            states[name] = torch.zeros(len(self.values), *shape, dtype=self.dtype, device=self.device)
        return states[name]

    def one_for_each(self, name: str) -> Tensor:
        """State (run,) with initial value 1, in float32 for every parameter dtype, as in torch."""
        return self.kept_numbers.setdefault(name, torch.ones(len(self.values), dtype=torch.get_default_dtype()))

    def decayed(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """The gradient plus that of weight decay."""
        if not self.has_decay:
            return gradient
        return torch.addcmul(gradient, weights, self.decay_column, out=self.decayed_gradient)

    def decay(self, weights: Tensor) -> None:
        """Decoupled weight decay: shrink the weights in proportion to the lr."""
        if not self.has_decay:
            return
        (shrunk,) = self.columns(1 - self.rate * self.weight_decay)
        if self.decays is None:
            weights.mul_(shrunk)
        else:
            weights.addcmul_(weights, (shrunk - 1) * self.decays)

    def states(self, parameter: int) -> dict[str, Tensor]:
        """The state of a parameter under its names in torch: writable views (run, ...)."""
        part, shape = self.slices[parameter], self.shapes[parameter]
        tensors = {name: tensor[:, part].view(len(tensor), *shape) for name, tensor in self.kept.items()}
        return tensors | self.kept_of[parameter]

    def owned(self, name: str, run: int) -> bool:
        """Whether torch has this state for the run."""
        return name not in self.owners or bool(self.owners[name][run])

    def numbers(self, run: int) -> dict[str, float]:
        """The scalar state of a run, under its names in torch."""
        step = {"step": float(self.count[run])} if self.rule.counts else {}
        return step | {name: float(numbers[run]) for name, numbers in self.kept_numbers.items()}
