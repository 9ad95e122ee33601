"""Training batches as a function of (seed, step)."""

from collections.abc import Iterator
from itertools import count
from math import ceil

import torch
from torch import Tensor

from dl_lab.core import rng
from dl_lab.data.splits import Batch, Split


def training_batches(split: Split, seed: int, batch_size: int, device: torch.device, start: int = 0) -> Iterator[Batch]:
    """Training batches from step `start` on, without end, each a function of (seed, step). The last batch of an epoch
    may be smaller.
    """
    steps_per_epoch = ceil(len(split) / batch_size)

    def indices() -> Iterator[Tensor]:
        for epoch in count(start // steps_per_epoch):
            order = split.shuffled(rng.generator(seed, "order", epoch)).to(device)
            yield from cut(order, batch_size)[max(0, start - epoch * steps_per_epoch) :]

    # One call, so that the workers of a streamed split start once.
    return split.with_draws(seed, start).batches(indices())


def cut(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut `order` (example,) into batches. A last batch of one example, which has no variance, takes a second example
    from the batch before it.
    """
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1 and batch_size > 2:
        batches[-2:] = order[-batch_size - 1 :].split([batch_size - 1, 2])
    return batches
