"""Rows of a table, in blocks: features, pixels, or files of pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from pydantic import ValidationError

from dl_lab.config.parse import typed
from dl_lab.core.errors import ConfigError, counted, quoted
from dl_lab.core.progress import announce
from dl_lab.data.tables.columns import Encoder, encoder_of
from dl_lab.data.tables.known import Encoding, adapted, check_encoders
from dl_lab.data.tables.matrix import CHUNK
from dl_lab.data.tables.parts import Part, parts_of, read_parts
from dl_lab.data.tables.reading import Reading
from dl_lab.data.tables.types import as_text, numbers_of
from dl_lab.datasets.table_images import listed_pictures, pixels_of
from dl_lab.inference.blocks import Block, Options, allowed, block_of_pictures
from dl_lab.inference.trained import Trained

CELLS = 2**22  # encoded at a time
DEFAULTS: Mapping[str, Any] = {
    "separator": ",",
    "encoding": "auto",
    "header": True,
    "decimal": ".",
    "thousands": None,
    "percent": False,
    "missing": [],
}


def of_table(trained: Trained, source: Path | pl.DataFrame, options: Options) -> Iterator[Block]:
    """The rows of a table in a file or in memory.

    Raises:
        ConfigError: if it cannot be read, or does not fit the model.
    """
    reading, needed = reading_of(trained, options), (*needed_columns(trained), *options.others)
    rows = max(1, min(CHUNK, CELLS // max(len(needed), prod(trained.spec.input_shape))))
    if isinstance(source, Path):
        return _blocks(trained, read_parts(str(source), reading, needed, rows), options)
    return _blocks(trained, parts_of(source, reading, needed, rows), options)


def reading_of(trained: Trained, options: Options) -> Reading:
    """How the table of a model is written, with the user's changes.

    Raises:
        ConfigError: if the checkpoint has values that are not allowed.
    """
    saved = {**DEFAULTS, **(trained.preprocessing.reading or {})}
    if saved["decimal"] == "auto":
        saved["decimal"] = "," if saved["thousands"] == "." else "."
    try:
        reading = typed(Reading, saved, "preprocessing.reading")
    except ConfigError as error:
        raise ConfigError(f"{trained.folder}: {error}; hint: use another checkpoint") from error
    return cast(Reading, typed(Reading, {**saved, **options.reading}, "dataset")) if options.reading else reading


def encoders_of(trained: Trained) -> list[Encoder]:
    """The encoders in a checkpoint.

    Raises:
        ConfigError: if they are damaged, or do not fit the model.
    """
    try:
        encoders = [encoder_of(column) for column in trained.preprocessing.columns]
        if encoders:
            check_encoders(encoders, trained.spec.input_shape[0])
        return encoders
    except ValueError as error:
        found = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = str(error) if found is None else f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
        raise ConfigError(
            f"{trained.folder}: preprocessing.columns is not as dl_lab writes it ({reason}); hint: use "
            "another checkpoint"
        ) from error


def needed_columns(trained: Trained) -> tuple[str, ...]:
    """The columns of a table that the model reads; none if it accepts any columns, as long as their number fits.

    Raises:
        ConfigError: if the columns in the checkpoint do not fit a model of images.
    """
    columns, spec = trained.preprocessing.columns, trained.spec
    kinds = [column["kind"] for column in columns]
    if spec.kind == "image" and kinds not in ([], ["picture"], ["pixel"] * prod(spec.input_shape)):
        raise ConfigError(f"{trained.folder}: preprocessing.columns do not fit the model; hint: use another checkpoint")
    return tuple(str(column["name"]) for column in columns)


def _not_features(trained: Trained) -> set[str]:
    """Columns that training used otherwise or dropped, such as targets and weights; their presence is no surprise."""
    config, names = trained.run.dataset.config, {head.name for head in trained.spec.heads}
    for key in ("targets", "drop", "split", "group", "sample_weight"):
        value = getattr(config, key, None)
        names |= {value} if isinstance(value, str) else {*(value or [])}
    return names


def _blocks(trained: Trained, parts: Iterator[Part], options: Options) -> Iterator[Block]:
    """The rows of a table. Unused columns are printed first, and what was found in cells last."""
    needed, encoding, last = needed_columns(trained), None, None
    is_features = trained.spec.kind == "features"
    encoders = encoders_of(trained) if is_features else []
    for part in parts:
        if not needed:
            needed = _of_right_number(trained, part, options)
        if last is None:
            used = {*needed, *options.others, *_not_features(trained)}
            if extra := [name for name in part.frame.columns if name not in used]:
                announce(f"{part.path}: {counted(len(extra), 'column')} not used: {quoted(extra)}")
            if encoders:
                encoding, part = adapted(encoders, part)
        last = part if last is None else replace(part, options=last.options)
        names = pl.DataFrame({"row": pl.Series(range(part.first + 1, part.first + 1 + len(part.frame)))})
        yield _block(trained, last, needed, encoding, names, options)
    if encoding is not None and last is not None:
        encoding.announce(last.path, last)


def _block(
    trained: Trained,
    part: Part,
    needed: Sequence[str],
    encoding: Encoding | None,
    names: pl.DataFrame,
    options: Options,
) -> Block:
    rows, spec = np.arange(len(part.frame)), trained.spec
    usable = np.ones(len(rows), dtype=bool)
    if encoding is not None:
        return Block(names, usable, torch.from_numpy(encoding.matrix(part)), part)
    if spec.kind == "tokens":
        return Block(names, usable, trained.preprocessing.stored(as_text(part.frame[needed[0]]).to_list()), part)
    if spec.kind == "features":
        values = np.column_stack([numbers_of(part, name).to_numpy() for name in needed])
        return Block(names, usable, torch.from_numpy(values), part)
    if trained.preprocessing.columns and trained.preprocessing.columns[0]["kind"] == "picture":
        folder = Path(part.path).parent if options.image_folder is None else Path(options.image_folder)
        found = listed_pictures(part, needed[0], spec.input_shape, rows, folder)
        pixels = [each if isinstance(each, ConfigError) else each[2] for each in found]
        return block_of_pictures(trained, names.with_columns(part.frame[needed[0]].alias("file")), pixels, part)
    return Block(names, usable, torch.from_numpy(pixels_of(part, needed, rows)).view(-1, *spec.input_shape), part)


def _of_right_number(trained: Trained, part: Part, options: Options) -> tuple[str, ...]:
    """All columns but the targets, for a model whose training data had no named columns."""
    heads = {head.name for head in trained.spec.heads}
    names = [name for name in part.frame.columns if name not in heads and name not in options.others]
    if len(names) != prod(trained.spec.input_shape):
        raise ConfigError(
            f"dataset.path={part.path} has {counted(len(names), 'column')} of inputs; allowed: "
            f"{prod(trained.spec.input_shape)}, one for each input, or {allowed(trained)}"
        )
    return tuple(names)
