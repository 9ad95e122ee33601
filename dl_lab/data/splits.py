"""The splits of a dataset: held in memory, windows of a text, or streamed from disk."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, repeat
from typing import Any, Self

import torch
from torch import Tensor

from dl_lab.core import devices, rng
from dl_lab.core.errors import ConfigError, UserCodeError

Batch = tuple[Tensor, Tensor]

PADDING = -1  # a target that is not counted


class Split(ABC):
    """Examples that are selected by indices. The length of a split is the number of examples in a training epoch."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        """One (inputs, targets) for each tensor of indices (batch,)."""

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same split on `device`, with floating-point inputs as `dtype`."""

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """The indices of one training epoch in random order."""
        return torch.randperm(len(self), generator=generator)

    def with_draws(self, seed: int, step: int) -> Self:
        """The same split for training from `step` on. Random draws of its examples depend on seed and step only."""
        return self

    def in_order(self) -> Tensor:
        """The indices that select everything exactly once."""
        return torch.arange(len(self))

    def everything(self, batch_size: int) -> Iterator[Batch]:
        """Batches that contain everything exactly once, in order, for evaluation."""
        return self.batches(self.in_order().split(batch_size))


def examples_from(split: Split, number: int) -> Batch:
    """About `number` examples from all parts of a split, read in this process."""
    if isinstance(split, Streamed):
        split = replace(split, num_workers=0)
    places = split.in_order()
    chosen = torch.linspace(0, len(places) - 1, min(number, len(places))).long()
    return next(iter(split.batches([places[chosen.to(places.device)]])))


def _inputs_on(device: torch.device, dtype: torch.dtype | None, inputs: Tensor) -> Tensor:
    """Inputs on a device, with floating-point numbers as `dtype`; others stay as they are stored."""
    return inputs.to(device, dtype if inputs.is_floating_point() else None, non_blocking=True)


def _targets_on(device: torch.device, targets: Tensor) -> Tensor:
    """Targets on a device: numbers in its widest type, as r2 needs them unrounded and a loss takes them in the
    precision of the outputs; class numbers as int64, which losses index with.
    """
    dtype = devices.widest_dtype(device) if targets.is_floating_point() else torch.int64
    return targets.to(device, dtype, non_blocking=True)


@dataclass(frozen=True)
class InMemory(Split):
    """Inputs (example, *input_shape) and targets (example, ...), held on the device."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        for index in indices:
            yield self.inputs.index_select(0, index), self.targets.index_select(0, index)

    def everything(self, batch_size: int) -> Iterator[Batch]:
        return zip(self.inputs.split(batch_size), self.targets.split(batch_size), strict=True)  # views, not copies

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        inputs, targets = _inputs_on(device, dtype, self.inputs), _targets_on(device, self.targets)
        return replace(self, inputs=inputs, targets=targets)


@dataclass(frozen=True)
class Windows(Split):
    """Windows of `context` tokens of a text (token,); the targets are the same window one token later.

    A training epoch visits disjoint windows, starting at a random offset, and so every token except some at the ends.
    Evaluation predicts every token but the first exactly once, and pads the targets of the last window with PADDING.
    An index is the position of a window's first token.
    """

    tokens: Tensor
    context: int

    def __len__(self) -> int:
        return max(1, len(self.tokens) // self.context - 1)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        spare = len(self.tokens) - 1 - len(self) * self.context
        offset = torch.randint(min(self.context, spare + 1), (), generator=generator)
        return offset + self.context * torch.randperm(len(self), generator=generator)

    def in_order(self) -> Tensor:
        return torch.arange(0, len(self.tokens) - 1, self.context, device=self.tokens.device)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        offsets, last = torch.arange(self.context + 1, device=self.tokens.device), len(self.tokens) - 1
        for index in indices:
            positions = index[:, None] + offsets
            window = self.tokens[positions.clamp(max=last)].long()
            yield window[:, :-1], window[:, 1:].masked_fill(positions[:, 1:] > last, PADDING)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, tokens=self.tokens.to(device))


@dataclass(frozen=True)
class SeededExamples(torch.utils.data.Dataset[Any]):
    """Reads each (index, seed) after seeding the global generators, so that no example depends on its worker."""

    dataset: "torch.utils.data.Dataset[Any]"

    def __getitem__(self, index_and_seed: tuple[int, int]) -> Any:
        index, seed = index_and_seed
        devices.seed_global_generators(rng.seed_for(seed, "example", index), torch.device("cpu"))
        try:
            return self.dataset[index]
        except StopIteration as error:  # which would end the batches as if they were complete
            raise RuntimeError(f"the dataset raised StopIteration for example {index}") from error


def _joined(examples: list[Any]) -> Batch:
    """Join examples to a batch, in the worker that read them.

    Raises:
        UserCodeError: if they are not pairs of finite numbers of one shape.
    """
    try:
        inputs, targets = torch.utils.data.default_collate(examples)
        are_finite = all(bool(part.isfinite().all()) for part in (inputs, targets) if part.is_floating_point())
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise UserCodeError(
            f"the examples of the dataset cannot be joined to a batch ({str(error).splitlines()[0]}); allowed: pairs "
            "of inputs and targets, each a tensor, an array or a number, of the same shape in all examples"
        ) from error
    if not are_finite:
        raise UserCodeError("the dataset has examples with nan or inf; allowed: finite inputs and targets")
    return inputs, targets


@dataclass(frozen=True)
class Streamed(Split):
    """The examples `indices` (example,) of a torch Dataset that is too large for memory, read by DataLoader workers."""

    dataset: "torch.utils.data.Dataset[Any]"
    indices: Tensor
    num_workers: int
    device: torch.device
    dtype: torch.dtype | None = None  # of floating-point inputs; None: as the dataset has them
    seed: int = 0
    step: int | None = None  # of the next training batch

    def __len__(self) -> int:
        return len(self.indices)

    def with_draws(self, seed: int, step: int) -> Self:
        return replace(self, seed=seed, step=step)

    def _examples(self, indices: Iterable[Tensor]) -> Iterator[list[tuple[int, int]]]:
        """The (index, seed) of the examples of each batch; outside training the seed is always the same."""
        steps = repeat(0) if self.step is None else count(self.step)
        for step, index in zip(steps, indices, strict=False):
            seed = rng.seed_for(self.seed, "examples", step)
            yield [(number, seed) for number in self.indices[index.cpu()].tolist()]

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Batch]:
        # In a process of a sweep the default context is the fork server, whose children import torch again.
        forks = self.num_workers and sys.platform == "linux"
        loader = torch.utils.data.DataLoader(
            SeededExamples(self.dataset),
            batch_sampler=self._examples(indices),
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context="fork" if forks else None,
            collate_fn=_joined,
            generator=torch.Generator(),  # the default is torch's own stream, which belongs to the user's model
        )
        try:
            for inputs, targets in loader:
                yield _inputs_on(self.device, self.dtype, inputs), _targets_on(self.device, targets)
        except ConfigError as error:  # a worker's error arrives with its traceback as text
            kind = type(error)
            message = str(error).rsplit(f"{kind.__name__}: ", 1)[-1].removesuffix("\\n")
            error.__traceback__ = None  # is a cycle with the loader, which would wait 5 s for each worker
            raise kind(message) from None

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        return replace(self, device=device, dtype=dtype)
