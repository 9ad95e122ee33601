"""Dropouts: what they drop, what they keep of mean and variance, and that masks are a function of (key, layer, index).

Keys are fixed, so every statistic is one number; bounds are five standard errors.
"""

from functools import cache
from math import exp, pi, sqrt

import pytest
import torch
from scipy import integrate
from support.configs import parsed
from torch import Tensor, nn

from dl_lab.core import rng
from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import DataSpec, Head
from dl_lab.dropouts.layers import AlphaDropout, Dropout, number_layers
from dl_lab.registry import DROPOUTS, MODELS
from dl_lab.training.setup import build_model

CPU = torch.device("cpu")
DROPPING = [name for name in DROPOUTS.names() if name != "none"]
DEEP = [name for name in MODELS.names() if "image" in MODELS[name].kinds and name not in ("linear", "logistic")]
DIGITS = DataSpec(
    kind="image", input_shape=(1, 8, 8), heads=(Head(name="digit", task="classification", labels=tuple("0123456789")),)
)


@cache
def config_of(name: str) -> object:
    return parsed(f"dropout={name}").dropout.config


def layer_of(name: str, p: float, step: int = 0) -> nn.Module:
    """One layer as a model would hold it, in training, keyed for a step."""
    layer: nn.Module = DROPOUTS[name].build(config_of(name), p)
    number_layers(layer, CPU).copy_(rng.key(0, "dropout", step))
    return layer.train()


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=rng.generator(0, "x"), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 8, 8), (4, 7, 6)])
@pytest.mark.parametrize("name", DROPOUTS.names())
def test_evaluation_drops_nothing_and_training_keeps_shape_and_type(name: str, shape: tuple[int, ...]) -> None:
    layer = layer_of(name, 0.5)
    for x in (normal(*shape), normal(*shape).float()):
        trained = layer.train()(x)
        assert trained.shape == x.shape
        assert trained.dtype == x.dtype
        assert torch.equal(trained, x) == (name == "none")
        assert torch.equal(layer.eval()(x), x)
        assert torch.equal(layer_of(name, 0.0)(x), x)


@pytest.mark.parametrize("name", DROPPING)
def test_a_mask_is_a_function_of_the_key(name: str) -> None:
    x, layer = normal(64, 50), layer_of(name, 0.5)
    first = layer(x)
    torch.manual_seed(1)  # the global generator has no say
    assert torch.equal(layer(x), first)
    assert torch.equal(layer_of(name, 0.5)(x), first)
    assert not torch.equal(layer_of(name, 0.5, step=1)(x), first)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("name", ["dropout", "spatial"])
def test_what_is_kept_is_scaled_so_that_the_mean_stays(name: str, p: float) -> None:
    x = 1 + normal(400, 250).abs()
    dropped = layer_of(name, p)(x)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], x[kept] / (1 - p), rtol=1e-12, atol=0)
    assert abs(kept.double().mean() - (1 - p)) < 5 * sqrt(p * (1 - p) / x.numel())
    error = sqrt(p / (1 - p) * float(x.square().mean()) / x.numel())  # of the mean of x * mask / (1 - p)
    assert abs(dropped.mean() - x.mean()) < 5 * error


@pytest.mark.parametrize("name", ["dropout", "spatial", "alpha_dropout"])
def test_every_value_is_dropped_as_often_as_any_other(name: str) -> None:
    """Over 1,000 steps, each of 60 places."""
    x, p = torch.full((6, 10), 0.5), 0.3
    dropped = torch.stack([layer_of(name, p, step)(x) for step in range(1000)])
    lowest = (dropped == dropped.min()).double().mean(dim=0)  # what is dropped comes out below what is kept
    assert (lowest - p).abs().max() < 5 * sqrt(p * (1 - p) / 1000)


@pytest.mark.parametrize("name", ["dropout", "spatial"])
def test_gradients_pass_where_values_do(name: str) -> None:
    x = normal(20, 30).requires_grad_()
    outputs = layer_of(name, 0.4)(x)
    (gradient,) = torch.autograd.grad(outputs.sum(), x)
    torch.testing.assert_close(gradient, outputs.detach() / x.detach())


@pytest.mark.parametrize("shape", [(16, 32, 5, 7), (16, 5, 32)], ids=["images", "sequences"])
def test_spatial_dropout_drops_channels_of_images_and_of_sequences_as_a_whole(shape: tuple[int, ...]) -> None:
    p = 0.4
    kept = layer_of("spatial", p)(torch.ones(shape)) != 0
    by_channel = kept.flatten(2) if len(shape) == 4 else kept.transpose(1, 2)  # (batch, channel, place)
    assert torch.equal(by_channel.all(dim=2), by_channel.any(dim=2))
    channels = by_channel.all(dim=2).double()
    assert abs(channels.mean() - (1 - p)) < 5 * sqrt(p * (1 - p) / channels.numel())
    assert len(channels.unique(dim=0)) == len(channels)  # each example by itself


def test_plain_dropout_drops_values_of_a_channel_one_by_one() -> None:
    kept = layer_of("dropout", 0.5)(torch.ones(8, 4, 6, 6)).flatten(2) != 0
    assert (kept.any(dim=2) & ~kept.all(dim=2)).all()


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_alpha_dropout_keeps_mean_0_and_variance_1(p: float) -> None:
    outputs = layer_of("alpha_dropout", p)(normal(1000, 400))
    count = outputs.numel()
    assert abs(outputs.mean()) < 5 / sqrt(count)
    fourth = float(((outputs - outputs.mean()) ** 4).mean())
    assert abs(outputs.var() - 1) < 5 * sqrt((fourth - 1) / count)


def test_alpha_dropout_keeps_the_moments_of_selu_activations() -> None:
    """Selu maps a standard normal to mean 0 and variance 1, and dropping leaves it there (Klambauer et al. 2017)."""
    outputs = layer_of("alpha_dropout", 0.1)(torch.selu(normal(1000, 400)))
    fourth = float((outputs**4).mean())
    assert abs(outputs.mean()) < 5 / sqrt(outputs.numel())
    assert abs(outputs.var() - 1) < 5 * sqrt((fourth - 1) / outputs.numel())


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_alpha_dropout_takes_the_two_values_that_torchs_takes(p: float) -> None:
    """x = 1 comes out of torch.nn.AlphaDropout as a + b if kept, as a * limit + b if dropped."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = nn.AlphaDropout(p)(torch.ones(1000, dtype=torch.float64)).unique()
    ours = layer_of("alpha_dropout", p)(torch.ones(1000, dtype=torch.float64)).unique()
    assert len(theirs) == 2
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_alpha_dropouts_limit_is_selus_at_minus_infinity() -> None:
    limit = torch.selu(torch.tensor(-1e3, dtype=torch.float64)).item()
    assert limit == pytest.approx(AlphaDropout.LIMIT, rel=1e-15)

    def moment(power: int) -> float:
        def integrand(z: float) -> float:
            return torch.selu(torch.tensor(z, dtype=torch.float64)).item() ** power * exp(-z * z / 2) / sqrt(2 * pi)

        return float(sum(integrate.quad(integrand, *ends)[0] for ends in ((-12, 0), (0, 12))))

    assert moment(1) == pytest.approx(0, abs=1e-7)
    assert moment(2) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("name", DROPPING)
@pytest.mark.parametrize("model", DEEP)
def test_the_layers_of_a_model_share_a_key_and_draw_different_masks(model: str, name: str) -> None:
    built = build_model(parsed(f"model={model}", f"dropout={name}", "dropout.input_p=0.1"), DIGITS)
    key = number_layers(built, CPU)
    layers = [layer for layer in built.modules() if isinstance(layer, Dropout)]
    assert len(layers) > 1
    assert [layer.layer for layer in layers] == list(range(len(layers)))
    assert [layer.p for layer in layers] == [0.1] + [layers[1].p] * (len(layers) - 1)
    key.copy_(rng.key(0, "dropout", 3))
    outputs = torch.stack([layer(torch.ones(2000, 1)) for layer in layers[1:]]).flatten(1)
    assert len(outputs.unique(dim=0)) == len(outputs)


@pytest.mark.parametrize("name", DROPPING)
def test_outputs_follow_the_key_in_training_and_know_no_dropout_in_evaluation(name: str) -> None:
    """The choice of a dropout leaves the weights as the seed drew them."""
    model, plain = (build_model(parsed("model=mlp", choice), DIGITS) for choice in (f"dropout={name}", "dropout=none"))
    key, images = number_layers(model, CPU), normal(4, 1, 8, 8).float()
    outputs: dict[int, Tensor] = {}
    for step in (0, 1, 0):
        key.copy_(rng.key(0, "dropout", step))
        trained = model.train()(images)
        assert torch.equal(outputs.setdefault(step, trained), trained)
        assert torch.equal(model.eval()(images), plain(images))
    assert not torch.equal(outputs[0], outputs[1])


def test_input_dropout_drops_inputs_and_nothing_else() -> None:
    model = build_model(parsed("model=linear", "dropout=dropout", "dropout.p=0.9", "dropout.input_p=0.5"), DIGITS)
    number_layers(model, CPU).copy_(rng.key(0, "dropout", 7))
    plain, images = build_model(parsed("model=linear"), DIGITS), normal(4, 1, 8, 8).float()
    mask = rng.keep_mask(rng.key(0, "dropout", 7), images.shape, 0.5, layer=0)
    torch.testing.assert_close(model.train()(images), plain(images * mask * 2))
    torch.testing.assert_close(model.eval()(images), plain(images))


@pytest.mark.parametrize("name", DROPPING)
def test_input_dropout_is_refused_on_tokens_and_dropout_between_layers_is_not(name: str) -> None:
    overrides = ("dataset=sorting", "model=transformer", f"dropout={name}")
    assert parsed(*overrides).dropout.entry.name == name
    with pytest.raises(
        ConfigError, match=r"^dropout\.input_p=0\.1 does not fit dataset=sorting \(tokens.*; allowed: 0"
    ):
        parsed(*overrides, "dropout.input_p=0.1")


@pytest.mark.parametrize("name", DROPOUTS.names())
def test_a_checkpoint_holds_no_key(name: str) -> None:
    state = build_model(parsed("model=mlp", f"dropout={name}"), DIGITS).state_dict()
    assert set(state) == set(build_model(parsed("model=mlp"), DIGITS).state_dict())


@pytest.mark.parametrize("key", ["p", "input_p"])
@pytest.mark.parametrize("value", ["-0.1", "1.0", "nan"])
def test_a_probability_out_of_range_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^dropout\.{key}={value} is not allowed; allowed: "):
        parsed("dropout=dropout", f"dropout.{key}={value}")
