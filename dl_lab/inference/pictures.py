"""Pictures in files and pixels in memory, in blocks."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.data.pictures import types
from dl_lab.data.tables.matrix import CHUNK
from dl_lab.inference.blocks import Block, block_of_pictures
from dl_lab.inference.trained import Trained

PICTURES = 256  # predicted at a time


def of_pixels(trained: Trained, pixels: Tensor) -> Iterator[Block]:
    """Images in memory (image, channel, height, width).

    Raises:
        ConfigError: for fractions where the model reads whole numbers.
    """
    pixels = trained.preprocessing.stored(pixels)
    if trained.preprocessing.mean is not None:
        white = f"{trained.preprocessing.white:g}"
        whole = f"allowed: whole numbers from 0 to {white}"
        if pixels.is_floating_point() or pixels.is_complex() or pixels.dtype == torch.bool:
            raise ConfigError(
                f"pixels are {str(pixels.dtype).removeprefix('torch.')}; {whole}; "
                f"hint: (x * {white}).round() as uint8, for values from 0 to 1"
            )
        values = pixels.cpu().numpy()  # torch has no minimum of uint16
        if values.size and not 0 <= values.min() <= values.max() <= trained.preprocessing.white:
            raise ConfigError(f"pixels are from {values.min()} to {values.max()}; {whole}")
    for start in range(0, len(pixels), CHUNK):
        stored = pixels[start : start + CHUNK]
        names = pl.DataFrame({"row": pl.Series(range(start + 1, start + 1 + len(stored)))})
        yield Block(names, np.ones(len(stored), dtype=bool), stored)


def of_pictures(trained: Trained, files: Sequence[Path], names: Sequence[str]) -> Iterator[Block]:
    """Picture files. One that cannot be read is printed, and has no prediction."""

    def read(path: Path) -> Tensor | ConfigError:
        try:
            return trained.preprocessing.stored([path])[0]
        except ConfigError as error:
            return error

    types()  # loads Pillow's plugins before there are threads
    for start in range(0, len(files), PICTURES):
        with ThreadPoolExecutor() as threads:
            pixels = list(threads.map(read, files[start : start + PICTURES]))
        yield block_of_pictures(trained, pl.DataFrame({"file": names[start : start + PICTURES]}), pixels)
