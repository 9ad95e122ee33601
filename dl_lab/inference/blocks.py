"""Examples that are predicted together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.core.paths import user_path
from dl_lab.core.progress import announce
from dl_lab.data.tables.parts import Part
from dl_lab.inference.trained import Trained


@dataclass(frozen=True)
class Block:
    """Examples that are predicted together. `names` identify each example in the output, `is_usable` (example,) says
    which ones have inputs, and `stored` has only these inputs. `part` has their rows, if they come from a table.
    """

    names: pl.DataFrame
    is_usable: NDArray[np.bool_]
    stored: Tensor
    part: Part | None = None


@dataclass(frozen=True)
class Options:
    """`reading` overrides how a table is read; `others` are further columns that it must have, such as targets;
    `image_folder` is the folder of the pictures that a table lists.
    """

    reading: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    image_folder: str | None = None


DEFAULT_OPTIONS = Options()


def options_of(dataset: Mapping[str, Any]) -> Options:
    """The options in the keys `dataset.KEY` of a command."""
    folder = dataset.get("image_folder")
    reading = {key: value for key, value in dataset.items() if key != "image_folder"}
    folder = None if folder is None else str(user_path(str(folder), "dataset.image_folder"))
    return Options(reading=reading, image_folder=folder)


@contextmanager
def naming_path(raw: Any) -> Iterator[None]:
    """Name the key `path` in errors about a file, and none in those about data in memory."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(str(error).replace("dataset.path=", "path=" if isinstance(raw, Path) else "")) from error


def allowed(trained: Trained) -> str:
    """The inputs that a model accepts, for error messages."""
    if trained.spec.task == "language_modelling":
        return "a text file"
    if trained.spec.kind == "image":
        return "a picture, a folder of pictures, or a table of pixels or of files as in training"
    return "a table: csv, tsv or parquet"


def block_of_pictures(
    trained: Trained, names: pl.DataFrame, pixels: Sequence[Tensor | ConfigError], part: Part | None = None
) -> Block:
    """A block of pictures. One that cannot be read is an error instead of pixels; it is printed, and has no inputs."""
    for each in pixels:
        if isinstance(each, ConfigError):
            announce(f"no prediction: {str(each).removeprefix('dataset.path=')}")
    found = [each for each in pixels if isinstance(each, Tensor)]
    stored = torch.stack(found) if found else torch.empty(0, *trained.spec.input_shape, dtype=torch.uint8)
    return Block(names, np.array([isinstance(each, Tensor) for each in pixels]), stored, part)
