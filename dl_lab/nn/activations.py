"""Activation functions by name, and the gain with which to initialize the weights before each."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Activation] = {
    "identity": identity,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": torch.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
}

# Their names in torch.nn.init.calculate_gain.
_TORCH_GAINS = {
    "identity": "linear",
    **{name: name for name in ("relu", "leaky_relu", "selu", "tanh", "sigmoid")},
}


if TYPE_CHECKING:
    ActivationName = str
else:
    ActivationName = Literal[tuple(ACTIVATIONS)]


@cache
def gain(name: str) -> float:
    """The factor on the standard deviation of initial weights that keeps the scale of activations constant.

    It comes from torch.nn.init.calculate_gain, if that knows the activation. Otherwise it solves E[f(z)^2] * gain^2 = 1
    with z ~ N(0, 1) (He et al. 2015, arXiv:1502.01852, eq. 9), by the trapezoidal rule on [-12, 12].
    """
    if name in _TORCH_GAINS:
        return float(nn.init.calculate_gain(_TORCH_GAINS[name]))  # type: ignore[arg-type]  # typed by literals
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / (2 * torch.pi) ** 0.5
    return float(torch.trapezoid(ACTIVATIONS[name](z) ** 2 * density, z) ** -0.5)
