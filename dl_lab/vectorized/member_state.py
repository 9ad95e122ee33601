"""The state of a member: taken out of a stack, written to the member's own model, and stacked with others."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dl_lab.training.state import TrainState
from dl_lab.training.tasks.totals import Totals, add_up
from dl_lab.vectorized.optimizers import StackedOptimizer

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class MemberState:
    """A copy of a member's parameters (P,), buffers and optimizer state."""

    parameters: Tensor
    buffers: Tensors
    optimizer: StackedOptimizer

    @torch.no_grad()
    def write_to(self, state: TrainState) -> None:
        """Write it to the run's own model and optimizer."""
        parameters = list(state.model.parameters())
        pieces = self.parameters.split([parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view(parameter.shape))
        for name, buffer in state.model.named_buffers():
            buffer.copy_(self.buffers[name])
        self.optimizer.to_torch(0, state.optimizer)


def member_state_of(state: TrainState, optimizer: StackedOptimizer) -> MemberState:
    """The state of a run outside a stack, as far as evaluation needs it: parameters and buffers."""
    buffers = {name: buffer.clone() for name, buffer in state.model.named_buffers()}
    return MemberState(parameters_of(state), buffers, optimizer)


def parameters_of(state: TrainState) -> Tensor:
    """All parameters of a run as one vector (P,)."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in state.model.parameters()])


def stacked(tensors: Sequence[Tensors]) -> Tensors:
    """Tensors of several runs, by name, with a run axis in front."""
    return {name: torch.stack([of_run[name] for of_run in tensors]) for name in tensors[0]}


def stacked_windows(states: Sequence[TrainState]) -> list[Totals]:
    """The windows of runs that were stopped at the same step, as one window of a stack."""
    window: list[Totals] = []
    for steps in zip(*(state.window for state in states), strict=True):
        (first, *_), *_ = steps
        totals_of_step: Totals = {}
        for name, value in first.items():
            values = [totals[name] for (totals,) in steps]
            totals_of_step[name] = torch.stack(values) if isinstance(value, Tensor) else value
        window.append(totals_of_step)
    return window


def sums_by_run(window: Sequence[Totals], runs: int) -> list[dict[str, list[float]]]:
    """For each run, the totals of several steps, tensors (R, ...) and sizes that all runs share, added up."""
    summed: list[dict[str, list[float]]] = [{} for _ in range(runs)]
    for name, values in add_up(window).items():
        shared = not isinstance(window[0][name], Tensor)
        width = len(values) if shared else len(values) // runs
        for run, totals in enumerate(summed):
            totals[name] = values if shared else values[run * width : (run + 1) * width]
    return summed
