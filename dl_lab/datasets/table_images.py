"""Images that a table lists: pictures that a column names, or rows of pixels."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.progress import announce
from dl_lab.data.pictures import ReadImage, types
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.types import as_text, not_a_number, numbers_of


@dataclass(frozen=True)
class Images:
    """Images as bytes (row, channel, height, width), and the files that they were read from, by name."""

    pixels: Tensor
    files: Mapping[str, Path]


def images_of(table: RawTable, names: Sequence[str], shape: Sequence[int], rows: Rows) -> Images:
    """The images of these rows, one pixel in each of the columns, in the order of the file: all pixels of the first
    line of the first channel come first.

    Raises:
        ConfigError: if the columns are not as many as pixels, or a pixel is no whole number from 0 to 255.
    """
    if len(names) != prod(shape):
        raise ConfigError(
            f"dataset.image_shape={list(shape)} has {prod(shape):,} pixels, but the table has {len(names):,} columns "
            f"of features, from {names[0]} to {names[-1]}; allowed: one column for each pixel; hint: leave others out "
            "with dataset.drop=[...]"
        )
    pixels = pixels_of(table, names, rows)
    announce(f"{table.path}: {counted(len(table.frame), 'row')}; images {list(shape)} from {names[0]} to {names[-1]}")
    return Images(torch.from_numpy(pixels).view(len(rows), *shape), {})


def pixels_of(table: RawTable, names: Sequence[str], rows: Rows) -> NDArray[np.uint8]:
    """The pixels (row, column) of these rows.

    Raises:
        ConfigError: if one is no whole number from 0 to 255.
    """
    pixels = np.empty((len(rows), len(names)), dtype=np.uint8)
    for place, name in enumerate(names):
        values = numbers_of(table, name)
        chosen = values.gather(rows).to_numpy()
        is_pixel = (chosen >= 0) & (chosen <= 255) & (chosen % 1 == 0)
        if not is_pixel.all():
            raise _not_a_pixel(table, name, int(rows[~is_pixel].min()))
        pixels[:, place] = chosen
    return pixels


def _not_a_pixel(table: RawTable, name: str, row: int) -> ConfigError:
    cells = as_text(table.frame[name])
    if cells[row] is not None and numbers_of(table, name)[row] is None:
        return not_a_number(table, cells, row)
    what = "a missing value" if cells[row] is None else cells[row]
    return ConfigError(
        f"dataset.path={table.path} {table.place(row, name)}: {what} is no pixel; allowed: whole numbers from 0 to 255"
    )


def pictures_of(table: RawTable, column: str, shape: Sequence[int], rows: Rows, folder: Path) -> Images:
    """The pictures whose files, below `folder`, a column names, with or without the end of the name, such as .jpg. They
    are resized, and are grey with one channel.

    Raises:
        ConfigError: naming the row, if a file is missing, outside the folder, or no picture.
    """
    found = listed_pictures(table, column, shape, rows, folder)
    for each in found:
        if isinstance(each, ConfigError):
            raise each
    known = [each for each in found if not isinstance(each, ConfigError)]
    announce(f"{table.path}: {counted(len(table.frame), 'row')}; images {list(shape)} from the files in {column}")
    return Images(torch.stack([pixels for *_, pixels in known]), {name: path for name, path, _ in known})


def listed_pictures(
    table: RawTable, column: str, shape: Sequence[int], rows: Rows, folder: Path
) -> list[tuple[str, Path, Tensor] | ConfigError]:
    """The name, file and pixels of each picture, or why there is none."""
    channels, height, width = shape
    read = ReadImage(height, width, grey=channels == 1)
    names = as_text(table.frame[column])
    root = folder.resolve()
    types()  # loads Pillow's plugins before there are threads

    def picture(row: int) -> tuple[str, Path, Tensor] | ConfigError:
        name, where = names[row], f"dataset.path={table.path} {table.place(row, column)}"
        if name is None:
            return ConfigError(f"{where}: a missing value names no picture; allowed: a file below {folder}")
        path = _file(root, name)
        if path is None:
            return ConfigError(
                f"{where}: {name} is no picture below {folder}; hint: dataset.image_folder=FOLDER if they are elsewhere"
            )
        try:
            return name, path, read(str(path))
        except ConfigError as error:
            return ConfigError(f"{where}: {error}")

    with ThreadPoolExecutor() as threads:
        return list(threads.map(picture, rows.tolist()))


def _file(root: Path, name: str) -> Path | None:
    """The file of a name below `root`; None if there is none, or if it is elsewhere: a table is not trusted."""
    for end in ("", *types()):
        path = (root / f"{name}{end}").resolve()
        if path.is_relative_to(root) and path.is_file():
            return path
    return None
