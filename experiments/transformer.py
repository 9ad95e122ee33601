"""Transformer: attention in NumPy, and a baseline for language models.

Claim: attention is softmax(Q K^T / sqrt(d)) V with a causal mask, a few lines of NumPy (Vaswani et al. 2017,
arXiv:1706.03762). Counted n-grams with the smoothing of Witten and Bell 1991 (method C, doi:10.1109/18.87000) reach
3.347, 2.486, 2.049, 1.774 and 1.669 nats per character on the validation split of tiny Shakespeare, for n from 1 to 5.
The 4-gram is better than the 1.88 that nanoGPT publishes for a CPU; experiment=transformer_long beats the 5-gram.

    python -m experiments.transformer
"""

import numpy as np
from numpy.typing import NDArray

from dl_lab.config.compose import compose
from dl_lab.config.parse import parse
from dl_lab.plotting.figures import curves
from dl_lab.training.setup import build_data, build_model
from experiments.support import builders
from experiments.support.findings import Report
from experiments.support.ngrams import NGrams

TAKES = 7  # seconds on two cores
SOURCE = "https://doi.org/10.1109/18.87000"
PUBLISHED = {1: 3.347, 2: 2.486, 3: 2.049, 4: 1.774, 5: 1.669}
NANOGPT = 1.88


def attention(
    x: NDArray[np.float64], weight: NDArray[np.float64], projection: NDArray[np.float64], heads: int
) -> NDArray[np.float64]:
    """Causal attention over x (time, channel) with weight (3 * channel, channel), one head at a time."""
    queries, keys, values = np.split(x @ weight.T, 3, axis=1)
    mixed = []
    for query, key, value in zip(*(np.split(part, heads, axis=1) for part in (queries, keys, values)), strict=True):
        scores = query @ key.T / np.sqrt(query.shape[1])
        scores[np.triu_indices(len(x), 1)] = -np.inf
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed.append(powers / powers.sum(axis=1, keepdims=True) @ value)
    return np.concatenate(mixed, axis=1) @ projection.T


def main() -> Report:
    report = Report("transformer", SOURCE)
    run = parse(compose("dataset=tiny_shakespeare", "model=transformer", "model.bias=false", "precision=float64"))
    data = build_data(run)
    layer = build_model(run, data.spec).get_submodule("blocks.0.attention")
    x = builders.normal(1, 64, 128)
    weights = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
    by_hand = attention(x[0].numpy(), weights["query_key_value.weight"], weights["projection.weight"], 4)
    report.equal("attention equals a few lines of NumPy", layer(x)[0], by_hand, 1e-14, "NumPy")

    letters = data.spec.heads[0].labels
    text, unseen = ("".join(letters[i] for i in split.tokens.tolist()) for split in (data.train, data.validation))
    nats = dict(zip(PUBLISHED, NGrams(text, max(PUBLISHED)).nats(unseen), strict=True))
    for n, published in PUBLISHED.items():
        holds = round(nats[n], 3) == published
        report.holds(f"a counted {n}-gram", holds, f"{nats[n]:.4f} nats", f"{published} nats, to three decimals")
    claim = "a 4-gram beats nanoGPT's recipe for a CPU"
    report.holds(claim, nats[4] < NANOGPT, f"{nats[4]:.4f} nats", f"below {NANOGPT}")
    lines = {"counted n-gram": (list(nats), list(nats.values())), "nanoGPT's CPU recipe": ((1, 5), (NANOGPT, NANOGPT))}
    report.figure("ngrams", curves(lines, "Tiny Shakespeare, validation split", "n", "nats per character"))
    return report


if __name__ == "__main__":
    main().finish()
