"""The transformer against NumPy, layer by layer; what it may look at; its sizes against GPT-2's and torchvision's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special, stats
from support.configs import parsed
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import DataSpec, Head
from dl_lab.models.transformer import Attention, Transformer, TransformerConfig
from dl_lab.training.setup import build_model

Array = NDArray[np.float64]
TIME, VOCABULARY = 10, 13
TEXT = DataSpec(
    kind="tokens",
    input_shape=(TIME,),
    heads=(Head(name="token", task="language_modelling", labels=tuple("abcdefghijklm")),),
    vocabulary=VOCABULARY,
)
IMAGES = DataSpec(
    kind="image", input_shape=(3, 8, 12), heads=(Head(name="kind", task="classification", labels=tuple("abcde")),)
)
SMALL = ("model=transformer", "model.embedding_size=24", "model.num_heads=3", "model.num_layers=2")
CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of at most 96 terms of size 1


def transformer(spec: DataSpec, *overrides: str) -> Transformer:
    """A small one in float64, its weights drawn wide, so that attention is far from uniform."""
    dataset = "dataset=sorting" if spec.kind == "tokens" else "dataset=digits"
    run = parsed(*SMALL, dataset, "initializer=normal", "initializer.std=0.3", "precision=float64", *overrides)
    model = build_model(run, spec)
    assert isinstance(model, Transformer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # biases and norms, which would hide behind 0 and 1
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    return model.eval()


def tokens(batch: int = 4, time: int = TIME) -> Tensor:
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(0))


def images() -> Tensor:
    return torch.randn(4, *IMAGES.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def affine(weights: dict[str, Array], name: str, x: Array) -> Array:
    product: Array = x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", np.zeros(1))
    return product


def normalized(weights: dict[str, Array], name: str, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    shifted: Array = scaled * weights[f"{name}.weight"] + weights.get(f"{name}.bias", np.zeros(1))
    return shifted


def attend(weights: dict[str, Array], name: str, x: Array, heads: int, causal: bool) -> tuple[Array, Array]:
    """Attention by a loop over heads, and its weights (batch, head, query, key)."""
    size, looks, mixed = x.shape[-1], [], []
    queries, keys, values = np.split(affine(weights, f"{name}query_key_value", x), 3, axis=-1)
    for head in range(heads):
        columns = slice(head * size // heads, (head + 1) * size // heads)
        query, key, value = queries[..., columns], keys[..., columns], values[..., columns]
        scores = np.einsum("bqd,bkd->bqk", query, key) / np.sqrt(size // heads)
        if causal:
            scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
        looks.append(special.softmax(scores, axis=-1))
        mixed.append(looks[-1] @ value)
    return affine(weights, f"{name}projection", np.concatenate(mixed, axis=-1)), np.stack(looks, axis=1)


def by_hand(model: Transformer, x: Array, causal: bool) -> tuple[Array, Array]:
    """Everything behind the embedding in NumPy: hidden states, and the weights of every layer."""
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    x, looks = x + weights["positions.weight"][: x.shape[1]], []
    for number in range(2):
        block = f"blocks.{number}."
        change, look = attend(
            weights, f"{block}attention.", normalized(weights, f"{block}attention_norm", x), 3, causal
        )
        x, looks = x + change, [*looks, look]
        hidden = affine(weights, f"{block}expand", normalized(weights, f"{block}feedforward_norm", x))
        x = x + affine(weights, f"{block}contract", hidden * stats.norm.cdf(hidden))  # gelu
    return normalized(weights, "norm", x), np.stack(looks)


def attention(causal: bool) -> tuple[Attention, Tensor]:
    """An attention of 3 heads in float64, and inputs for it."""
    config = TransformerConfig(
        num_layers=1,
        num_heads=3,
        embedding_size=24,
        context_length=TIME,
        patch_size=1,
        activation="gelu",
        bias=True,
        tied_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Attention(config, causal).double(), torch.randn(2, TIME, 24, dtype=torch.float64) * 3


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_numpys(causal: bool) -> None:
    layer, x = attention(causal)
    weights = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    outputs, looks = attend(weights, "", x.numpy(), 3, causal)
    torch.testing.assert_close(layer(x).detach(), torch.from_numpy(outputs), **CLOSE)
    torch.testing.assert_close(layer.weights(x).detach(), torch.from_numpy(looks), **CLOSE)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_torchs_multihead_attention(causal: bool) -> None:
    layer, x = attention(causal)
    reference = nn.MultiheadAttention(24, 3, batch_first=True, dtype=torch.float64)
    names = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    reference.load_state_dict(dict(zip(names, layer.state_dict().values(), strict=True)))
    mask = torch.ones(TIME, TIME, dtype=torch.bool).triu(1) if causal else None
    outputs, looks = reference(x, x, x, attn_mask=mask, average_attn_weights=False)
    torch.testing.assert_close(layer(x), outputs, **CLOSE)
    torch.testing.assert_close(layer.weights(x), looks, **CLOSE)


@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_are_those_that_values_are_mixed_by(causal: bool) -> None:
    layer, x = attention(causal)
    value = layer.query_key_value(x)[..., 48:].view(2, TIME, 3, 8)
    mixed = torch.einsum("bhqk,bkhd->bqhd", layer.weights(x), value).flatten(2)
    torch.testing.assert_close(layer.projection(mixed), layer(x), **CLOSE)


@pytest.mark.parametrize("overrides", [[], ["model.bias=false"], ["model.tied_embeddings=false"]])
def test_a_language_model_is_numpys(overrides: list[str]) -> None:
    model, inputs = transformer(TEXT, *overrides), tokens()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    hidden, looks = by_hand(model, weights["embedding.weight"][inputs.numpy()], causal=True)
    with torch.inference_mode():
        torch.testing.assert_close(model(inputs), torch.from_numpy(affine(weights, "head", hidden)), **CLOSE)
        torch.testing.assert_close(model.attention_weights(inputs), torch.from_numpy(looks), **CLOSE)


def test_a_vision_transformer_is_numpys() -> None:
    """Patches from left to right, then from top to bottom; a patch is channel, row, column."""
    model, inputs = transformer(IMAGES), images()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    patches = inputs.numpy().reshape(4, 3, 2, 4, 3, 4).transpose(0, 2, 4, 1, 3, 5).reshape(4, 6, 48)
    hidden, looks = by_hand(model, affine(weights, "embedding", patches), causal=False)
    with torch.inference_mode():
        expected = torch.from_numpy(affine(weights, "head", hidden.mean(axis=1)))
        torch.testing.assert_close(model(inputs), expected, **CLOSE)
        torch.testing.assert_close(model.attention_weights(inputs), torch.from_numpy(looks), **CLOSE)


@pytest.mark.parametrize("time", range(TIME))
def test_outputs_depend_on_every_token_so_far_and_on_none_that_comes(time: int) -> None:
    model, inputs = transformer(TEXT), tokens(1)
    changed = inputs.clone()
    changed[:, time] = (changed[:, time] + 1) % VOCABULARY
    with torch.inference_mode():
        difference = (model(changed) - model(inputs)).abs().amax(dim=(0, 2))
    assert (difference[:time] < 1e-12).all()  # one rounding of a blocked product, if any
    assert (difference[time:] > 1e-6).all()


def test_every_patch_is_seen_from_every_patch() -> None:
    inputs = images().requires_grad_()
    (gradient,) = torch.autograd.grad(transformer(IMAGES)(inputs).sum(), inputs)
    assert (gradient != 0).all()
    with torch.inference_mode():
        assert (transformer(IMAGES).attention_weights(inputs) > 0).all()


def test_attention_weights_are_shares_of_the_past() -> None:
    with torch.inference_mode():
        weights = transformer(TEXT).attention_weights(tokens())
    assert weights.shape == (2, 4, 3, TIME, TIME)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 4, 3, TIME, dtype=torch.float64), **CLOSE)
    assert (weights.triu(1) == 0).all()
    assert (weights >= 0).all()


def test_fewer_tokens_than_the_context_take_the_first_positions() -> None:
    model = transformer(TEXT)
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens()[:, :4]), model(tokens())[:, :4], **CLOSE)


def test_tied_embeddings_are_one_parameter_that_stays_one() -> None:
    tied, loose = transformer(TEXT), transformer(TEXT, "model.tied_embeddings=false")
    assert tied.head.weight is tied.embedding.weight
    assert tied.head.bias is None
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (tied, loose)]
    assert sizes[1] - sizes[0] == VOCABULARY * 24 + VOCABULARY  # a matrix and a bias of its own
    tied.load_state_dict(tied.state_dict())
    optimizer = torch.optim.SGD(tied.parameters(), lr=0.1)
    tied(tokens()).square().sum().backward()
    optimizer.step()
    assert torch.equal(tied.state_dict()["head.weight"], tied.state_dict()["embedding.weight"])


def test_tied_embeddings_say_nothing_about_images() -> None:
    tied, loose = (transformer(IMAGES, f"model.tied_embeddings={tied}").state_dict() for tied in ("true", "false"))
    torch.testing.assert_close(tied, loose, rtol=0, atol=0)


@pytest.mark.parametrize("spec", [TEXT, IMAGES], ids=["text", "images"])
def test_weights_begin_as_gpt_2s(spec: DataSpec) -> None:
    dataset = "dataset=sorting" if spec.kind == "tokens" else "dataset=digits"
    model = build_model(parsed("model=transformer", "model.num_layers=8", dataset), spec)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            expected = 1.0 if name.endswith("norm.weight") else 0.0
            assert (parameter == expected).all(), name
        else:
            into_residual = "projection" in name or "contract" in name
            std = 0.02 / (2 * 8) ** 0.5 if into_residual else 0.02
            # A sample of n has its mean within std / sqrt(n), its std within std / sqrt(2 n): five times each.
            assert abs(parameter.mean()) < 5 * std * parameter.numel() ** -0.5, name
            assert abs(parameter.std() / std - 1) < 5 * (2 * parameter.numel()) ** -0.5, name


def without_memory(spec: DataSpec, *overrides: str) -> int:
    """How many parameters a model has that is never filled."""
    run = parsed("model=transformer", *overrides)
    with torch.device("meta"):
        model = Transformer(run.model.config, spec, nn.Identity)
    return sum(parameter.numel() for parameter in model.parameters())


def test_gpt_2_small_has_124_million_parameters() -> None:
    overrides = ("model.num_layers=12", "model.num_heads=12", "model.embedding_size=768", "model.context_length=1024")
    labels = tuple(str(number) for number in range(50257))
    head = Head(name="token", task="language_modelling", labels=labels)
    spec = DataSpec(kind="tokens", input_shape=(1024,), heads=(head,), vocabulary=50257)
    assert without_memory(spec, *overrides) == 124_439_808  # as huggingface.co/openai-community/gpt2 counts


def test_a_vision_transformer_is_as_large_as_torchvisions_but_for_the_class_token() -> None:
    with torch.device("meta"):
        reference = VisionTransformer(32, 8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=256, num_classes=5)
    size = sum(parameter.numel() for parameter in reference.parameters()) - 2 * 64  # the token and its position
    overrides = ("model.num_layers=3", "model.num_heads=4", "model.embedding_size=64", "model.patch_size=8")
    assert without_memory(replace(IMAGES, input_shape=(3, 32, 32)), *overrides) == size


def test_a_context_too_short_for_the_data_is_refused() -> None:
    run = parsed("model=transformer", "dataset=sorting", "model.context_length=9")
    with pytest.raises(ConfigError, match=r"^model\.context_length=9 is not allowed; allowed: 10 or more"):
        build_model(run, TEXT)


@pytest.mark.parametrize("patch_size", [3, 8, 24])
def test_patches_that_do_not_divide_both_sides_of_an_image_are_refused(patch_size: int) -> None:
    """Of 8x12: 3 divides the width alone, 8 the height alone, 24 neither."""
    run = parsed("model=transformer", f"model.patch_size={patch_size}")
    with pytest.raises(ConfigError, match=rf"^model\.patch_size={patch_size} .* images of 8x12; allowed: 1, 2, 4$"):
        build_model(run, IMAGES)


def classifier() -> Transformer:
    spec = replace(TEXT, heads=IMAGES.heads, padding=VOCABULARY - 1)
    return transformer(spec)


@torch.no_grad()
def test_padding_has_no_influence() -> None:
    model, without = classifier(), classifier()
    without.padding = None
    model.embedding.weight[-1] += 7
    model.positions.weight[6:] += 7
    texts = tokens(time=6) % (VOCABULARY - 1)
    padding = torch.full((4, 4), VOCABULARY - 1)
    expected = without(texts)
    for count in range(5):
        padded = torch.cat([texts, padding[:, :count]], dim=1)
        torch.testing.assert_close(model(padded), expected, **CLOSE)
    mapped = torch.func.vmap(lambda inputs: model(inputs[None])[0])(padded)
    torch.testing.assert_close(mapped, expected, **CLOSE)
    looks = model.attention_weights(padded)
    assert not looks[..., 6:].any()
    torch.testing.assert_close(looks[..., :6, :6], without.attention_weights(texts), **CLOSE)
    torch.testing.assert_close(model(padding), model(padding[:, :1]), **CLOSE)  # texts without a token
    assert not torch.allclose(expected, without(texts[:, :5]))
