"""Initialisers against their closed forms, on a linear and on a convolutional weight; what they fill, and what not.

Generators are fixed, so every statistic is one number: p-values above 1e-4, moments within five standard errors.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from support.configs import parsed
from torch import Tensor, nn

from dl_lab.config.schema import Choice
from dl_lab.core import rng
from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import DataSpec, Head
from dl_lab.nn.activations import ACTIVATIONS, gain
from dl_lab.registry import INITIALIZERS
from dl_lab.training.setup import build_model, initialize

SHAPES = {"linear": (400, 300), "convolution": (64, 32, 5, 5)}
FANS = {"linear": (300, 400), "convolution": (32 * 25, 64 * 25)}
DRAWING = [name for name in INITIALIZERS.names() if name not in ("default", "zeros", "constant")]

WITH_GAIN = [name for name in DRAWING if "gain" in {field.name for field in fields(INITIALIZERS[name].schema)}]

Law = Callable[[int, int, float], Any]


def uniform(bound: float) -> Any:
    return stats.uniform(-bound, 2 * bound)


# The law of a weight, from fan in, fan out and gain: what is given in the YAML, or in its place here.
LAWS: dict[str, tuple[dict[str, float | str], Law]] = {
    "normal": ({"mean": 0.3, "std": 0.2}, lambda fan_in, fan_out, gain: stats.norm(0.3, 0.2)),
    "truncated_normal": (
        {"mean": 0.3, "std": 0.2},
        lambda fan_in, fan_out, gain: stats.truncnorm(-2, 2, loc=0.3, scale=0.2),
    ),
    "uniform": ({"low": -0.1, "high": 0.3}, lambda fan_in, fan_out, gain: stats.uniform(-0.1, 0.4)),
    "xavier_uniform": ({}, lambda fan_in, fan_out, gain: uniform(gain * sqrt(6 / (fan_in + fan_out)))),
    "xavier_normal": ({}, lambda fan_in, fan_out, gain: stats.norm(0, gain * sqrt(2 / (fan_in + fan_out)))),
    "kaiming_uniform": ({}, lambda fan_in, fan_out, gain: uniform(gain * sqrt(3 / fan_in))),
    "kaiming_normal": ({}, lambda fan_in, fan_out, gain: stats.norm(0, gain * sqrt(1 / fan_in))),
    "kaiming_uniform by fan_out": (
        {"mode": "fan_out"},
        lambda fan_in, fan_out, gain: uniform(gain * sqrt(3 / fan_out)),
    ),
    "kaiming_normal by fan_out": (
        {"mode": "fan_out"},
        lambda fan_in, fan_out, gain: stats.norm(0, gain * sqrt(1 / fan_out)),
    ),
    "lecun_normal": ({}, lambda fan_in, fan_out, gain: stats.norm(0, sqrt(1 / fan_in))),
}


@cache
def from_yaml(name: str) -> Choice:
    return parsed(f"initializer={name}").initializer


def choice(name: str, **values: Any) -> Choice:
    """The entry with the values of its YAML, but for these."""
    return replace(from_yaml(name), config=replace(from_yaml(name).config, **values))


def drawn(chosen: Choice, shape: tuple[int, ...], activation: str = "relu", seed: int = 0) -> Tensor:
    weight = torch.full(shape, torch.nan, dtype=torch.float64)
    chosen.entry.build(chosen.config, weight, activation, rng.generator(seed, "initialization"))
    return weight


@pytest.mark.parametrize("layer", SHAPES)
@pytest.mark.parametrize("case", LAWS)
def test_weights_follow_their_law(case: str, layer: str) -> None:
    values, law = LAWS[case]
    weight = drawn(choice(case.split()[0], **values), SHAPES[layer]).numpy().ravel()
    expected = law(*FANS[layer], sqrt(2))
    assert stats.kstest(weight, expected.cdf).pvalue > 1e-4
    low, high = expected.support()
    assert low <= weight.min()
    assert weight.max() <= high
    mean, variance, kurtosis = (float(moment) for moment in expected.stats(moments="mvk"))
    assert abs(weight.mean() - mean) < 5 * sqrt(variance / weight.size)
    assert abs(weight.var() / variance - 1) < 5 * sqrt((kurtosis + 2) / weight.size)


@pytest.mark.parametrize("name", DRAWING)
def test_weights_are_a_function_of_the_generator_alone(name: str) -> None:
    chosen = choice(name)
    torch.manual_seed(1)
    first = drawn(chosen, SHAPES["linear"])
    torch.manual_seed(2)  # the global generator has no say
    torch.testing.assert_close(drawn(chosen, SHAPES["linear"]), first, rtol=0, atol=0)
    assert not torch.equal(drawn(chosen, SHAPES["linear"], seed=1), first)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", WITH_GAIN)
def test_a_gain_left_open_is_the_activations(name: str, activation: str) -> None:
    plain = drawn(choice(name, gain=1.0), SHAPES["linear"], activation)
    fitted = drawn(choice(name), SHAPES["linear"], activation)
    torch.testing.assert_close(fitted, plain * gain(activation), rtol=1e-12, atol=0)
    torch.testing.assert_close(drawn(choice(name, gain=3.0), SHAPES["linear"], activation), 3 * plain)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("tanh", "sigmoid", "selu")])
def test_a_deep_stack_keeps_its_scale_with_kaiming_weights(activation: str) -> None:
    """Tanh, sigmoid and selu have rules of thumb in torch's table, that do not promise it."""
    width = 512
    x = torch.randn(64, width, generator=rng.generator(0, "x"), dtype=torch.float64)
    for layer in range(6):
        hidden = x if layer == 0 else ACTIVATIONS[activation](x)
        x = hidden @ drawn(choice("kaiming_normal"), (width, width), activation if layer else "identity", layer).T
    # A layer's scale varies by sqrt(5 / 512) or so from weights to weights; a wrong gain would enter 2 * 5 times.
    assert x.square().mean() == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("shape", [(400, 300), (300, 400), (64, 32, 5, 5), (16, 3, 2, 2)])
def test_orthogonal_weights_are_orthonormal_times_the_gain(shape: tuple[int, ...]) -> None:
    matrix = drawn(choice("orthogonal"), shape).flatten(1) / sqrt(2)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", SHAPES)
def test_sparse_weights_are_zero_in_their_share_of_each_column_and_normal_elsewhere(layer: str) -> None:
    weight = drawn(choice("sparse", sparsity=0.83, std=0.2), SHAPES[layer]).flatten(1)
    rows, columns = weight.shape
    zeros = (weight == 0).sum(dim=0)
    assert (zeros == zeros[0]).all()
    assert abs(int(zeros[0]) - 0.83 * rows) < 1
    assert stats.kstest(weight[weight != 0].numpy(), stats.norm(0, 0.2).cdf).pvalue > 1e-4
    share = int(zeros[0]) / rows
    scores = ((weight == 0).sum(dim=1) - columns * share) / sqrt(columns * share * (1 - share))
    assert scores.abs().max() < 5  # spread over the rows by chance: binomial


@pytest.mark.parametrize("rows", [1, 3, 9, 10])
def test_sparse_weights_let_every_input_through_somewhere(rows: int) -> None:
    """Also where less than one of a column's weights would be kept; all zero, no layer behind would ever learn."""
    assert (drawn(choice("sparse"), (rows, 20)) != 0).any(dim=0).all()


def test_zeros_and_constants_are_what_they_say() -> None:
    assert (drawn(choice("zeros"), (3, 4)) == 0).all()
    assert (drawn(choice("constant", value=-0.7), (3, 4)) == -0.7).all()


@pytest.mark.parametrize("name", ["normal", "truncated_normal"])
def test_a_normal_without_spread_is_its_mean(name: str) -> None:
    """The range that `initializer.std` allows begins at 0."""
    assert (drawn(choice(name, mean=0.5, std=0.0), (3, 4)) == 0.5).all()


def module() -> nn.Module:
    """One of each layer, in float64 and with odd values wherever they are not drawn."""
    layers = [nn.Conv2d(2, 20, 3), nn.BatchNorm2d(20), nn.Linear(6, 20), nn.LayerNorm(20), nn.Embedding(20, 5)]
    layers += [nn.Linear(20, 20, bias=False), nn.Linear(20, 20, bias=False), nn.Linear(20, 12)]
    model = nn.Sequential(*layers).double()
    for parameter in model.parameters():
        parameter.data.fill_(0.123)
    return model


@pytest.mark.parametrize("name", INITIALIZERS.names())
def test_weights_of_linear_convolutional_and_embedding_layers_are_filled_and_norms_left_alone(name: str) -> None:
    model = module()
    initialize(model, choice(name), "relu", rng.generator(0, "initialization"))
    for layer in model:
        untouched = isinstance(layer, nn.BatchNorm2d | nn.LayerNorm) or name == "default"
        assert (layer.weight == 0.123).all() == untouched
        assert torch.isfinite(layer.weight).all()
        bias = getattr(layer, "bias", None)
        if bias is not None:
            assert (bias == (0.123 if untouched else 0.0)).all()


@pytest.mark.parametrize("name", DRAWING)
def test_layers_of_one_shape_are_drawn_one_after_the_other(name: str) -> None:
    model = module()
    initialize(model, choice(name), "relu", rng.generator(0, "initialization"))
    assert not torch.equal(model[5].weight, model[6].weight)


@pytest.mark.parametrize("name", INITIALIZERS.names())
def test_biases_start_at_the_configured_value_or_keep_theirs(name: str) -> None:
    for bias, expected in ((0.25, 0.25), (None, 0.123)):
        model = module()
        initialize(model, choice(name, bias=bias), "relu", rng.generator(0, "initialization"))
        for layer in (model[0], model[2], model[7]):
            assert (layer.bias == expected).all()


def test_a_shared_weight_is_drawn_once() -> None:
    shared, alone = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)), nn.Linear(4, 4)
    shared[1].weight = shared[0].weight
    generator, reference = (rng.generator(0, "initialization") for _ in range(2))
    initialize(shared, choice("normal"), "relu", generator)
    initialize(nn.Sequential(alone, last := nn.Linear(4, 3)), choice("normal"), "relu", reference)
    torch.testing.assert_close(shared[1].weight, alone.weight, rtol=0, atol=0)
    torch.testing.assert_close(shared[2].weight, last.weight, rtol=0, atol=0)
    torch.testing.assert_close(generator.get_state(), reference.get_state())


DIGITS = DataSpec(
    kind="image", input_shape=(1, 8, 8), heads=(Head(name="digit", task="classification", labels=tuple("0123456789")),)
)


def test_default_leaves_what_torch_drew_from_the_runs_seed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(rng.seed_for(0, "initialization"))
        reference = nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 10))
    model = build_model(parsed("model=mlp", "initializer=default"), DIGITS)
    torch.testing.assert_close(list(model.parameters()), list(reference.parameters()), rtol=0, atol=0)


def test_a_model_is_drawn_with_the_gain_of_its_activation() -> None:
    weights = {}
    for activation in ("relu", "tanh"):
        overrides = ("initializer=xavier_normal", f"model.activation={activation}")
        weights[activation] = build_model(parsed("model=mlp", *overrides), DIGITS).state_dict()["layers.0.weight"]
    torch.testing.assert_close(weights["tanh"] / (5 / 3), weights["relu"] / sqrt(2))


@pytest.mark.parametrize(
    "given",
    [
        "normal std=-1",
        "normal mean=inf",
        "truncated_normal bias=nan",
        "uniform low=1",
        "uniform high=inf",
        "kaiming_normal mode=fan_avg",
        "xavier_normal gain=0",
        "sparse sparsity=1",
        "constant value=inf",
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(given: str) -> None:
    name, override = given.split()
    key = override.split("=")[0]
    with pytest.raises(ConfigError, match=rf"^initializer\.{key}=.* is not (allowed|known).*; allowed: "):
        parsed(f"initializer={name}", f"initializer.{override}")


def test_the_spread_of_a_truncated_normal_is_its_closed_form() -> None:
    """std * sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)) = 0.8796 std, since the tails are drawn again and not scaled up."""
    weight = drawn(choice("truncated_normal", std=1.0), (400, 300))
    expected = sqrt(1 - 4 * stats.norm.pdf(2) / (2 * stats.norm.cdf(2) - 1))
    assert float(weight.std()) == pytest.approx(expected, abs=5 * expected / np.sqrt(2 * weight.numel()))
