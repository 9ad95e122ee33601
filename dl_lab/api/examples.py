"""Examples in memory, data=(X, y), as rows of a table or as images."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dl_lab.config.compose import quoted
from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.tables.frames import as_array, as_frame, as_series, is_frame
from dl_lab.data.tables.reading import plain_columns, with_plain_types
from dl_lab.datasets.memory import Examples

ALLOWED = "data=(X, y): arrays, tensors or dataframes of equal length; y may name columns of X"
CHANNELS = (1, 3, 4)


def examples_of(data: Any, names_of_x: Sequence[str] = (), names_of_y: Sequence[str] = ()) -> Examples:
    """The examples of data=(X, y); arrays have these names of columns, if they are as many.

    Raises:
        ConfigError: if they are not a pair, or do not fit each other.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ConfigError(f"data is a {type(data).__name__}; allowed: {ALLOWED}")
    inputs, targets = data
    pixels, features = None, pl.DataFrame()
    if is_frame(inputs):
        features = as_frame(inputs)
    else:
        array = as_array(inputs, "data: X", ALLOWED)
        if array.ndim > 2:
            pixels = images(array)
        else:
            features = columns_of(array[:, None] if array.ndim == 1 else array, "column", names_of_x)
    features, names = _with_targets(features, targets, len(features) if pixels is None else len(pixels), names_of_y)
    if features.is_empty():
        raise ConfigError(f"data: there are no rows; allowed: {ALLOWED}")
    frame = with_plain_types("data", features.select(plain_columns()))
    if left := [name for name in features.columns if name not in [*frame.columns, *names]]:
        announce(f"data: columns of lists, objects and the like are left out: {', '.join(left)}")
    if lost := [name for name in names if name not in frame.columns]:
        raise ConfigError(
            f"data: target {lost[0]} has values that are not plain; allowed: numbers, text, true and false, dates"
        )
    return Examples(frame, tuple(names), pixels, digest(frame, pixels))


def _with_targets(
    features: pl.DataFrame, targets: Any, rows: int, names_of_y: Sequence[str]
) -> tuple[pl.DataFrame, list[str]]:
    """The features with the columns of targets, and the names of these, which may be columns of the features already.

    Raises:
        ConfigError: if the targets have another length, or the name of a feature.
    """
    names = [targets] if isinstance(targets, str) else targets
    if isinstance(names, list | tuple) and names and all(name in features.columns for name in names):
        return features, list(names)
    if isinstance(targets, str):
        raise ConfigError(f"y={targets} is no column of X; allowed: {', '.join(features.columns[:20])}")
    chosen = target_frame(targets, names_of_y)
    if len(chosen) != rows:
        raise ConfigError(f"data: X has {rows} rows and y has {len(chosen)}; allowed: {ALLOWED}")
    if both := [name for name in chosen.columns if name in features.columns]:
        raise ConfigError(
            f"data: X and y both have a column {both[0]}; allowed: targets that are no features; "
            f"hint: data=(X, {both[0]!r}) takes it from X"
        )
    return pl.concat([features, chosen], how="horizontal"), chosen.columns


def overrides_of(examples: Examples) -> list[str]:
    """The overrides that choose these examples, and record in the run folder that its data were in memory."""
    targets = ",".join(map(quoted, examples.targets))
    chosen = ["dataset=memory", f"dataset.targets=[{targets}]", f"dataset.digest={quoted(examples.digest)}"]
    if len(examples.targets) == 1 and are_classes(examples.frame[examples.targets[0]]):
        chosen.append("dataset.task=classification")
    if examples.pixels is None:
        return chosen
    return [*chosen, f"dataset.image_shape=[{','.join(map(str, examples.pixels.shape[1:]))}]"]


def are_classes(targets: pl.Series) -> bool:
    """Whether targets are the whole numbers 0, 1, 2 and so on, as libraries number classes, with two or more rows each
    on average. An explicit dataset.task overrides this.
    """
    count = targets.n_unique()
    is_whole = targets.dtype.is_integer() and not targets.null_count()
    return bool(is_whole and targets.min() == 0 and targets.max() == count - 1 and 2 * count <= len(targets))


def columns_of(array: np.ndarray, name: str, names: Sequence[str]) -> pl.DataFrame:
    """An array (row, column) with these names, if they are as many, or as those of a file without a header."""
    if array.ndim != 2 or not array.shape[1]:
        raise ConfigError(f"data: the array of {name}s has the shape {array.shape}; allowed: (row, column)")
    if len(names) != array.shape[1]:
        names = [f"{name}_{place}" for place in range(1, array.shape[1] + 1)]
    return pl.DataFrame([as_series(column, each) for column, each in zip(array.T, names, strict=True)])


def target_frame(targets: Any, names: Sequence[str]) -> pl.DataFrame:
    """The columns of targets: with their own names, or these, or "target", or "target_1" and so on."""
    if is_frame(targets):
        return as_frame(targets)
    if hasattr(targets, "name"):  # a series of polars or pandas
        return as_series(targets, str(targets.name or "target")).to_frame()
    array = as_array(targets, "data: y", ALLOWED)
    if array.ndim == 1 or array.shape[1:] == (1,):
        return as_series(array.reshape(-1), names[0] if len(names) == 1 else "target").to_frame()
    return columns_of(array, "target", names)


def images(array: np.ndarray) -> Tensor:
    """Images as bytes (image, channel, height, width), from an array of this shape or (image, height, width).

    Raises:
        ConfigError: for other types and shapes.
    """
    allowed = "bytes (image, channel, height, width) or (image, height, width)"
    if array.dtype != np.uint8:
        hint = "(X * 255).round().astype('uint8') for values from 0 to 1"
        raise ConfigError(f"data: X are images {array.shape} of {array.dtype}; allowed: {allowed}; hint: {hint}")
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or not all(array.shape):
        raise ConfigError(f"data: X has the shape {array.shape}; allowed: {allowed}")
    if array.shape[3] in CHANNELS and array.shape[1] not in CHANNELS:
        hint = "X.transpose(0, 3, 1, 2)"
        raise ConfigError(f"data: X {array.shape} seems to have the channels last; allowed: {allowed}; hint: {hint}")
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def digest(frame: pl.DataFrame, pixels: Tensor | None) -> str:
    """A hash of the names and values of examples, which is the same for every library that they come from."""
    found = sha256()
    for series in frame:
        found.update(json.dumps([series.name, len(series)]).encode())
        if series.dtype.is_numeric():
            found.update(series.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes())
        else:
            found.update(json.dumps(series.cast(pl.String).to_list()).encode())
    if pixels is not None:
        found.update(f"{tuple(pixels.shape)}".encode() + pixels.numpy().tobytes())
    return found.hexdigest()[:16]
