"""The splits of a dataset: in memory, windows of a text, or streamed from disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError

Batch = tuple[Tensor, Tensor]


PADDING = -1  # a target that counts for nothing


class Split(Protocol):
    """Examples that batches of indices select from; its length is the number of examples an epoch visits."""

    def __len__(self) -> int: ...

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """The indices that one training epoch visits, in its order."""

    def in_order(self) -> Tensor:
        """Indices that visit everything exactly once."""

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        """One (inputs, targets) for each batch of indices."""

    def everything(self, batch_size: int) -> Iterator[Batch]:
        """Batches of everything exactly once, in order, for evaluation."""

    def to(self, device: torch.device, dtype: torch.dtype) -> "Split":
        """The same split held on `device`, floats as `dtype`."""


def _place(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


@dataclass(frozen=True)
class InMemory:
    """inputs (example, *input_shape) and targets (example, ...), on the device as a whole; a batch is an index."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(self), generator=generator)

    def in_order(self) -> Tensor:
        return torch.arange(len(self))

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        for index in indices:
            yield self.inputs.index_select(0, index), self.targets.index_select(0, index)

    def everything(self, batch_size: int) -> Iterator[Batch]:
        return zip(self.inputs.split(batch_size), self.targets.split(batch_size), strict=True)  # views: no copy

    def to(self, device: torch.device, dtype: torch.dtype) -> "InMemory":
        return InMemory(_place(self.inputs, device, dtype), _place(self.targets, device, dtype))


@dataclass(frozen=True)
class Windows:
    """Windows of `context` tokens onto one text; targets are the same window one token later.

    An epoch visits disjoint windows from a new random phase on, which is every token but for a window at the ends.
    Evaluation predicts every token but the first exactly once; the last window is filled up with PADDING targets. An
    index is a window's first token.
    """

    tokens: Tensor
    context: int

    def __len__(self) -> int:
        return max(1, len(self.tokens) // self.context - 1)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        spare = len(self.tokens) - 1 - len(self) * self.context
        phase = torch.randint(min(self.context, spare + 1), (), generator=generator)
        return phase + self.context * torch.randperm(len(self), generator=generator)

    def in_order(self) -> Tensor:
        return torch.arange(0, len(self.tokens) - 1, self.context)

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        offsets, last = torch.arange(self.context + 1, device=self.tokens.device), len(self.tokens) - 1
        for index in indices:
            positions = index[:, None] + offsets
            window = self.tokens[positions.clamp(max=last)].long()
            yield window[:, :-1], window[:, 1:].masked_fill(positions[:, 1:] > last, PADDING)

    def everything(self, batch_size: int) -> Iterator[Batch]:
        return self.batches(self.in_order().to(self.tokens.device).split(batch_size))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Windows":
        return replace(self, tokens=self.tokens.to(device))


@dataclass(frozen=True)
class Streamed:
    """A torch Dataset too large for memory, read by DataLoader workers in the order of the given indices."""

    dataset: "torch.utils.data.Dataset[Any]"
    indices: Tensor
    num_workers: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.indices)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(self), generator=generator)

    def in_order(self) -> Tensor:
        return torch.arange(len(self))

    def batches(self, indices: Sequence[Tensor]) -> Iterator[Batch]:
        loader = torch.utils.data.DataLoader(
            self.dataset,
            batch_sampler=[self.indices[index.cpu()].tolist() for index in indices],
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )
        try:
            for inputs, targets in loader:
                yield inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        except ConfigError as error:  # of a worker: it arrives with the worker's traceback before it, as text
            raise ConfigError(str(error).rsplit("ConfigError: ", 1)[-1].removesuffix("\\n")) from None

    def everything(self, batch_size: int) -> Iterator[Batch]:
        return self.batches(self.in_order().split(batch_size))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Streamed":
        return replace(self, device=device)
