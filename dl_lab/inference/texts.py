"""What a language model says of texts: how likely each one is, and the most probable next token."""

from collections.abc import Iterator
from math import exp
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.progress import announce
from dl_lab.data.files import read_text
from dl_lab.data.splits import PADDING, Windows
from dl_lab.data.tokenizers import one_line_end
from dl_lab.inference.trained import Trained
from dl_lab.training import loop

LINES = 1024  # that are written at a time


def in_blocks(trained: Trained, raw: Any) -> Iterator[pl.DataFrame]:
    """For each line of a text file that is not empty, if `raw` is a Path, or for each text: nats per token but the
    first, perplexity, and the most probable next token with its probability. Null where the model does not know a
    character.

    Raises:
        ConfigError: if there is no text, or none that the model knows.
    """
    if isinstance(raw, Path):
        content = one_line_end(read_text(str(raw), "a text file"))
        texts = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line]
    else:
        texts = list(enumerate([raw] if isinstance(raw, str) else [str(text) for text in raw], 1))
    if not texts:
        raise ConfigError(f"path={raw} has no text; allowed: a text file with a line that is not empty")
    unknown: list[ConfigError] = []
    for start in range(0, len(texts), LINES):
        rows = []
        for number, text in texts[start : start + LINES]:
            try:
                rows.append({"line": number, **_of_text(trained, text)})
            except ConfigError as error:
                unknown.append(error)
                rows.append({"line": number})
        names = ("tokens", "nats", "perplexity", "next", "next/probability")
        types = dict(zip(names, (pl.Int64, pl.Float64, pl.Float64, pl.String, pl.Float64), strict=True))
        yield pl.DataFrame(rows, schema={"line": pl.Int64, **types})
    if len(unknown) == len(texts):
        raise unknown[0]
    if unknown:
        announce(f"no prediction for {counted(len(unknown), 'line')}: {str(unknown[0]).partition('; allowed')[0]}")


def _of_text(trained: Trained, text: str) -> dict[str, Any]:
    tokens = trained.preprocessing.stored(text)
    if not len(tokens):
        raise ConfigError("a text has no token; allowed: one or more")
    nats = nats_of(trained, tokens)
    context = trained.spec.input_shape[0]
    (outputs,) = trained.outputs(tokens[None, -context:])
    probabilities = outputs[0, -1].double().softmax(0)
    best = int(probabilities.argmax())
    (head,) = trained.spec.heads
    return {
        "tokens": len(tokens),
        "nats": nats,
        "perplexity": None if nats is None else exp(min(nats, 700.0)),
        "next": head.labels[best],
        "next/probability": float(probabilities[best]),
    }


def nats_of(trained: Trained, tokens: Tensor) -> float | None:
    """The mean of -ln p over all tokens but the first, in windows as `evaluate` reads them; None without a second."""
    if len(tokens) < 2:
        return None
    plan = trained.plan(Windows(tokens, trained.spec.input_shape[0]))
    assert plan.data.test is not None
    total = 0.0
    with torch.no_grad():
        for outputs, targets in loop.predictions(trained.model, plan, plan.data.test):
            found = outputs.double().log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
            total -= float(found[targets != PADDING].sum())
    trained.model.eval()
    return total / (len(tokens) - 1)
