"""Ways to draw the weights that a network starts from.

A builder takes its configuration, the weight to fill in place, the activation's name and a generator.
"""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn

from dl_lab.core.errors import BELOW_ONE, FINITE, NOT_NEGATIVE, POSITIVE, check, one_of, require
from dl_lab.nn.activations import gain
from dl_lab.registry import INITIALIZERS


@dataclass(frozen=True, kw_only=True)
class InitializerConfig:
    """`bias`: the value that every bias starts at; null leaves torch's own."""

    bias: float | None

    def __post_init__(self) -> None:
        check("initializer", self, {"bias": FINITE})


@dataclass(frozen=True, kw_only=True)
class GainConfig(InitializerConfig):
    """`gain` multiplies the standard deviation; null takes the one that fits the model's activation."""

    gain: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        check("initializer", self, {"gain": POSITIVE})

    def gain_for(self, activation: str) -> float:
        return gain(activation) if self.gain is None else self.gain


@dataclass(frozen=True, kw_only=True)
class ConstantConfig(InitializerConfig):
    value: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("initializer", self, {"value": FINITE})


@dataclass(frozen=True, kw_only=True)
class NormalConfig(InitializerConfig):
    mean: float
    std: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("initializer", self, {"mean": FINITE, "std": NOT_NEGATIVE})


@dataclass(frozen=True, kw_only=True)
class UniformConfig(InitializerConfig):
    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("initializer", self, {"low": FINITE, "high": FINITE})
        require(self.low <= self.high, "initializer.low", self.low, f"at most initializer.high={self.high}")


@dataclass(frozen=True, kw_only=True)
class KaimingConfig(GainConfig):
    """`mode`: keep the variance of activations (fan_in) or of gradients (fan_out)."""

    mode: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check("initializer", self, {"mode": one_of("fan_in", "fan_out")})

    def std(self, weight: Tensor, activation: str) -> float:
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
        return self.gain_for(activation) * (fan_in if self.mode == "fan_in" else fan_out) ** -0.5


@dataclass(frozen=True, kw_only=True)
class SparseConfig(InitializerConfig):
    """`sparsity`: the fraction of each column that is zero; the rest is normal with `std`."""

    sparsity: float
    std: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("initializer", self, {"sparsity": BELOW_ONE, "std": POSITIVE})


@INITIALIZERS.register("default", InitializerConfig)
def default(config: InitializerConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """What the model was built with: torch's own for layers (Kaiming-uniform with a = sqrt(5)), GPT-2's for the
    transformer.
    """


@INITIALIZERS.register("zeros", InitializerConfig)
def zeros(config: InitializerConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Every weight 0: nothing behind the last layer ever learns."""
    nn.init.zeros_(weight)


@INITIALIZERS.register("constant", ConstantConfig)
def constant(config: ConstantConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Every weight the same: the units of a layer stay copies of one another."""
    nn.init.constant_(weight, config.value)


@INITIALIZERS.register("normal", NormalConfig)
def normal(config: NormalConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Normal with `mean` and `std`."""
    nn.init.normal_(weight, config.mean, config.std, generator=generator)


@INITIALIZERS.register("truncated_normal", NormalConfig)
def truncated_normal(config: NormalConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Normal with `mean` and `std` of which what lies beyond two `std` is drawn again."""
    if config.std == 0:
        nn.init.constant_(weight, config.mean)
        return
    low, high = config.mean - 2 * config.std, config.mean + 2 * config.std
    nn.init.trunc_normal_(weight, config.mean, config.std, low, high, generator=generator)


@INITIALIZERS.register("uniform", UniformConfig)
def uniform(config: UniformConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Uniform between `low` and `high`."""
    nn.init.uniform_(weight, config.low, config.high, generator=generator)


@INITIALIZERS.register("xavier_uniform", GainConfig)
def xavier_uniform(config: GainConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Variance 2 gain^2 / (fan_in + fan_out): Glorot & Bengio 2010."""
    nn.init.xavier_uniform_(weight, config.gain_for(activation), generator=generator)


@INITIALIZERS.register("xavier_normal", GainConfig)
def xavier_normal(config: GainConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Variance 2 gain^2 / (fan_in + fan_out): Glorot & Bengio 2010."""
    nn.init.xavier_normal_(weight, config.gain_for(activation), generator=generator)


@INITIALIZERS.register("kaiming_uniform", KaimingConfig)
def kaiming_uniform(config: KaimingConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Variance gain^2 / fan: He et al. 2015, arXiv:1502.01852."""
    bound = 3**0.5 * config.std(weight, activation)
    nn.init.uniform_(weight, -bound, bound, generator=generator)


@INITIALIZERS.register("kaiming_normal", KaimingConfig)
def kaiming_normal(config: KaimingConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Variance gain^2 / fan: He et al. 2015, arXiv:1502.01852."""
    nn.init.normal_(weight, 0.0, config.std(weight, activation), generator=generator)


@INITIALIZERS.register("lecun_normal", InitializerConfig)
def lecun_normal(config: InitializerConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Variance 1 / fan_in, which selu asks for: LeCun et al. 1998; Klambauer et al. 2017, arXiv:1706.02515."""
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(weight)
    nn.init.normal_(weight, 0.0, fan_in**-0.5, generator=generator)


@INITIALIZERS.register("orthogonal", GainConfig)
def orthogonal(config: GainConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Orthonormal rows or columns, whichever are fewer: Saxe et al. 2013, arXiv:1312.6120."""
    nn.init.orthogonal_(weight, config.gain_for(activation), generator=generator)


@INITIALIZERS.register("sparse", SparseConfig)
def sparse(config: SparseConfig, weight: Tensor, activation: str, generator: torch.Generator) -> None:
    """Most weights 0, the rest normal: Martens 2010. A convolution counts as (out channel, everything else)."""
    matrix = torch.empty_like(weight.flatten(1)).normal_(0.0, config.std, generator=generator)
    zeros_each = min(ceil(config.sparsity * len(matrix)), len(matrix) - 1)
    for column in matrix.T:  # nn.init.sparse_ draws the places from torch's global generator
        column[torch.randperm(len(column), generator=generator)[:zeros_each]] = 0.0
    weight.copy_(matrix.view_as(weight))
