"""Small tasks on sequences of tokens for a causal model: only the tokens of the answer are targets."""

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from dl_lab.core import rng
from dl_lab.core.errors import require
from dl_lab.core.schema import PositiveInt
from dl_lab.data.dataset import Data
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import PADDING, InMemory
from dl_lab.registry import DATASETS

MAX_SEQUENCES = 10_000_000


def _sequence_data(config: SplitConfig, seed: int, questions: Tensor, answers: Tensor, names: list[str]) -> Data:
    """Build the data from questions (example, q) and answers (example, a); only the answers are targets."""
    sequences = torch.cat([questions, answers], dim=1)
    inputs, targets = sequences[:, :-1].contiguous(), sequences[:, 1:].clone()
    targets[:, : questions.shape[1] - 1] = PADDING
    order = torch.randperm(len(inputs), generator=rng.generator(seed, "split"))
    train, validation, test = (
        InMemory(inputs[part], targets[part]) for part in divide(len(inputs), config.validation, config.test, order)
    )
    head = Head(name="token", task="language_modelling", labels=tuple(names))
    spec = DataSpec(kind="tokens", input_shape=(inputs.shape[1],), heads=(head,), vocabulary=len(names))
    return Data(spec=spec, train=train, validation=validation, test=test if len(test) else None)


class SortingConfig(SplitConfig):
    """`length` digits from 0 to `digits` - 1; `examples` distinct sequences, or null for all of them."""

    length: PositiveInt
    digits: PositiveInt
    examples: PositiveInt | None

    @property
    def sequences(self) -> int:
        return self.digits**self.length

    def __post_init__(self) -> None:
        fits = self.sequences <= MAX_SEQUENCES
        require(fits, "dataset.length", self.length, f"at most {MAX_SEQUENCES} different sequences")
        require((self.examples or 1) <= self.sequences, "dataset.examples", self.examples, f"at most {self.sequences}")


@DATASETS.register("sorting", SortingConfig, kinds={"tokens"}, tasks={"language_modelling"})
def sorting(config: SortingConfig, data_dir: Path, seed: int) -> Data:
    """Digits, then the same digits in order (as in the demo of github.com/karpathy/minGPT)."""
    numbers = torch.randperm(config.sequences, generator=rng.generator(seed, "data"))[: config.examples]
    places = config.digits ** torch.arange(config.length)
    questions = numbers[:, None] // places % config.digits
    names = [str(digit) for digit in range(config.digits)]
    return _sequence_data(config, seed, questions, questions.sort(dim=1).values, names)


class ModularAdditionConfig(SplitConfig):
    modulus: Annotated[int, Interval(ge=2, le=3000), "a whole number from 2 to 3000"]


@DATASETS.register("modular_addition", ModularAdditionConfig, kinds={"tokens"}, tasks={"language_modelling"})
def modular_addition(config: ModularAdditionConfig, data_dir: Path, seed: int) -> Data:
    """a, b, =, then (a + b) mod `modulus`, for every pair (Power et al. 2022, arXiv:2201.02177)."""
    modulus = config.modulus
    pairs = torch.cartesian_prod(torch.arange(modulus), torch.arange(modulus))
    questions = torch.cat([pairs, torch.full((len(pairs), 1), modulus)], dim=1)
    answers = pairs.sum(dim=1, keepdim=True) % modulus
    return _sequence_data(config, seed, questions, answers, [*map(str, range(modulus)), "="])
