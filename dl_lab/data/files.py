"""Text files of the user."""

from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from dl_lab.core.atomic_io import open_regular, read_bytes
from dl_lab.core.errors import ConfigError

SAMPLE = 4000  # bytes at the beginning of a file

MAGIC = {  # first bytes
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x04\x22\x4d\x18": "an LZ4 archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"MATLAB": "a MATLAB file",
    b"SQLite": "an SQLite database",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF file",
}


def read_text(path: str, allowed: str) -> str:
    """Read a UTF-8 file, without its byte-order mark.

    Raises:
        ConfigError: if it cannot be read, or is in another encoding or compressed.
    """
    try:
        content = read_bytes(Path(path))
    except OSError as error:
        raise ConfigError(f"dataset.path={path} cannot be read ({error.strerror}); allowed: {allowed}") from error
    looks_like = f"it looks like {kind_of(content)}; allowed: {allowed} in UTF-8; hint: unpack it, or save it as UTF-8"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"dataset.path={path} is not UTF-8 at byte {error.start}, {looks_like}") from error
    if "\0" in text and kind_of(content) != "a binary file":
        raise ConfigError(f"dataset.path={path} is not text, {looks_like}")
    return text


def lines_of(path: Path, allowed: str) -> Iterator[str]:
    """The lines of a UTF-8 file without their ends, in bounded memory. Raises ConfigError as `read_text` does."""
    try:
        with open_regular(path) as file, TextIOWrapper(file, encoding="utf-8-sig") as text:
            for line in text:
                yield line.removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        read_text(str(path), allowed)
        raise


def wide_encoding(content: bytes) -> str | None:
    """UTF-16 or UTF-32, if the beginning of a file seems to be in one of them."""
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        start = content[:SAMPLE].decode(encoding, "replace")
        is_likely = start.startswith("\ufeff") or "\n" in start or start.isascii()  # in 8 bits, these have zeros
        if is_likely and "\0" not in start and start.count("\ufffd") <= 1:
            return encoding
    return None


def kind_of(content: bytes) -> str:
    """What the bytes of a file seem to be if they are not UTF-8, or contain zeros."""
    if wide := wide_encoding(content):
        return wide[:6].upper()
    known = (kind for magic, kind in MAGIC.items() if content.startswith(magic))
    return next(known, "a binary file" if b"\0" in content else "Latin-1, Windows-1252 or another old encoding")
