"""Raw inputs to verify an exported model with: random ones, and ones that look like data."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dl_lab.data.preprocessing import Preprocessing
from dl_lab.inference.exporting.trace import Raw, Traced

if TYPE_CHECKING:
    import polars as pl

BATCHES = (1, 2, 7)


def samples(traced: Traced) -> Iterator[Raw]:
    """Batches of raw inputs of several sizes, always the same."""
    random = np.random.default_rng(0)
    preprocessing, lengths = traced.preprocessing, traced.spec.input_shape
    for batch in BATCHES:
        for is_like_data in (True, False):
            if preprocessing.spec.kind == "tokens":
                time = max(1, lengths[0] // batch) if traced.any_length else lengths[0]
                yield _tokens(random, preprocessing, (batch, time), is_like_data)
            elif traced.columns:
                columns = [_column(random, column, batch, is_like_data) for column in traced.columns]
                yield np.column_stack(columns)
            else:
                yield _values(random, preprocessing, traced.dtype, (batch, *lengths), is_like_data)


def _tokens(
    random: np.random.Generator, preprocessing: Preprocessing, shape: tuple[int, int], is_like_data: bool
) -> Raw:
    vocabulary = preprocessing.spec.vocabulary or 1
    tokens = random.integers(0, vocabulary, shape)
    return np.repeat(tokens, 2, axis=1)[:, : shape[1]] if is_like_data else tokens


def _values(
    random: np.random.Generator, preprocessing: Preprocessing, dtype: torch.dtype, shape: tuple[int, ...], is_like: bool
) -> Raw:
    """Pixels or numbers around their mean in the training split, or in a wide range."""
    mean = np.asarray(0.0 if preprocessing.mean is None else preprocessing.mean)
    std = np.asarray(1.0 if preprocessing.std is None else preprocessing.std)
    values = mean + std * (random.standard_normal(shape) if is_like else random.uniform(-4, 4, shape))
    if dtype == torch.uint8:
        values = values if is_like else random.uniform(0, preprocessing.white, shape)
        values = values.round().clip(0, preprocessing.white)
    name = str(dtype).removeprefix("torch.")
    return (values.round() if name == "int32" else values).astype(name)


def _column(random: np.random.Generator, column: Mapping[str, Any], rows: int, is_like_data: bool) -> Raw:
    """Values of a column as `graph.Columns` reads them; some are missing."""
    match column["kind"]:
        case "category":
            values = random.integers(0, len(column["labels"]) + 1, rows).astype(float)
        case "boolean":
            values = random.integers(0, 2, rows).astype(float)
        case "date":
            years = 10 if is_like_data else 300
            values = np.round(column["fill"] + random.uniform(-years, years, rows) * 365.25 * 86400)
        case _:
            spread = random.standard_normal(rows) if is_like_data else random.uniform(-10, 10, rows)
            values = column["offset"] + column["scale"] * spread
    if "fill" in column:
        values[random.random(rows) < (0.1 if is_like_data else 0.3)] = np.nan
    return values


def stored_of(traced: Traced, raw: Raw) -> Tensor:
    """The same inputs as a dataset stores them, computed by the encoders of the table."""
    from dl_lab.data.tables.columns import encoder_of
    from dl_lab.data.tables.known import statistics_of
    from dl_lab.data.tables.matrix import assemble

    if not traced.columns:
        return torch.from_numpy(raw)
    if not all("fill" in column for column in traced.columns):
        return traced.preprocessing.stored(raw)
    encoders = [encoder_of(column) for column in traced.columns]
    blocks = [block for one, values in zip(encoders, raw.T, strict=True) for block in one.blocks(_typed(one, values))]
    offset, scale = statistics_of(encoders)
    return torch.from_numpy((assemble(blocks, np.arange(len(raw))) - offset) / scale)


def _typed(encoder: Any, values: Raw) -> "pl.Series":
    import polars as pl

    known = [None if np.isnan(value) else value for value in values.tolist()]
    if encoder.kind == "category":
        labels = dict(enumerate(encoder.labels))
        other = "".join(encoder.labels) + "?"
        return pl.Series([None if place is None else labels.get(int(place), other) for place in known], dtype=pl.String)
    if encoder.kind == "boolean":
        return pl.Series([None if value is None else bool(value) for value in known], dtype=pl.Boolean)
    if encoder.kind == "date":
        return pl.Series([None if value is None else round(value * 1e6) for value in known]).cast(pl.Datetime("us"))
    return pl.Series(known, dtype=pl.Float64)
