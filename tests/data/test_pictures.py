"""Picture files of every mode as bytes, against closed forms: what a viewer shows on a white page."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.pictures import SIZE

from dl_lab.core.errors import ConfigError
from dl_lab.data import pictures
from dl_lab.data.pictures import ReadImage, inspect

GREY = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE) * 7
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)
ALPHA = np.flipud(GREY)
SHORT, LONG = 3, 4  # types of TIFF tags


def read(path: Path, grey: bool = False) -> NDArray[np.float64]:
    """The pixels (height, width, channel) that a run reads, of a picture that inspection accepts."""
    assert inspect([str(path)])[str(path)].problem == ""
    return ReadImage(SIZE, SIZE, grey)(str(path)).numpy().transpose(1, 2, 0).astype(float)


def png(depth: int, kind: int, pixels: NDArray[Any], transparent: bytes = b"") -> bytes:
    """A PNG file of one channel, as the specification describes it, because Pillow cannot write all of them."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", SIZE, SIZE, depth, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunks = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def big_endian(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    return (pixels * np.uint16(257)).astype(">u2")  # 255 becomes 65535


def tiff(pixels: NDArray[Any], *changes: tuple[int, int, int, int], **options: Any) -> bytes:
    """A TIFF file that Pillow wrote, after changes of tags: the tag, its type, the old and the new value."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF", **options)
    content = file.getvalue()
    for tag, kind, before, after in changes:
        old = struct.pack("<HHII", tag, kind, 1, before)
        assert content.count(old) == 1
        content = content.replace(old, struct.pack("<HHII", tag, kind, 1, after))
    return content


DEEP: dict[str, Callable[[], Image.Image | bytes]] = {
    "16.png": lambda: Image.fromarray(big_endian(GREY).astype(np.uint16)),
    "16.tif": lambda: Image.fromarray(big_endian(GREY).astype(np.uint16)),
    "16B.tif": lambda: Image.frombytes("I;16B", (SIZE, SIZE), big_endian(GREY).tobytes()),
    "32.tif": lambda: Image.fromarray(big_endian(GREY).astype(np.int32)),
    "float.tif": lambda: Image.fromarray((GREY / 255).astype(np.float32)),
    "16.pgm": lambda: b"P5 %d %d 65535\n" % GREY.shape + big_endian(GREY).tobytes(),
    "16.jp2": lambda: Image.fromarray(big_endian(GREY).astype(np.uint16)),
}


def save(path: Path, picture: Image.Image | bytes, **options: Any) -> Path:
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        picture.save(path, **options)
    return path


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("grey", [True, False])
def test_more_than_8_bits_are_scaled_by_their_whole_range(tmp_path: Path, name: str, grey: bool) -> None:
    pixels = read(save(tmp_path / name, DEEP[name]()), grey)
    np.testing.assert_array_equal(pixels, np.broadcast_to(GREY[..., None], pixels.shape))


@pytest.mark.parametrize("pixels", [GREY, big_endian(GREY).astype(np.uint16), (GREY / 255).astype(np.float32)])
def test_a_tiff_may_write_white_as_0(tmp_path: Path, pixels: NDArray[Any]) -> None:
    path = save(tmp_path / "a.tif", tiff(pixels, (262, SHORT, 1, 0)))
    np.testing.assert_array_equal(read(path, grey=True)[..., 0], 255 - GREY)


def test_16_bits_of_colour_lose_their_lower_half(tmp_path: Path) -> None:
    content = png(16, 2, big_endian(RGB).reshape(SIZE, -1))
    np.testing.assert_array_equal(read(save(tmp_path / "a.png", content)), RGB)


DARK = np.where(ALPHA > 100, 0, GREY).astype(np.uint8)  # its zeros are transparent below
MULTIPLIED = np.dstack([GREY * (ALPHA / 255), ALPHA]).round().astype(np.uint8)
BLEND = {  # the picture, options of `save`, the colours and the opacity (height, width) from 0 to 1
    "rgba.png": (Image.fromarray(np.dstack([RGB, ALPHA])), {}, RGB, ALPHA / 255),
    "rgba.webp": (Image.fromarray(np.dstack([RGB, ALPHA])), {"lossless": True, "exact": True}, RGB, ALPHA / 255),
    "rgba.tif": (Image.fromarray(np.dstack([RGB, ALPHA])), {}, RGB, ALPHA / 255),
    "la.png": (Image.fromarray(np.dstack([GREY, ALPHA])), {}, GREY, ALPHA / 255),
    "La.tif": (tiff(MULTIPLIED, (338, SHORT, 2, 1)), {}, GREY, ALPHA / 255),
    "l.png": (Image.fromarray(DARK), {"transparency": 0}, DARK, DARK > 0),
    "p.png": (Image.fromarray(DARK).convert("P"), {"transparency": 0}, DARK, DARK > 0),
    "p.gif": (Image.fromarray(DARK).convert("P"), {"transparency": 0}, DARK, DARK > 0),
    "1.png": (Image.fromarray(DARK > 0), {"transparency": 0}, 255 * (DARK > 0), DARK > 0),
    "rgb.png": (Image.fromarray(DARK).convert("RGB"), {"transparency": (0, 0, 0)}, DARK, DARK > 0),
    "16.png": (png(16, 0, big_endian(DARK), struct.pack(">H", 0)), {}, DARK, DARK > 0),
    "la16.png": (png(16, 4, big_endian(np.dstack([GREY, ALPHA])).reshape(SIZE, -1)), {}, GREY, ALPHA / 255),
}


@pytest.mark.parametrize("name", BLEND)
@pytest.mark.parametrize("grey", [True, False])
def test_what_is_transparent_is_white(tmp_path: Path, name: str, grey: bool) -> None:
    picture, options, colours, opacity = BLEND[name]
    pixels = read(save(tmp_path / name, picture, **options), grey)
    over_white = opacity[..., None] * colours.reshape(SIZE, SIZE, -1) + 255 * (1 - opacity[..., None])
    if grey and colours.ndim == 3:
        over_white = over_white @ [[0.299], [0.587], [0.114]]
    # Pillow rounds twice for grey, and where colours are multiplied by their opacity
    twice = grey or name == "La.tif"
    np.testing.assert_allclose(pixels, np.broadcast_to(over_white, pixels.shape), atol=1.5 if twice else 1)


@pytest.mark.parametrize(("kind", "depth"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
@pytest.mark.parametrize("grey", [True, False])
def test_one_colour_of_a_png_may_be_transparent(tmp_path: Path, kind: int, depth: int, grey: bool) -> None:
    """In 16 bits, a colour that differs in one bit is not transparent."""
    white, channels = 2**depth - 1, 3 if kind == 2 else 1
    values = np.random.default_rng(depth).integers(0, white + 1, (SIZE, SIZE, channels))
    colour = np.full(channels, white // 2)
    values[1], values[2, 0], values[2, 1] = colour, colour ^ 1, colour ^ (white + 1) // 2
    bits = values.reshape(SIZE, -1, 1) >> np.arange(depth)[::-1] & 1
    rows = np.packbits(bits.reshape(SIZE, -1), axis=1)
    path = save(tmp_path / "a.png", png(depth, kind, rows, struct.pack(f">{channels}H", *colour)))
    over_white = np.where((values == colour).all(axis=2, keepdims=True), 255, values * (255 / white))
    if grey and channels == 3:
        over_white = over_white @ [[0.299], [0.587], [0.114]]
    pixels = read(path, grey)
    # Pillow rounds twice for grey, and 16 bits of colour down
    np.testing.assert_allclose(pixels, np.broadcast_to(over_white, pixels.shape), atol=1.5 if grey else 1)


def test_grey_of_12_bits_is_scaled_by_4095(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (SIZE, SIZE))
    rows = np.packbits((values[..., None] >> np.arange(12)[::-1] & 1).astype(np.uint8).reshape(SIZE, -1), axis=1)
    content = tiff(rows, (258, SHORT, 8, 12), (256, LONG, rows.shape[1], SIZE))
    path = save(tmp_path / "a.tif", content)
    np.testing.assert_allclose(read(path, grey=True)[..., 0], values * (255 / 4095), atol=0.51)


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_pictures_are_upright(tmp_path: Path, ending: str) -> None:
    """The eight orientations of EXIF 2.3, section 4.6.4."""
    turned = [RGB, np.fliplr(RGB), np.rot90(RGB, 2), np.flipud(RGB)]
    turned += [np.swapaxes(RGB, 0, 1), np.rot90(RGB, -1), np.swapaxes(np.rot90(RGB, 2), 0, 1), np.rot90(RGB)]
    for number, upright in enumerate(turned, 1):
        exif = Image.Exif()
        exif[0x0112] = number
        options = {"lossless": True} if ending == "webp" else {}
        path = save(tmp_path / f"{number}.{ending}", Image.fromarray(RGB), exif=exif, **options)
        np.testing.assert_array_equal(read(path), upright)


def test_a_broken_orientation_is_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB), exif=b"Exif\0\0garbage")
    np.testing.assert_array_equal(read(path), RGB)


@pytest.mark.parametrize("ending", ["gif", "tif", "png", "webp"])
def test_only_the_first_picture_of_a_file_is_read(tmp_path: Path, ending: str) -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    options = {"lossless": True} if ending == "webp" else {}
    path = save(tmp_path / f"a.{ending}", first, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(read(path)[..., 0], GREY)
    assert inspect([str(path)])[str(path)].several
    assert not inspect([alone := str(save(tmp_path / f"b.{ending}", first))])[alone].several


@pytest.mark.parametrize("name", ["wrong.jpg", "UPPER.PNG"])
def test_the_content_decides_the_format(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / name, Image.fromarray(RGB), format="PNG")), RGB)


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        (Image.fromarray(GREY.astype(np.float32)), "values from 0.0 to 245.0; allowed: 0 to 1"),
        (Image.fromarray(np.full((SIZE, SIZE), np.nan, dtype=np.float32)), "values from nan"),
        (Image.fromarray(GREY.astype(np.int32) - 9), "values from -9"),
        (Image.fromarray(GREY.astype(np.int32) * 300), "to 73500; allowed: 0 to 65535"),
        (tiff(GREY, tiffinfo={339: 2}), "signed bytes"),
        (Image.new("LAB", (SIZE, SIZE)), "LAB"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n", "UnidentifiedImageError"),  # would run Ghostscript
        (b"", "UnidentifiedImageError"),
    ],
)
def test_what_8_bits_cannot_hold_is_refused_in_one_line(tmp_path: Path, picture: Any, problem: str) -> None:
    path = str(save(tmp_path / "a.tif", picture))
    assert problem in inspect([path])[path].problem
    with pytest.raises(ConfigError) as caught:
        ReadImage(SIZE, SIZE, grey=False)(path)
    assert f"{path} is not a readable image (" in str(caught.value)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_pictures_are_inspected_in_batches(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "BATCH", batch)
    paths = [str(save(tmp_path / f"{number}.png", Image.fromarray(GREY))) for number in range(5)]
    Path(paths[3]).write_bytes(b"")
    missing = str(tmp_path / "missing.png")
    found = inspect([*paths, missing])
    assert list(found) == [*paths, missing]
    assert [path for path, each in found.items() if each.problem] == [paths[3], missing]
