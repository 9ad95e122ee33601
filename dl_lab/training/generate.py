"""Generate tokens with a language model, and the text that TensorBoard shows during training."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from dl_lab.core import rng
from dl_lab.core.errors import Failed
from dl_lab.core.schema import NonNegativeFloat, PositiveInt, Schema
from dl_lab.data.spec import DataSpec
from dl_lab.data.tokenizers import Tokenizer


class Sampling(Schema):
    """Draw from the `top_k` most likely tokens, of these from the fewest whose probabilities sum to `top_p` (the
    nucleus: Holtzman et al. 2020, arXiv:1904.09751). `temperature` divides the logits; at 0 the likeliest is chosen.
    """

    temperature: NonNegativeFloat
    top_k: PositiveInt | None
    top_p: Annotated[float, Interval(gt=0, le=1), "a number above 0, at most 1"]


AS_LEARNED = Sampling(temperature=1.0, top_k=None, top_p=1.0)


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """With which probabilities tokens are drawn, given their logits (vocabulary,).

    Raises:
        Failed: if no token can be drawn, because logits are nan or infinite.
    """
    order = logits.argsort(descending=True, stable=True)  # of equal ones, the first in the vocabulary comes first
    kept = logits[order[: 1 if sampling.temperature == 0 else sampling.top_k]]
    if not kept[0].isfinite():
        raise Failed("the model returned nan or infinite logits; hint: use a checkpoint from before it diverged")
    shares = ((kept - kept[0]) / (sampling.temperature or 1)).softmax(dim=0)
    nucleus = shares * (shares.cumsum(dim=0) - shares < sampling.top_p)
    return torch.zeros_like(logits).index_copy_(0, order[: len(kept)], nucleus / nucleus.sum())


def draw(logits: Tensor, sampling: Sampling, random: torch.Generator) -> int:
    """A token, drawn on the CPU in float64, so that all devices draw the same."""
    cumulative = probabilities(logits.double().cpu(), sampling).cumsum(dim=0)
    uniform = torch.rand((), dtype=torch.float64, generator=random)
    return int(torch.searchsorted(cumulative, uniform * cumulative[-1], right=True))


def window_start(length: int, context: int) -> int:
    """The first of `length` tokens that the model sees: 0 as long as they fit into its context. After that, whenever
    the context is full, the window moves by half a context, and no sooner: positions are counted from its start, so
    that nothing which was cached remains valid when it moves.
    """
    step = max(1, context // 2)
    return -(-max(0, length - context) // step) * step


@torch.no_grad()
def continuation(
    model: nn.Module, context: int, tokens: Iterable[int], choose: Callable[[Tensor], int]
) -> Iterator[int]:
    """Endless tokens that follow `tokens`, each chosen from the logits (vocabulary,) of the tokens in its window.

    A model with the method `with_cache` computes each position once per window. Any other model is given whole windows,
    padded on the right as in training, where a causal model does not see it.
    """
    known, device = list(tokens), next(model.parameters()).device
    start, cache, with_cache = 0, None, getattr(model, "with_cache", None)
    while True:
        start, before = window_start(len(known), context), start
        cache = cache if start == before else None
        window = known[start:]
        if with_cache is None:
            padded = torch.tensor([window + [0] * (context - len(window))], device=device)
            logits = model(padded)[:, : len(window)]
        else:
            new = torch.tensor([window if cache is None else window[-1:]], device=device)
            logits, cache = with_cache(new, cache)
        known.append(choose(logits[0, -1]))
        yield known[-1]


def beginning(tokenizer: Tokenizer) -> str:
    """What a text without a beginning follows: a line end, a blank, or the first token, whichever is known."""
    signs = () if tokenizer.kind == "words" else ("\n", " ")
    return next((each for each in signs if not tokenizer.unknown(each)), tokenizer.labels[0])


def sample_text(model: nn.Module, spec: DataSpec, tokenizer: Tokenizer, seed: int, step: int, length: int = 200) -> str:
    """Draw `length` tokens at temperature 1, after a line end."""
    (context,), start = spec.input_shape, tokenizer.encode(beginning(tokenizer)).tolist()
    choose = partial(draw, sampling=AS_LEARNED, random=rng.generator(seed, "sample", step))
    model.eval()
    text = tokenizer.decode(islice(continuation(model, context, start, choose), length))
    model.train()
    return text
