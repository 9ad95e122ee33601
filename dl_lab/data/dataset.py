"""What a dataset gives: three splits, a DataSpec, and the way from stored to model input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import ceil
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_lab.core import rng
from dl_lab.core.errors import FRACTION_OR_COUNT, NOT_NEGATIVE, ConfigError, check, require
from dl_lab.data.spec import DataSpec

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


def training_batches(split: Split, seed: int, batch_size: int, device: torch.device, start: int = 0) -> Iterator[Batch]:
    """Batches from step `start` on, for ever, each a function of (seed, step). An epoch's last may be smaller."""
    steps_per_epoch = ceil(len(split) / batch_size)
    for epoch in count(start // steps_per_epoch):
        order = split.shuffled(rng.generator(seed, "order", epoch)).to(device)
        first = max(0, start - epoch * steps_per_epoch)
        yield from split.batches(cut(order, batch_size)[first:])


def cut(order: Tensor, batch_size: int) -> list[Tensor]:
    """Batches of an order; a last one of a single example, whose variance is nothing, gets a second from the one
    before.
    """
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1 and batch_size > 2:
        batches[-2:] = order[-batch_size - 1 :].split([batch_size - 1, 2])
    return batches


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images (batch, channel, height, width), drawn on the device.

    `flip` mirrors half of them left to right; `crop` moves each by up to so many pixels, black coming in.
    """

    flip: bool
    crop: int

    def __post_init__(self) -> None:
        check("dataset", self, {"crop": NOT_NEGATIVE})

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        number, channels, height, width = images.shape
        draws = rng.uniform(key, 3 * number).view(3, number, 1)
        shift = (draws[:2] * (2 * self.crop + 1)).long()
        rows = torch.arange(height, device=images.device) + shift[0]
        columns = torch.arange(width, device=images.device).expand(number, -1)
        if self.flip:
            columns = torch.where(draws[2] < 0.5, columns.flip(1), columns)
        columns = columns + shift[1]
        padded = F.pad(images, (self.crop,) * 4) if self.crop else images
        batch = torch.arange(number, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[:, None, None]
        return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Three splits and how their inputs are prepared. A split that was not published as such is None.

    `mean` and `std` (channel, 1, 1) belong to the training split, in the unit of the stored pixels. They normalise
    inputs that are stored as whole numbers; floats are taken as ready. `is_text` says that tokens are characters, so
    that a sample can be read.
    """

    PREPARED_ONCE: ClassVar[int] = 10_000_000  # values of a split; more stay bytes, a quarter of the memory

    spec: DataSpec
    train: Split
    validation: Split
    test: Split | None
    mean: Tensor | None = None
    std: Tensor | None = None
    augmentation: Augmentation | None = None
    is_text: bool = False

    def to(self, device: torch.device, dtype: torch.dtype) -> "Data":
        """The same data on `device`, every float as `dtype`."""
        splits = {name: split for name in ("train", "validation", "test") if (split := getattr(self, name)) is not None}
        moved = {name: split.to(device, dtype) for name, split in splits.items()}
        if self.mean is None or self.std is None:
            return replace(self, **moved)
        return replace(self, **moved, mean=self.mean.to(device, dtype), std=self.std.to(device, dtype))

    def prepared_once(self) -> "Data":
        """The same data with every split ready for the model that takes little memory so; if nothing is drawn, training
        is one of them.
        """
        if self.mean is None:
            return self
        ready: dict[str, Any] = {}
        for name in ("validation", "test") if self.augmentation is not None else ("train", "validation", "test"):
            split = getattr(self, name)
            if isinstance(split, InMemory) and split.inputs.numel() <= self.PREPARED_ONCE:
                ready[name] = replace(split, inputs=self.prepare(split.inputs))
        return replace(self, **ready)

    def prepare(self, inputs: Tensor, augmentation_key: Tensor | None = None) -> Tensor:
        """Stored inputs as the model takes them; augmented first, if there is a key to draw from. Floats are ready."""
        if self.augmentation is not None and augmentation_key is not None:
            inputs = self.augmentation(inputs, augmentation_key)
        if self.mean is None or self.std is None or inputs.is_floating_point():
            return inputs
        return (inputs - self.mean).div_(self.std)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How much is held out: a fraction below 1, or a number of examples."""

    validation: float
    test: float

    def __post_init__(self) -> None:
        check("dataset", self, {"validation": FRACTION_OR_COUNT, "test": FRACTION_OR_COUNT})


def held_out(fraction_or_count: float, examples: int) -> int:
    """Examples that a `validation` or `test` field asks for, of so many."""
    return round(fraction_or_count * examples) if fraction_or_count < 1 else int(fraction_or_count)


def divide(examples: int, validation: float, test: float, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the training, validation and test examples: `order` (examples,) cut in three, test at its end.

    Raises:
        ConfigError: if no validation or training example would be left.
    """
    for_test, for_validation = held_out(test, examples), held_out(validation, examples)
    require(for_validation >= 1, "dataset.validation", validation, f"at least 1 of the {examples} examples")
    for_training = examples - for_test - for_validation
    if for_training < 1:
        raise ConfigError(
            f"dataset.validation={validation} and dataset.test={test} leave no training example of {examples}; "
            "allowed: together less than all"
        )
    train, validation_part, test_part = order.split([for_training, for_validation, for_test])
    return train, validation_part, test_part


def byte_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (channel, 1, 1), float64, of images (example, channel, height, width) in bytes.

    From a histogram of the 256 values, so that the images are never held as floats. A constant channel has std 1.
    """
    values = torch.arange(256, dtype=torch.float64)
    means, stds = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.reshape(-1), minlength=256).double() / channel.numel()
        mean = (share * values).sum()
        means.append(mean)
        stds.append(((share * (values - mean) ** 2).sum()).sqrt())
    std = torch.stack(stds)
    return torch.stack(means).view(-1, 1, 1), torch.where(std > 0, std, 1.0).view(-1, 1, 1)
