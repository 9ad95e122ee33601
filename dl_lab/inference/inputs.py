"""Raw inputs of a trained model, in blocks: rows of tables, pictures, arrays."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from dl_lab.core.errors import ConfigError, quoted
from dl_lab.core.paths import user_path
from dl_lab.data.files import lines_of
from dl_lab.data.pictures import types
from dl_lab.data.tables.frames import as_array, as_frame, as_series, is_frame
from dl_lab.datasets.class_folders import below, is_picture
from dl_lab.inference.blocks import DEFAULT_OPTIONS, Block, Options, allowed
from dl_lab.inference.pictures import of_pictures, of_pixels
from dl_lab.inference.tables import needed_columns, of_table
from dl_lab.inference.trained import Trained


def of_file(trained: Trained, path: Path, options: Options = DEFAULT_OPTIONS) -> Iterator[Block]:
    """The inputs in a file or folder: a table, pictures, or the lines of a text.

    Raises:
        ConfigError: if it holds none, or they do not fit the model.
    """
    if not path.exists():
        raise ConfigError(f"path={path} does not exist; allowed: {allowed(trained)}")
    is_image = trained.spec.kind == "image"
    if is_image and path.is_dir():
        files = sorted(file for file in below(path, path) if is_picture(file))
        if not files:
            raise ConfigError(f"path={path} contains no picture; allowed: {', '.join(sorted(types()))}")
        return of_pictures(trained, files, [file.relative_to(path).as_posix() for file in files])
    if path.is_dir():
        raise ConfigError(f"path={path} is a folder; allowed: {allowed(trained)}")
    if is_image and is_picture(path):
        return of_pictures(trained, [path], [path.name])
    if trained.spec.kind == "tokens" and path.suffix == ".txt":
        lines = [line for line in lines_of(path, "a text file") if line]
        if lines and not {*needed_columns(trained)} & {*lines[0].split("\t")}:  # no table: a text in each line
            return of_memory(trained, lines, options)
    return of_table(trained, path, options)


def of_memory(trained: Trained, raw: Any, options: Options = DEFAULT_OPTIONS) -> Iterator[Block]:
    """The inputs in memory: a dataframe of polars or pandas, a list of dictionaries, an array of features or pixels,
    paths of pictures, or texts.
    """
    spec = trained.spec
    if spec.kind == "tokens" and (isinstance(raw, str) or (isinstance(raw, list) and raw and isinstance(raw[0], str))):
        (column,) = needed_columns(trained)
        return of_table(trained, pl.DataFrame({column: [raw] if isinstance(raw, str) else raw}), options)
    if isinstance(raw, str | Path):
        return of_file(trained, user_path(str(raw), "path"), options)
    if spec.kind == "image" and isinstance(raw, Sequence) and raw and isinstance(raw[0], str | Path):
        return of_pictures(trained, [Path(each) for each in raw], [str(each) for each in raw])
    if spec.kind == "image" and not is_frame(raw):
        pixels = raw if isinstance(raw, torch.Tensor) else _numbers(trained, raw)
        if pixels.shape == spec.input_shape:
            pixels = pixels[None]
        elif pixels.ndim == 3 and spec.input_shape[0] == 1:
            pixels = pixels[:, None]  # (image, height, width)
        return of_pixels(trained, pixels)
    if not is_frame(raw):
        raw = _of_array(trained, as_array(raw, "x", allowed(trained)))
    return of_table(trained, as_frame(raw), options)


def _numbers(trained: Trained, raw: Any) -> torch.Tensor:
    array = as_array(raw, "x", allowed(trained))
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"x is a {type(raw).__name__} of {array.dtype}; allowed: numbers, or {allowed(trained)}")
    return torch.from_numpy(np.array(array))  # a copy that can be written


def _of_array(trained: Trained, values: np.ndarray) -> pl.DataFrame:
    """An array (row, column) as a table with the columns of the model. Where these have names such as
    column_3, the numbers are places in the array.
    """
    given = values.shape
    values = values[:, None] if values.ndim == 1 else values
    numbered = [f"column_{place}" for place in range(1, values.shape[1] + 1)]
    needed = list(needed_columns(trained)) or numbered[: trained.spec.input_shape[0]]
    names = numbered if set(needed) <= set(numbered) else needed
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ConfigError(
            f"inputs {given} do not fit the model; allowed: (row, {len(needed)}), with the columns {quoted([*needed])}"
        )
    return pl.DataFrame([as_series(column, name) for column, name in zip(values.T, names, strict=True)])
