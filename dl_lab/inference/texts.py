"""Score texts with a language model: how likely each one is, and which token is the most probable next one."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import exp
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.progress import announce
from dl_lab.data.files import lines_of
from dl_lab.data.splits import PADDING, Windows
from dl_lab.data.tables.frames import is_frame
from dl_lab.inference.trained import Trained
from dl_lab.training import loop

LINES = 1024  # written at a time
COLUMNS = {
    "tokens": pl.Int64,
    "nats": pl.Float64,
    "perplexity": pl.Float64,
    "next": pl.String,
    "next/probability": pl.Float64,
}


def in_blocks(trained: Trained, raw: Any) -> Iterator[pl.DataFrame]:
    """The `COLUMNS` of each text, or, if `raw` is a Path, of each line that is not empty. `nats` is the mean
    over all tokens but the first. Null where the model does not know a character.

    Raises:
        ConfigError: if there is no text, or every text has a character that the model does not know.
    """
    lines = lines_of(raw, "a text file") if isinstance(raw, Path) else _texts(raw)
    texts = ((number, text) for number, text in enumerate(lines, 1) if text or not isinstance(raw, Path))
    unknown: list[ConfigError] = []
    count = 0
    while block := list(islice(texts, LINES)):
        count += len(block)
        numbers = [number for number, _ in block]
        known = [_known(trained, text, unknown) for _, text in block]
        scores = pl.DataFrame(_scores(trained, known), COLUMNS, orient="row")
        yield pl.concat([pl.DataFrame({"line": numbers}), scores], how="horizontal")
    if not count:
        raise ConfigError(f"dataset.path={raw} has no text; allowed: a text file with a line that is not empty")
    if len(unknown) == count:
        raise unknown[0]
    if unknown:
        announce(f"no prediction for {counted(len(unknown), 'line')}: {str(unknown[0]).partition('; allowed')[0]}")


def _texts(raw: Any) -> list[str]:
    is_one = isinstance(raw, str) or is_frame(raw) or not isinstance(raw, Iterable)
    texts = [raw] if is_one else list(raw)
    if others := [each for each in texts if not isinstance(each, str)]:
        raise ConfigError(f"x has a {type(others[0]).__name__}; allowed: a text, a list of texts, or a Path")
    return texts


def _known(trained: Trained, text: str, unknown: list[ConfigError]) -> Tensor:
    """The tokens of a text; none, and one more error in `unknown`, if the model does not know it."""
    try:
        return trained.preprocessing.stored(text)
    except ConfigError as error:
        unknown.append(error)
        return torch.empty(0, dtype=torch.int64)


def _scores(trained: Trained, texts: Sequence[Tensor]) -> list[tuple[Any, ...]]:
    """The `COLUMNS` of texts (token,); those of equal length are computed together."""
    places: dict[int, list[int]] = {}
    for place, tokens in enumerate(texts):
        places.setdefault(len(tokens), []).append(place)
    found: list[tuple[Any, ...]] = [(None,) * len(COLUMNS)] * len(texts)
    for length, own in places.items():
        if length:
            rows = _of_equal_length(trained, torch.stack([texts[place] for place in own]))
            for place, row in zip(own, rows, strict=True):
                found[place] = row
    return found


def _of_equal_length(trained: Trained, tokens: Tensor) -> Iterator[tuple[Any, ...]]:
    """The `COLUMNS` of texts (text, token)."""
    (length, context), place = (tokens.shape[1], trained.spec.input_shape[0]), 0
    (head,) = trained.spec.heads
    for outputs in trained.outputs(tokens[:, -context:]):
        logs, own = outputs.cpu().double().log_softmax(-1), tokens[place : place + len(outputs)]
        place += len(outputs)
        nats: list[float | None] = [nats_of(trained, each) for each in own] if not 1 < length <= context else []
        if not nats:
            nats += (-logs[:, :-1].gather(-1, own[:, 1:, None]).mean((1, 2))).tolist()
        for mean, log in zip(nats, logs[:, -1], strict=True):
            best, perplexity = int(log.argmax()), None if mean is None else exp(min(mean, 700.0))
            yield length, mean, perplexity, head.labels[best], exp(float(log[best]))


def nats_of(trained: Trained, tokens: Tensor) -> float | None:
    """The mean of -ln p over all tokens but the first, in windows as `evaluate` reads them; None without a second."""
    if len(tokens) < 2:
        return None
    plan = trained.plan(Windows(tokens, trained.spec.input_shape[0]))
    assert plan.data.test is not None
    total = 0.0
    with torch.no_grad():
        for outputs, targets in loop.predictions(trained.model, plan, plan.data.test):
            outputs, targets = outputs.cpu().double(), targets.cpu()
            found = outputs.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
            total -= float(found[targets != PADDING].sum())
    trained.model.eval()  # the loop leaves it in training mode
    return total / (len(tokens) - 1)
