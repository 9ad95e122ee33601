"""Totals: sums and counts of a batch by name, which add up exactly."""

from collections.abc import Iterable, Mapping
from math import nan

import torch
from torch import Tensor

Total = Tensor | int | list[float]  # on the device; a size known without reading the device; or on the host
Totals = dict[str, Total]
Numbers = Mapping[str, list[float]]


def sum_over(values: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of values (example, ...) over examples, each with its weight if examples have weights (example,)."""
    if weights is None:
        return values.sum(0)
    return (values * weights.reshape(-1, *[1] * (values.ndim - 1))).sum(0)


def never_zero(count: Tensor) -> Tensor:
    """A sum of weights as a divisor: 1 where it is 0, as the sum that it divides is 0 too."""
    return count + (count == 0)


def ratio(total: float, count: float) -> float:
    """A mean; nan over no examples, or over examples whose weights are all 0."""
    return total / count if count else nan


def sums_in(groups: Tensor, number: int, *values: Tensor) -> Tensor:
    """The sums (value, group) of each of the values (example,) in each of `number` groups (example,)."""
    stacked = torch.stack(values)
    return stacked.new_zeros(len(values), number).scatter_add(1, groups.expand(len(values), -1), stacked)


def detached(totals: Totals) -> Totals:
    """The same totals without their autograd graph."""
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in totals.items()}


def moved(totals: Totals, device: torch.device) -> Totals:
    """The same totals on `device`."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in totals.items()}


def add_up(window: Iterable[Mapping[str, Total]]) -> dict[str, list[float]]:
    """Add up totals in float64 on the host. Training waits for the device only here."""
    gathered = list(window)
    stacked = {name: _on_host([totals[name] for totals in gathered]) for name in gathered[0]}
    for prefix in [name.removesuffix("target_spread") for name in stacked if name.endswith("target_spread")]:
        merge_moments(
            *(stacked[prefix + name] for name in ("examples", "target_first", "target_shift", "target_spread"))
        )
    return {name: values.sum(0).tolist() for name, values in stacked.items()}


def merge_moments(counts: Tensor, firsts: Tensor, shifts: Tensor, spreads: Tensor) -> None:
    """Change first values, mean differences from them and sums of squared deviations of parts (part, target) in place,
    so that they add up to those of the whole, without cancellation (Chan et al. 1983,
    doi:10.1080/00031305.1983.10483115). `counts` are (part, 1), or (part, run) for targets (part, run * target).
    """
    counts = counts.repeat_interleave(shifts.shape[1] // counts.shape[1], dim=1)
    means = firsts - firsts[0] + shifts
    mean = (counts * means).sum(0) / never_zero(counts.sum(0))
    spreads += counts * (means - mean) ** 2
    shifts[:] = mean / len(shifts)
    firsts[1:] = 0


def _on_host(values: list[Total]) -> Tensor:
    tensors = [value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64) for value in values]
    return torch.stack(tensors).cpu().double().reshape(len(tensors), -1)
