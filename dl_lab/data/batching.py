"""Training batches as a function of (seed, step)."""

from collections.abc import Iterator
from itertools import count
from math import ceil

import torch
from torch import Tensor

from dl_lab.core import devices, rng
from dl_lab.data.splits import Batch, Split


def steps_in_epoch(examples: int, batch_size: int, joins: bool = False) -> int:
    """The number of batches that `cut` returns."""
    return examples // 2 if joins and batch_size == 2 < examples else ceil(examples / batch_size)


def training_batches(
    split: Split, seed: int, batch_size: int, device: torch.device, start: int = 0, joins: bool = False
) -> Iterator[Batch]:
    """Training batches from step `start` on, without end, each a function of (seed, step), cut as `cut` does."""
    steps_per_epoch = steps_in_epoch(len(split), batch_size, joins)

    def indices() -> Iterator[Tensor]:
        step = count(start)
        for epoch in count(start // steps_per_epoch):
            order = split.shuffled(rng.generator(seed, "order", epoch)).to(device)
            for batch in cut(order, batch_size, joins)[max(0, start - epoch * steps_per_epoch) :]:
                if not type(split).__module__.startswith("dl_lab."):  # one of the user's, which may draw numbers
                    devices.seed_global_generators(rng.seed_for(seed, "batch", next(step)), device)
                yield batch

    # One call, so that the workers of a streamed split start once.
    return split.with_draws(seed, start).batches(indices())


def cut(order: Tensor, batch_size: int, joins: bool = False) -> list[Tensor]:
    """Cut `order` (example,) into batches, of which the last may be smaller. A last batch of one example, which has no
    variance, takes a second example from the batch before it. With a batch size of 2 that would move the problem, so
    that it joins the batch before it instead, if the model `joins`, because it cannot train on one example.
    """
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        if batch_size > 2:
            batches[-2:] = order[-batch_size - 1 :].split([batch_size - 1, 2])
        elif joins and batch_size == 2:
            batches[-2:] = [order[-3:]]
    return batches
