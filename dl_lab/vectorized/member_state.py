"""A run as a row of a stack: taken out of it, put into its own model, and several of them put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab.training.state import TrainState
from dl_lab.training.tasks import Totals, add_up
from dl_lab.vectorized.optimizers import StackedOptimizer

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Row:
    """A run taken out of a stack: its weights (P,), its buffers and what the optimizer keeps of it."""

    flat: Tensor
    buffers: Tensors
    optimizer: StackedOptimizer

    @torch.no_grad()
    def put_into(self, state: TrainState) -> None:
        """Give its numbers to a run's own model and optimizer."""
        parameters = list(state.model.parameters())
        pieces = self.flat.split([parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view(parameter.shape))
        for name, buffer in state.model.named_buffers():
            buffer.copy_(self.buffers[name])
        self.optimizer.to_torch(0, state.optimizer)


def places_of(model: nn.Module, tensor: Tensor) -> list[tuple[dict[str, Any], str]]:
    """Where a model has a parameter or buffer: more than one place, if it is shared."""
    tables = [table for module in model.modules() for table in (module._parameters, module._buffers)]
    return [(table, name) for table in tables for name, own in table.items() if own is tensor]


def windows_of(states: Sequence[TrainState]) -> list[Totals]:
    """The windows of runs that were stopped at the same step, as one."""
    window: list[Totals] = []
    for steps in zip(*(state.window for state in states), strict=True):
        (first, *_), *_ = steps
        together: Totals = {}
        for name, value in first.items():
            values = [totals[name] for (totals,) in steps]
            together[name] = torch.stack(values) if isinstance(value, Tensor) else value
        window.append(together)
    return window


def flat_of(state: TrainState) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in state.model.parameters()])


def row_of(state: TrainState, optimizer: StackedOptimizer) -> Row:
    """A run that is in no stack, for its weights and buffers."""
    return Row(flat_of(state), {name: buffer.clone() for name, buffer in state.model.named_buffers()}, optimizer)


def stacked(each: Sequence[Tensors]) -> Tensors:
    return {name: torch.stack([tensors[name] for tensors in each]) for name in each[0]}


def of_each_run(window: Sequence[Totals], runs: int) -> list[dict[str, list[float]]]:
    """Totals of several steps, tensors (R, ...) and counts that all runs share, summed as those of a single run are."""
    summed: list[dict[str, list[float]]] = [{} for _ in range(runs)]
    for name, values in add_up(window).items():
        of_all = not isinstance(window[0][name], Tensor)
        width = len(values) if of_all else len(values) // runs
        for run, totals in enumerate(summed):
            totals[name] = values if of_all else values[run * width : (run + 1) * width]
    return summed
