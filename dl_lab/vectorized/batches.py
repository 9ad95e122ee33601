"""Batches for several runs at once, each in the order of its own seed."""

from collections.abc import Hashable, Iterator, Sequence
from itertools import count

import torch
from torch import Tensor

from dl_lab.core import rng
from dl_lab.data.batching import cut, steps_in_epoch, training_batches
from dl_lab.data.dataset import Data
from dl_lab.data.splits import Batch, InMemory, Split
from dl_lab.training.state import Plan


class StackedBatches:
    """The data of several runs. Runs with equal `keys` have equal data; `seeds` give each run's order.

    Batches have a run axis in front and `axis` is 0, unless all runs share one source (the same data in the same
    order): then there is no run axis and `axis` is None.
    """

    def __init__(self, keys: Sequence[Hashable], data: Sequence[Data], seeds: Sequence[int], device: torch.device):
        numbers: dict[Hashable, int] = {}
        which = [numbers.setdefault((key, seed), len(numbers)) for key, seed in zip(keys, seeds, strict=True)]
        firsts = [which.index(number) for number in range(len(numbers))]
        self.data = [data[first] for first in firsts]
        self.seeds = [seeds[first] for first in firsts]
        self.which = torch.tensor(which)
        self.device = device

    @property
    def axis(self) -> int | None:
        return None if len(self.data) == 1 else 0

    def select(self, runs: Tensor) -> None:
        """Keep only these runs."""
        self.which = self.which[runs]

    def training(self, plan: Plan, start: int) -> Iterator[Batch]:
        """Batches from step `start` on, endlessly: inputs (run, batch, ...), targets (run, batch, ...)."""
        splits = [data.train for data in self.data]
        in_memory = [split for split in splits if isinstance(split, InMemory)]
        if len(splits) > 1 and len(in_memory) == len(splits):
            yield from self._indexed(in_memory, plan, start)
        sources = [
            training_batches(split, seed, plan.batch_size, self.device, start, plan.joins)
            for split, seed in zip(splits, self.seeds, strict=True)
        ]
        yield from (self._stacked(batches) for batches in zip(*sources, strict=True))

    def everything(self, splits: Sequence[Split], batch_size: int) -> Iterator[Batch]:
        """Batches that visit one split of each source once, in order."""
        parts = [split.everything(batch_size) for split in splits]
        yield from (self._stacked(batches) for batches in zip(*parts, strict=True))

    def _stacked(self, batches: tuple[Batch, ...]) -> Batch:
        if len(batches) == 1:
            return batches[0]
        inputs, targets = (torch.stack(tensors) for tensors in zip(*batches, strict=True))
        which = self.which.to(self.device)
        return inputs.index_select(0, which), targets.index_select(0, which)

    def _indexed(self, splits: list[InMemory], plan: Plan, start: int) -> Iterator[Batch]:
        """The same batches from one table of all sources, by one index per step."""
        examples, steps_per_epoch = len(splits[0]), steps_in_epoch(len(splits[0]), plan.batch_size, plan.joins)
        inputs = torch.cat([split.inputs for split in splits])
        targets = torch.cat([split.targets for split in splits])
        for epoch in count(start // steps_per_epoch):
            orders = [
                split.shuffled(rng.generator(seed, "order", epoch)) + number * examples
                for number, (split, seed) in enumerate(zip(splits, self.seeds, strict=True))
            ]
            order = torch.stack(orders, dim=1).to(self.device)  # (example, source)
            for rows in cut(order, plan.batch_size, plan.joins)[max(0, start - epoch * steps_per_epoch) :]:
                index = rows.T.index_select(0, self.which.to(self.device)).reshape(-1)
                shape = (len(self.which), len(rows))
                yield (
                    inputs.index_select(0, index).view(*shape, *inputs.shape[1:]),
                    targets.index_select(0, index).view(*shape, *targets.shape[1:]),
                )
