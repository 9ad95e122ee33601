"""Picture files as bytes: transparency over white, EXIF orientation, 16 bits and floats scaled to 8 bits."""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dl_lab.core.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = {"JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000"}  # not EPS, which runs Ghostscript
WHITE = {"F": 1.0, "I": 65535, "I;16": 65535, "I;16B": 65535}  # by mode; the other modes have 8 bits or fewer


@cache
def types() -> dict[str, str]:
    """The formats that this Pillow reads, by the ends of file names: ".jpg"."""
    from PIL import Image

    return {end: name for end, name in Image.registered_extensions().items() if name in FORMATS & Image.OPEN.keys()}


@cache
def formats() -> list[str]:
    return sorted(set(types().values()))


def opened(path: str) -> "Picture":
    from PIL import Image

    return Image.open(path, formats=formats())


def brightest(picture: "Picture") -> float:
    """The largest value of a picture that has more than 8 bits, from 0 to 1; infinity for other pictures.

    Raises:
        ValueError: if a value is below 0 or above white, or colours are in LAB.
    """
    if picture.mode == "LAB":
        raise ValueError("colours in LAB, which Pillow does not read reliably")
    if picture.mode not in WHITE:
        return inf
    values, white = np.asarray(picture), WHITE[picture.mode]
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # or nan
        raise ValueError(f"values from {low} to {high}; allowed: 0 to {white}")
    return float(high / white)


def in_bytes(picture: "Picture", mode: str) -> "Picture":
    """A picture in the mode "L" or "RGB", upright and on white, as viewers show it. Raises as `brightest`."""
    from PIL import Image, ImageOps

    picture.load()
    with suppress(Exception):  # of many types, for a damaged EXIF record, which is no part of the picture
        ImageOps.exif_transpose(picture, in_place=True)
    brightest(picture)
    if picture.mode in WHITE:
        values = np.asarray(picture)
        scaled = np.rint(values * (255 / WHITE[picture.mode])).astype(np.uint8)
        if getattr(picture, "tag_v2", {}).get(262) == 0:  # in this TIFF 0 is white; Pillow inverts only 8 bits
            scaled = 255 - scaled
        if "transparency" in picture.info:
            scaled[values == picture.info["transparency"]] = 255
        picture = Image.fromarray(scaled)
    elif picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture if picture.mode == mode else picture.convert(mode)  # which would copy it


@dataclass(frozen=True)
class ReadImage:
    """Reads a picture as bytes (channel, size, size)."""

    size: int
    grey: bool

    def __call__(self, path: str) -> Tensor:
        """Raises: ConfigError if the file is not a picture, or is damaged."""
        try:
            with warnings.catch_warnings(action="ignore"), opened(path) as picture:  # PIL warns of tags it skips
                pixels = np.array(in_bytes(picture, "L" if self.grey else "RGB").resize((self.size, self.size)))
        except MemoryError:
            raise
        except Exception as error:  # PIL raises many types for damaged or very large files
            raise ConfigError(f"{path} is {_unreadable(error)}; hint: restore it") from error
        return torch.from_numpy(pixels[None] if self.grey else pixels.transpose(2, 0, 1).copy())


def _unreadable(error: Exception) -> str:
    reason = " ".join(str(error).split()) if type(error) is ValueError else type(error).__name__
    return f"not a readable image ({reason})"


@dataclass(frozen=True)
class Inspected:
    """Why a picture cannot be read ("" if it can), its `brightest` value, and whether its file contains others too."""

    problem: str = ""
    light: float = inf
    several: bool = False


@cache
def _inspected(path: str, changed: int, size: int) -> Inspected:
    """As `inspect`, once per file and process. Decodes JPEG at an eighth of its size, and converts only one pixel."""
    try:
        with opened(path) as picture:
            picture.draft("L", (1, 1))
            picture.load()
            light = brightest(picture)
            in_bytes(picture.crop((0, 0, 1, 1)), "L")
            return Inspected(light=light, several=getattr(picture, "is_animated", False))
    except MemoryError:
        raise
    except Exception as error:
        return Inspected(_unreadable(error))


def inspect(paths: list[str]) -> dict[str, Inspected]:
    """Decode pictures, to find those that cannot be read."""

    def inspected(path: str) -> Inspected:
        try:
            status = Path(path).stat()
        except OSError as error:
            return Inspected(_unreadable(error))
        return _inspected(path, status.st_mtime_ns, status.st_size)

    types()  # loads Pillow's plugins before there are threads
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor() as threads:
        results = threads.map(inspected, paths)
        bar = tqdm(results, total=len(paths), unit="picture", leave=False, disable=not sys.stderr.isatty())
        return dict(zip(paths, bar, strict=True))
