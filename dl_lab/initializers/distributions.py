"""Distributions that the initial weights are drawn from.

A builder fills a weight in place. It receives its configuration, the weight, the name of the model's activation and a
generator.
"""

from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn

from dl_lab.core.errors import require
from dl_lab.core.schema import BelowOne, Finite, NonNegativeFloat, PositiveFloat, Schema
from dl_lab.nn.activations import gain
from dl_lab.registry import INITIALIZERS


class InitializerConfig(Schema):
    """`bias`: the initial value of every bias; null keeps the initialization of torch."""

    bias: Finite | None


class GainConfig(InitializerConfig):
    """`gain`: a factor on the standard deviation; null selects the gain of the model's activation."""

    gain: PositiveFloat | None

    def gain_for(self, activation: str) -> float:
        return gain(activation) if self.gain is None else self.gain


class ConstantConfig(InitializerConfig):
    value: Finite


class NormalConfig(InitializerConfig):
    mean: Finite
    std: NonNegativeFloat


class UniformConfig(InitializerConfig):
    low: Finite
    high: Finite

    def __post_init__(self) -> None:
        require(self.low <= self.high, "initializer.low", self.low, f"at most initializer.high={self.high}")


class KaimingConfig(GainConfig):
    """`mode`: preserve the variance of activations (fan_in) or of gradients (fan_out)."""

    mode: Literal["fan_in", "fan_out"]

    def std(self, weight: Tensor, activation: str) -> float:
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
        return self.gain_for(activation) * (fan_in if self.mode == "fan_in" else fan_out) ** -0.5


class SparseConfig(InitializerConfig):
    """`sparsity`: the fraction of each column that is zero; `std`: the standard deviation of the other weights."""

    sparsity: BelowOne
    std: PositiveFloat


@INITIALIZERS.register("default", InitializerConfig)
def default(config: InitializerConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Keep the model's own weights: torch's for layers (Kaiming uniform, a = sqrt(5)), GPT-2's for transformers."""


@INITIALIZERS.register("zeros", InitializerConfig)
def zeros(config: InitializerConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Every weight is 0: only the last layer learns."""
    nn.init.zeros_(weight)


@INITIALIZERS.register("constant", ConstantConfig)
def constant(config: ConstantConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Every weight is equal: the units of a layer remain identical."""
    nn.init.constant_(weight, config.value)


@INITIALIZERS.register("normal", NormalConfig)
def normal(config: NormalConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Normal distribution with `mean` and `std`."""
    nn.init.normal_(weight, config.mean, config.std, generator=generator)


@INITIALIZERS.register("truncated_normal", NormalConfig)
def truncated_normal(config: NormalConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Normal distribution with `mean` and `std`, truncated at two standard deviations from the mean."""
    if config.std == 0:
        nn.init.constant_(weight, config.mean)
        return
    low, high = config.mean - 2 * config.std, config.mean + 2 * config.std
    nn.init.trunc_normal_(weight, config.mean, config.std, low, high, generator=generator)


@INITIALIZERS.register("uniform", UniformConfig)
def uniform(config: UniformConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Uniform distribution on [`low`, `high`)."""
    nn.init.uniform_(weight, config.low, config.high, generator=generator)


@INITIALIZERS.register("xavier_uniform", GainConfig)
def xavier_uniform(config: GainConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Uniform with variance 2 gain^2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    nn.init.xavier_uniform_(weight, config.gain_for(activation), generator=generator)


@INITIALIZERS.register("xavier_normal", GainConfig)
def xavier_normal(config: GainConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Normal with variance 2 gain^2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    nn.init.xavier_normal_(weight, config.gain_for(activation), generator=generator)


@INITIALIZERS.register("kaiming_uniform", KaimingConfig)
def kaiming_uniform(config: KaimingConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Uniform with variance gain^2 / fan (He et al. 2015, arXiv:1502.01852)."""
    bound = 3**0.5 * config.std(weight, activation)
    nn.init.uniform_(weight, -bound, bound, generator=generator)


@INITIALIZERS.register("kaiming_normal", KaimingConfig)
def kaiming_normal(config: KaimingConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Normal with variance gain^2 / fan (He et al. 2015, arXiv:1502.01852)."""
    nn.init.normal_(weight, 0.0, config.std(weight, activation), generator=generator)


@INITIALIZERS.register("lecun_normal", InitializerConfig)
def lecun_normal(config: InitializerConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Normal with variance 1 / fan_in (LeCun et al. 1998), for selu (Klambauer et al. 2017, arXiv:1706.02515)."""
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(weight)
    nn.init.normal_(weight, 0.0, fan_in**-0.5, generator=generator)


@INITIALIZERS.register("orthogonal", GainConfig)
def orthogonal(config: GainConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Orthonormal rows or columns, whichever are fewer (Saxe et al. 2013, arXiv:1312.6120)."""
    nn.init.orthogonal_(weight, config.gain_for(activation), generator=generator)


@INITIALIZERS.register("sparse", SparseConfig)
def sparse(config: SparseConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Some weights are 0, the others are normal (Martens 2010). A kernel is a matrix (out channel, rest)."""
    matrix = torch.empty_like(weight.flatten(1)).normal_(0.0, config.std, generator=generator)
    zeros_each = min(ceil(config.sparsity * len(matrix)), len(matrix) - 1)
    for column in matrix.T:  # nn.init.sparse_ draws the positions from torch's global generator
        column[torch.randperm(len(column), generator=generator)[:zeros_each]] = 0.0
    weight.copy_(matrix.view_as(weight))
