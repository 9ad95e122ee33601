"""Sampling against NumPy; generated tokens with a cache against the plain loop without one, and what they cost."""

from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
import torch
from support.configs import parsed
from torch import Tensor, nn

from dl_lab.core.errors import Failed
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.tokenizers import characters_of
from dl_lab.training.generate import Sampling, continuation, draw, probabilities, sample_text
from dl_lab.training.setup import build_model

VOCABULARY = 13


def spec(context: int) -> DataSpec:
    head = Head(name="token", task="language_modelling", labels=tuple("abcdefghijklm"))
    return DataSpec(kind="tokens", input_shape=(context,), heads=(head,), vocabulary=VOCABULARY)


def transformer(context: int) -> nn.Module:
    """A small one in float64, its weights drawn wide, so that every token matters."""
    small = ("model=transformer", "model.embedding_size=12", "model.num_heads=3", "model.num_layers=2")
    wide = ("dataset=sorting", "initializer=normal", "initializer.std=0.5", "precision=float64")
    return build_model(parsed(*small, *wide), spec(context)).eval()


class Recurrent(nn.Module):
    """A user's model with a cache of its own, as conf/README.md shows it."""

    def __init__(self, context: int):
        super().__init__()
        self.embedding, self.gru, self.head = (
            nn.Embedding(VOCABULARY, 8),
            nn.GRU(8, 8, batch_first=True),
            nn.Linear(8, 13),
        )
        for weight in self.double().parameters():
            nn.init.normal_(weight, generator=torch.Generator().manual_seed(weight.numel()))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.with_cache(tokens, None)[0]

    def with_cache(self, tokens: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        hidden, state = self.gru(self.embedding(tokens), state)
        return self.head(hidden), state


class Uncached(nn.Module):
    """Another model without its cache, which takes whole windows only."""

    def __init__(self, model: nn.Module, context: int):
        super().__init__()
        self.model, self.context = model, context

    def forward(self, tokens: Tensor) -> Tensor:
        assert tokens.shape == (1, self.context)
        return self.model(tokens)


def reference(logits: np.ndarray, temperature: float, top_k: int | None, top_p: float) -> np.ndarray:
    """Probabilities by sets of tokens, as the papers define them."""
    if temperature == 0:
        return np.eye(len(logits))[logits.argmax()]
    shares = np.exp((logits - logits.max()) / temperature)
    ranked = sorted(range(len(logits)), key=lambda token: (-logits[token], token))[:top_k]
    total, nucleus, mass = sum(shares[ranked]), [], 0.0
    for token in ranked:
        if mass < top_p:
            nucleus.append(token)
        mass += shares[token] / total
    result = np.zeros(len(logits))
    result[nucleus] = shares[nucleus] / sum(shares[nucleus])
    return result


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 0.3, 1.0, 5.0, 1e300])
@pytest.mark.parametrize("top_k", [None, 1, 3, 50, 1000])
@pytest.mark.parametrize("top_p", [1e-9, 0.5, 0.93, 1.0])
def test_probabilities_are_numpys(temperature: float, top_k: int | None, top_p: float) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    for seed in range(5):
        logits = np.random.default_rng(seed).normal(size=100) * 4
        logits[7] = logits.max() if seed == 1 else -np.inf  # a tie of the likeliest, or an impossible token
        found = probabilities(torch.from_numpy(logits), sampling)
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(found, reference(logits, temperature, top_k, top_p), rtol=1e-12, atol=1e-15)


def test_draws_have_these_probabilities() -> None:
    logits, sampling = (
        torch.randn(9, generator=torch.Generator().manual_seed(0)),
        Sampling(temperature=0.7, top_k=6, top_p=0.95),
    )
    random, number = torch.Generator().manual_seed(0), 20_000
    counts = np.bincount([draw(logits, sampling, random) for _ in range(number)], minlength=9)
    expected = probabilities(logits.double(), sampling).numpy()
    assert (counts[expected == 0] == 0).all()
    # five standard deviations of a binomial share
    np.testing.assert_array_less(
        abs(counts / number - expected), 5 * np.sqrt(expected * (1 - expected) / number) + 1e-12
    )


@pytest.mark.parametrize("logits", [[0.0, np.nan], [0.0, np.inf], [-np.inf, -np.inf]])
def test_a_diverged_model_draws_nothing(logits: list[float]) -> None:
    with pytest.raises(Failed, match="nan or infinite"):
        draw(torch.tensor(logits), Sampling(temperature=1.0, top_k=50, top_p=1.0), torch.Generator())


def by_hand(model: nn.Module, context: int, tokens: list[int], number: int) -> tuple[list[int], list[Tensor]]:
    """The likeliest tokens and all logits by the plain loop: a full window loses its first half."""
    known, window, logits = list(tokens), [], []
    for token in known:
        window = [*(window[max(1, context // 2) :] if len(window) == context else window), token]
    for _ in range(number):
        logits.append(model(torch.tensor([window]))[0, -1].detach())
        known.append(int(logits[-1].argmax()))
        window = [*(window[max(1, context // 2) :] if len(window) == context else window), known[-1]]
    return known[len(tokens) :], logits


@pytest.mark.parametrize("make", [transformer, Recurrent])
@pytest.mark.parametrize("context", [1, 2, 7, 10])
@pytest.mark.parametrize("prompt", [1, 6, 7, 8, 23])
def test_tokens_with_and_without_a_cache_are_those_of_the_plain_loop(
    make: Callable[[int], nn.Module], context: int, prompt: int
) -> None:
    model = make(context)
    tokens = torch.randint(VOCABULARY, (prompt,), generator=torch.Generator().manual_seed(prompt)).tolist()
    expected, expected_logits = by_hand(model, context, tokens, 40)
    for each in (model, Uncached(model, context)):
        logits: list[Tensor] = []

        def choose(of_last: Tensor, logits: list[Tensor] = logits) -> int:
            logits.append(of_last)
            return int(of_last.argmax())

        assert list(islice(continuation(each, context, tokens, choose), 40)) == expected
        torch.testing.assert_close(logits, expected_logits, rtol=1e-10, atol=1e-10)  # float64


def test_with_a_cache_the_cost_is_linear() -> None:
    """Count the positions that the model computes: each once, and half a window again each time that it moves."""
    counts: list[int] = []
    model = transformer(10)
    model.get_submodule("blocks.1.expand").register_forward_hook(lambda layer, args, out: counts.append(out.shape[1]))
    totals = []
    for number in (10, 110, 210, 410):
        counts.clear()
        list(islice(continuation(model, 10, [0], lambda logits: 1), number))
        totals.append(sum(counts))
    assert totals == [10, 10 + 100 * 2, 10 + 200 * 2, 10 + 400 * 2]  # per 5 tokens: 6 positions again, then 4 new ones


def test_a_sample_depends_on_the_seed_and_the_step_alone() -> None:
    model = transformer(10)
    first, again, others = (
        sample_text(model, spec(10), characters_of("abcdefghijklm"), *each) for each in ((0, 5), (0, 5), (0, 6))
    )
    assert first == again != others
    assert model.training
    assert len(first) == 200
