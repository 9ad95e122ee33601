"""Activations against SciPy and torch.nn.functional; gains against closed forms and quadrature."""

from collections.abc import Callable
from math import erf, exp, inf, pi, sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import integrate, special, stats

from dl_lab.config.validation import typed
from dl_lab.core.errors import ConfigError
from dl_lab.models.mlp import MLPConfig
from dl_lab.nn.activations import ACTIVATIONS, gain

Array = NDArray[np.float64]
X = np.concatenate([np.linspace(-30, 30, 2001), [-3.0, -1.0, 0.0, 1.0, 3.0]])

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, eq. 14
FORMULAS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.maximum(x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
    "gelu": lambda x: x * stats.norm.cdf(x),
    "silu": lambda x: x * special.expit(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
TORCH_TABLE = {"identity": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}
TORCH_TABLE["leaky_relu"] = sqrt(2 / (1 + 0.01**2))


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_agrees_with_its_formula(name):
    # torch's softplus is the identity above 20, with an error of log(1 + e^-20) = 2e-9; the rest is rounding.
    tolerance = 2.1e-9 if name == "softplus" else 1e-14
    np.testing.assert_allclose(ACTIVATIONS[name](torch.from_numpy(X)), FORMULAS[name](X), rtol=1e-13, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "identity"])
def test_an_activation_is_equal_to_the_function_of_torch_with_its_name(name):
    x = torch.from_numpy(X)
    torch.testing.assert_close(ACTIVATIONS[name](x), getattr(F, name)(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_does_not_change_its_argument(name):
    x = torch.linspace(-4, 4, 101)
    y = ACTIVATIONS[name](x)
    assert y.shape == x.shape
    torch.testing.assert_close(x, torch.linspace(-4, 4, 101), rtol=0, atol=0)


@pytest.mark.parametrize("name", TORCH_TABLE)
def test_gains_agree_with_the_table_of_torch(name):
    assert gain(name) == pytest.approx(TORCH_TABLE[name], rel=1e-15)


def second_moment(name: str) -> float:
    """E[f(z)^2] of the activation with z ~ N(0, 1), by adaptive quadrature on both sides of its kink at 0."""

    def integrand(z: float) -> float:
        value = float(ACTIVATIONS[name](torch.tensor([z], dtype=torch.float64)))
        return value * value * exp(-z * z / 2) / sqrt(2 * pi)

    # Less than 1e-28 of each integral lies beyond 12 standard deviations.
    return sum(integrate.quad(integrand, *ends, points=[-3, -1, 1, 3], epsabs=1e-12)[0] for ends in ((-12, 0), (0, 12)))


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("tanh", "sigmoid", "selu")])
def test_a_gain_restores_the_second_moment_of_a_standard_normal(name):
    """Except for tanh, sigmoid and selu, for which torch has rules of thumb. The error at a kink is below the square
    of the grid's step, 1e-6.
    """
    assert gain(name) ** 2 * second_moment(name) == pytest.approx(1, abs=1e-6)


def test_the_gain_of_hardtanh_agrees_with_its_closed_form():
    """E = P(|z| < 1) - 2 phi(1) + P(|z| > 1) = 1 - 2 phi(1)."""
    assert gain("hardtanh") == pytest.approx((1 - sqrt(2 / pi) * exp(-0.5)) ** -0.5, abs=1e-6)


def test_the_gain_of_elu_agrees_with_its_closed_form():
    """E = 1/2 + E[(e^z - 1)^2; z < 0] with E[e^(az); z < 0] = e^(a^2/2) Phi(-a)."""

    def below_zero(a: float) -> float:
        return exp(a * a / 2) * (1 + erf(-a / sqrt(2))) / 2

    expected = 0.5 + below_zero(2) - 2 * below_zero(1) + below_zero(0)
    assert gain("elu") == pytest.approx(expected**-0.5, abs=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_gain_is_positive_and_finite(name):
    assert 0 < gain(name) < inf


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_mistyped_activation_is_an_error_with_the_nearest_name(name):
    values = {"hidden_sizes": [1], "activation": name}
    assert typed(MLPConfig, values, "model").activation == name
    with pytest.raises(ConfigError, match=rf"model\.activation={name[0]}{name} is not known \(nearest: {name}\)"):
        typed(MLPConfig, {**values, "activation": name[0] + name}, "model")
