"""One optimizer of the registry for many runs at once."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dl_lab.stacked_optimizers.stack import RULES, Stack


def must_be_equal(name: str, config: Any) -> Hashable | None:
    """What of a configuration all runs of a stack must share; None if there is no rule for the optimizer, or none that
    knows every field of this configuration.
    """
    rule, values = RULES.get(name), asdict(config)
    if rule is None or values.keys() != rule.numbers | rule.equal or (rule.rest and not hasattr(torch.optim, "Muon")):
        return None
    return tuple((field, _hashable(values[field])) for field in sorted(rule.equal))


def _hashable(value: Any) -> Hashable:
    return tuple(value) if isinstance(value, list) else value


class StackedOptimizer:
    """An optimizer of the registry for runs that each have their own lr, betas, weight decay, ...

    `configs`: one a run, equal in `must_be_equal`. `names_and_shapes`: the parameters of one run in the order of
    `model.parameters()`. `decay_biases`: as in `train.decay_biases`.
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
        assert len({must_be_equal(name, config) for config in configs} - {None}) == 1, f"{name}: runs do not stack"
        rule, values = RULES[name], [asdict(config) for config in configs]
        assert decay_biases or ("weight_decay" in rule.numbers and rule.rest is None), f"{name}: no decay to spare"
        shapes = [shape for _, shape in names_and_shapes]
        numbers = list(range(len(shapes)))
        shares = [(rule, values, numbers)]
        if rule.rest is not None:
            matrices = [number for number in numbers if len(shapes[number]) == 2]
            others = [number for number in numbers if len(shapes[number]) != 2]
            shares = [(rule, values, matrices), (RULES["adamw"], [rule.rest(own) for own in values], others)]
        self.device = torch.device(device)
        self.parts = [
            Part(Stack(rule, values, [shapes[n] for n in own], self.device, dtype, decay_biases), own, shapes)
            for rule, values, own in shares
            if own
        ]
        self.factors = torch.ones(len(configs), dtype=torch.float64)

    @torch.no_grad()
    def step(self, flat: Tensor, gradient: Tensor, factors: Tensor) -> None:
        """Update `flat` (run, P), the parameters of each run one after the other, in place by `gradient` (run, P);
        `factors` (run,), float64 on the CPU, multiply each run's lr.
        """
        self.factors = factors
        for part in self.parts:
            part.step(flat, gradient, factors)

    def lrs(self) -> list[float]:
        """Each run's lr in the last step, or before it the one to start from."""
        return self.parts[0].stack.rate.tolist()
