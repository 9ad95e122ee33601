"""Small problems over sequences of tokens, for a causal model: what is given is not a target, the answer is."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dl_lab.core import rng
from dl_lab.core.errors import COUNT, check, require
from dl_lab.data.dataset import Data
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import PADDING, InMemory
from dl_lab.registry import DATASETS

MOST_SEQUENCES = 10_000_000


def _sequence_data(config: SplitConfig, seed: int, questions: Tensor, answers: Tensor, names: list[str]) -> Data:
    """Data from questions (example, q) and answers (example, a): tokens, the next token as target, questions masked."""
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


@dataclass(frozen=True, kw_only=True)
class SortingConfig(SplitConfig):
    """`length` digits out of 0 ... `digits` - 1; `examples` distinct sequences, or null for every one there is."""

    length: int
    digits: int
    examples: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"length": COUNT, "digits": COUNT, "examples": COUNT})
        there_are = self.digits**self.length
        require(
            there_are <= MOST_SEQUENCES,
            "dataset.length",
            self.length,
            f"at most {MOST_SEQUENCES} sequences in all",
        )
        require((self.examples or 1) <= there_are, "dataset.examples", self.examples, f"at most {there_are}")


@DATASETS.register("sorting", SortingConfig, kinds={"tokens"}, tasks={"language_modelling"})
def sorting(config: SortingConfig, data_dir: Path, seed: int) -> Data:
    """Digits, then the same digits in order (the demonstration of github.com/karpathy/minGPT)."""
    there_are = config.digits**config.length
    numbers = torch.randperm(there_are, generator=rng.generator(seed, "data"))[: config.examples]
    places = config.digits ** torch.arange(config.length)
    questions = numbers[:, None] // places % config.digits
    names = [str(digit) for digit in range(config.digits)]
    return _sequence_data(config, seed, questions, questions.sort(dim=1).values, names)


@dataclass(frozen=True, kw_only=True)
class ModularAdditionConfig(SplitConfig):
    modulus: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(2 <= self.modulus <= 3000, "dataset.modulus", self.modulus, "a whole number from 2 to 3000")


@DATASETS.register("modular_addition", ModularAdditionConfig, kinds={"tokens"}, tasks={"language_modelling"})
def modular_addition(config: ModularAdditionConfig, data_dir: Path, seed: int) -> Data:
    """a, b, = and then a + b modulo a number, for every a and b (Power et al. 2022, arXiv:2201.02177)."""
    modulus = config.modulus
    pairs = torch.cartesian_prod(torch.arange(modulus), torch.arange(modulus))
    questions = torch.cat([pairs, torch.full((len(pairs), 1), modulus)], dim=1)
    answers = pairs.sum(dim=1, keepdim=True) % modulus
    return _sequence_data(config, seed, questions, answers, [*map(str, range(modulus)), "="])
