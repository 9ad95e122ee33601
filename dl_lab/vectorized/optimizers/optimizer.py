"""An optimizer of the registry for all members of a stack."""

from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import asdict
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor

from dl_lab.vectorized.optimizers.stack import RULES, Stack


def must_be_equal(name: str, config: Any) -> Hashable | None:
    """Return the hyper-parameters that all members of a stack must share.

    None means that the optimizer cannot be stacked: no rule knows every field of its configuration.
    """
    rule, values = RULES.get(name), asdict(config)
    if rule is None or values.keys() != rule.numbers | rule.equal:
        return None
    return tuple((field, _hashable(values[field])) for field in sorted(rule.equal))


def _hashable(value: Any) -> Hashable:
    return tuple(value) if isinstance(value, list) else value


class StackedOptimizer:
    """An optimizer for runs that each have their own lr, betas, weight decay, ...

    `configs`: one for each run, with equal `must_be_equal`. `names_and_shapes`: the parameters of one run, in the order
    of `model.parameters()`. `decay_biases`: as in `train.decay_biases`.
    """

    def __init__(
        self,
        name: str,
        configs: Sequence[Any],
        names_and_shapes: Sequence[tuple[str, torch.Size]],
        device: torch.device | str,
        dtype: torch.dtype,
        decay_biases: bool = True,
    ):
        shared = {must_be_equal(name, config) for config in configs}
        assert len(shared) == 1, f"{name}: these runs do not stack: {shared}"
        assert None not in shared, f"{name} does not stack"
        rule, values = RULES[name], [asdict(config) for config in configs]
        assert decay_biases or ("weight_decay" in rule.numbers and rule.rest is None), f"{name}: no decay to spare"
        shapes = [shape for _, shape in names_and_shapes]
        places = [slice(*ends) for ends in pairwise(accumulate((prod(shape) for shape in shapes), initial=0))]
        matrices = [number for number, shape in enumerate(shapes) if len(shape) == 2 or rule.rest is None]
        others = [number for number in range(len(shapes)) if number not in matrices]
        self.parts = []
        for some_rule, some_values, own in (
            (rule, values, matrices),
            (RULES["adamw"], [rule.rest(run) for run in values] if rule.rest else [], others),
        ):
            if own:
                own_shapes = [shapes[number] for number in own]
                stack = Stack(some_rule, some_values, own_shapes, torch.device(device), dtype, decay_biases)
                self.parts.append(Part(stack, [places[number] for number in own], whole_model=not others))

    @torch.no_grad()
    def step(self, flat: Tensor, gradient: Tensor, factors: Tensor) -> None:
        """Update `flat` (run, P), the parameters of each run one after the other, in place by `gradient` (run, P).

        `factors` (run,), float64 on the CPU: the factor of each run's schedule at this step.
        """
        for part in self.parts:
            part.step(flat, gradient, factors)

    def lrs(self) -> list[float]:
        """The lr of each run at the last step; before the first step, the lr of its configuration."""
        stack = self.parts[0].stack
        lrs: list[float] = (stack.rate if stack.used_rate is None else stack.used_rate).tolist()
        return lrs

    def keep(self, runs: Tensor) -> None:
        """Keep only these runs (int64 indices), in this order."""
        for part in self.parts:
            part.stack.keep(runs)

    def of_run(self, run: int) -> "StackedOptimizer":
        """Copy the state of this run, as run 0, for a later `to_torch`."""
        alone = copy(self)
        alone.parts = [copy(part) for part in self.parts]
        for part in alone.parts:
            part.stack = part.stack.of_run(run)
        return alone

    def to_torch(self, run: int, optimizer: torch.optim.Optimizer) -> None:
        """Copy the state and lr of a run into a torch optimizer built for this run."""
        for part, alone in zip(self.parts, solo_optimizers(optimizer), strict=True):
            part.to_torch(run, alone)

    def from_torch(self, run: int, optimizer: torch.optim.Optimizer) -> None:
        """Continue from the state and lr of a torch optimizer that has trained this run; call before the first step."""
        for part, alone in zip(self.parts, solo_optimizers(optimizer), strict=True):
            part.from_torch(run, alone)


def solo_optimizers(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The torch optimizers that an optimizer consists of: two for muon, otherwise one."""
    return list(getattr(optimizer, "optimizers", [optimizer]))


class Part:
    """The parameters that one rule updates (with muon, not all); `places`: their columns in (run, P)."""

    def __init__(self, stack: Stack, places: list[slice], whole_model: bool):
        self.stack, self.places = stack, places
        self.columns: Tensor | None = None
        if not whole_model:
            every = torch.arange(max(place.stop for place in places), device=stack.device)
            self.columns = torch.cat([every[place] for place in places])

    def step(self, flat: Tensor, gradient: Tensor, factors: Tensor) -> None:
        if self.stack.rule.whole:
            self.stack.step(self.views(flat), self.views(gradient), factors)
        elif self.columns is None:
            self.stack.step(flat, gradient, factors)
        else:
            weights = flat[:, self.columns]
            self.stack.step(weights, gradient[:, self.columns], factors)
            flat[:, self.columns] = weights

    def views(self, flat: Tensor) -> list[Tensor]:
        """Views of (run, P), one (run, *shape) for each parameter."""
        return [
            flat[:, place].view(len(flat), *shape) for place, shape in zip(self.places, self.stack.shapes, strict=True)
        ]

    def parameters(self, alone: torch.optim.Optimizer) -> list[tuple[dict[str, Any], Tensor, dict[str, Tensor]]]:
        """For each parameter: its group in the torch optimizer, the parameter, and its state in the stack."""
        shapes = self.stack.shapes
        order = list(range(len(shapes)))
        if self.stack.decays is not None:  # parameters without decay are in a second group
            order.sort(key=lambda number: len(shapes[number]) < 2)
        members = [(group, parameter) for group in alone.param_groups for parameter in group["params"]]
        assert [parameter.shape for _, parameter in members] == [shapes[number] for number in order]
        return [(*member, self.stack.states(number)) for member, number in zip(members, order, strict=True)]

    def to_torch(self, run: int, alone: torch.optim.Optimizer) -> None:
        stack = self.stack
        for group in alone.param_groups:
            group["lr"] = float(stack.rate[run])
        if stack.count[run] == 0:
            return
        for group, parameter, states in self.parameters(alone):
            on_device = stack.rule.on_device or group.get("fused") or group.get("capturable")
            where = parameter.device if on_device else torch.device("cpu")
            dtype = torch.float32 if group.get("fused") else torch.get_default_dtype()
            numbers = stack.numbers(run)
            state = {name: torch.tensor(number, dtype=dtype, device=where) for name, number in numbers.items()}
            for name, values in states.items():
                if stack.owned(name, run):
                    like = parameter.detach() if values.shape[1:] == parameter.shape else values[run]
                    state[name] = torch.empty_like(like).copy_(values[run])  # in the memory layout of the parameter
            if state:
                alone.state[parameter] = state

    def from_torch(self, run: int, alone: torch.optim.Optimizer) -> None:
        stack = self.stack
        assert stack.count[run] == 0, "the run has already taken a step"
        stack.rate[run] = alone.param_groups[0]["lr"]
        for _, parameter, states in self.parameters(alone):
            state = alone.state.get(parameter, {})
            for name, values in states.items():
                if name in state:
                    values[run].copy_(state[name])
            for name, numbers in stack.kept_numbers.items():
                if name in state:
                    numbers[run] = float(state[name])
            if state:
                stack.count[run] = float(state.get("step", 1))
