"""Predictions of a trained model as a table: classes with probabilities, or values in the unit of the target."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import Head
from dl_lab.inference import inputs, texts
from dl_lab.inference.blocks import DEFAULT_OPTIONS, Block, Options, allowed, naming_path
from dl_lab.inference.trained import Trained
from dl_lab.inference.writing import writing


def predict(trained: Trained, raw: Any, options: Options = DEFAULT_OPTIONS) -> pl.DataFrame:
    """The predictions for inputs in memory, one row each: what `inputs.of_memory` accepts, or for a language model one
    text or several.
    """
    return pl.concat(list(in_blocks(trained, raw, options)), how="vertical_relaxed")


def predict_file(
    trained: Trained, path: Path, out: Path, options: Options = DEFAULT_OPTIONS
) -> tuple[int, pl.DataFrame]:
    """Write the predictions for a file or folder to `out`, a csv, tsv, parquet or jsonl file, in bounded memory.
    Returns their number and the first ones.

    Raises:
        ConfigError: if the inputs do not fit the model, or none of them can be read.
    """
    count, first = 0, None
    with writing(out) as write:
        for frame in in_blocks(trained, path, options):
            write(frame)
            count += len(frame)
            first = frame.head(10) if first is None else first
        assert first is not None
    return count, first


def in_blocks(trained: Trained, raw: Any, options: Options = DEFAULT_OPTIONS) -> Iterator[pl.DataFrame]:
    """The predictions for a file or folder, if `raw` is a Path, or for inputs in memory, in blocks.

    Raises:
        ConfigError: if the inputs do not fit the model, or none of them can be read.
    """
    usable = 0
    with naming_path(raw):
        if trained.spec.kind == "tokens" and trained.spec.task == "language_modelling":
            yield from texts.in_blocks(trained, raw)
            return
        for block in (inputs.of_file if isinstance(raw, Path) else inputs.of_memory)(trained, raw, options):
            usable += len(block.stored)
            yield of_block(trained, block)
        if not usable:
            raise ConfigError(f"dataset.path={raw} has no input that can be read; allowed: {allowed(trained)}")


def of_block(trained: Trained, block: Block) -> pl.DataFrame:
    """The names and predictions of each example; null for those without inputs."""
    size = trained.spec.num_outputs
    found = [outputs.cpu().double() for outputs in trained.outputs(block.stored)] if len(block.stored) else []
    frame = columns_of(trained.spec.heads, torch.cat(found) if found else torch.empty(0, size, dtype=torch.float64))
    if not block.is_usable.all():
        places = np.where(block.is_usable, block.is_usable.cumsum() - 1, -1)
        chosen = pl.Series([place if place >= 0 else None for place in places.tolist()], dtype=pl.UInt32)
        frame = frame.select(pl.all().gather(chosen))
    taken = set(frame.columns)
    names = block.names.rename({name: _unique(name, taken) for name in block.names.columns})
    return pl.concat([names, frame], how="horizontal")


def columns_of(heads: Sequence[Head], outputs: Tensor) -> pl.DataFrame:
    """The outputs (example, output) as columns: HEAD, the class, and HEAD/CLASS, the probability of each class; LABEL,
    0 or 1, and LABEL/probability; or TARGET, the value in its unit.
    """
    columns: dict[str, Any] = {}
    for head, part in zip(heads, outputs.split([head.size for head in heads], dim=1), strict=True):
        for name, values in _of_head(head, part):
            columns[_unique(name, columns)] = values
    return pl.DataFrame(columns)


def _of_head(head: Head, outputs: Tensor) -> Iterator[tuple[str, Any]]:
    if head.task == "classification":
        labels = pl.Series(head.labels, dtype=pl.String)
        yield head.name, labels.gather(outputs.argmax(1).tolist())
        yield from _named((f"{head.name}/{label}" for label in head.labels), outputs.softmax(1))
    elif head.task == "multilabel":
        yield from _named(head.labels, (outputs > 0).long())
        yield from _named((f"{label}/probability" for label in head.labels), outputs.sigmoid())
    else:
        scale, offset = (
            torch.tensor(each, dtype=torch.float64) for each in (head.scale or (1.0,), head.offset or (0.0,))
        )
        yield from _named(head.labels, outputs * scale + offset)


def _named(names: Iterable[str], values: Tensor) -> Iterator[tuple[str, Any]]:
    return zip(names, values.T.contiguous().numpy(), strict=True)


def _unique(name: str, taken: Iterable[str]) -> str:
    """The name, with "_" added until it is not among those that are taken."""
    return _unique(f"{name}_", taken) if name in taken else name
