"""Picture files as bytes: transparency over white, EXIF orientation, 16 bits and floats scaled to 8 bits."""

import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import bar

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = {"JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000"}  # not EPS, which runs Ghostscript
WHITE = {"F": 1.0, "I": 65535, "I;16": 65535, "I;16B": 65535}  # by mode; the other modes have 8 bits or fewer
BATCH = 64  # pictures that a thread inspects at a time
GREYS = {"L;2": 85, "L;4": 17}  # in a PNG: the factor by which Pillow multiplies a grey of 2 or 4 bits


@cache
def types() -> dict[str, str]:
    """The formats that this Pillow reads, by the ends of file names: ".jpg"."""
    from PIL import Image

    return {end: name for end, name in Image.registered_extensions().items() if name in FORMATS & Image.OPEN.keys()}


@cache
def formats() -> list[str]:
    return sorted(set(types().values()))


def opened(path: str) -> "Picture":
    """Open a picture. Pillow changes the values of a PNG of 2, 4 or 3 x 16 bits, but not its transparent colour."""
    from PIL import Image

    picture = Image.open(path, formats=formats())
    if picture.format == "PNG" and "transparency" in picture.info:
        packed = picture.tile[0].args
        if packed in GREYS:
            picture.info["transparency"] *= GREYS[packed]
        elif packed == "RGB;16B":
            picture.putalpha(opacity(path, picture.info.pop("transparency")))
    return picture


def opacity(path: str, transparent: tuple[int, int, int]) -> "Picture":
    """0 where a PNG of 16 bits a colour has the colour `transparent`, and 255 elsewhere."""
    from PIL import Image

    def bytes_of(order: str) -> NDArray[np.int64]:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.tile = [picture.tile[0]._replace(args=order)]
            return np.asarray(picture).astype(np.int64)

    values = 256 * bytes_of("RGB;16B") + bytes_of("RGB;16L")  # read as little-endian, they have their lower bytes
    return Image.fromarray(np.where((values == transparent).all(axis=2), 0, 255).astype(np.uint8))


def white_of(picture: "Picture") -> float:
    """The value of white in a mode of `WHITE`; of a TIFF with 12 bits (tag 258), in a mode of 16 bits, 4095."""
    return 4095 if tags(picture).get(258) == (12,) else WHITE[picture.mode]


def tags(picture: "Picture") -> Mapping[int, Any]:
    """The tags of a TIFF, by number."""
    return getattr(picture, "tag_v2", {})


def brightest(picture: "Picture") -> float:
    """The largest value of a picture that has more than 8 bits, from 0 to 1; infinity for other pictures.

    Raises:
        ValueError: if a value is below 0 or above white, bytes are signed (tag 339), or colours are in LAB.
    """
    if picture.mode == "LAB":
        raise ValueError("colours in LAB, which Pillow does not read reliably")
    if picture.mode not in WHITE:
        if tags(picture).get(339) == (2,):
            raise ValueError("signed bytes, which Pillow reads as unsigned")
        return inf
    values, white = np.asarray(picture), white_of(picture)
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
        scaled = np.rint(values * (255 / white_of(picture))).astype(np.uint8)
        if tags(picture).get(262) == 0:  # in this TIFF 0 is white; Pillow inverts only 8 bits
            scaled = 255 - scaled
        if "transparency" in picture.info:
            scaled[values == picture.info["transparency"]] = 255
        picture = Image.fromarray(scaled)
    elif picture.has_transparency_data:
        picture = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture if picture.mode == mode else picture.convert(mode)  # which would copy it


@dataclass(frozen=True)
class ReadImage:
    """Reads a picture as bytes (channel, height, width)."""

    height: int
    width: int
    grey: bool

    def __call__(self, path: str) -> Tensor:
        """Raises: ConfigError if the file is not a picture, or is damaged."""
        try:
            with warnings.catch_warnings(action="ignore"), opened(path) as picture:  # PIL warns of tags it skips
                pixels = np.array(in_bytes(picture, "L" if self.grey else "RGB").resize((self.width, self.height)))
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
            if picture.mode not in ("L", "RGB"):  # whose conversion cannot fail
                in_bytes(picture.crop((0, 0, 1, 1)), "L")
            return Inspected(light=light, several=getattr(picture, "is_animated", False))
    except MemoryError:
        raise
    except Exception as error:
        return Inspected(_unreadable(error))


def inspect(paths: list[str]) -> dict[str, Inspected]:
    """Decode pictures, to find those that cannot be read. In batches, because threads that take turns cost time."""

    def inspected(batch: list[str]) -> list[Inspected]:
        return [_inspected(path, *_changed(path)) for path in batch]

    types()  # loads Pillow's plugins before there are threads
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    found: list[Inspected] = []
    with (
        warnings.catch_warnings(action="ignore"),
        ThreadPoolExecutor(os.cpu_count()) as threads,
        bar(len(paths), "picture") as shown,
    ):
        for of_batch in threads.map(inspected, batches):
            found += of_batch
            shown.update(len(of_batch))
    return dict(zip(paths, found, strict=True))


def _changed(path: str) -> tuple[int, int]:
    """When a file was last changed, and its size; zeros if it cannot be read."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
