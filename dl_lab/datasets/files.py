"""Text files of the user."""

from pathlib import Path

from dl_lab.core.errors import ConfigError

MAGIC = {  # first bytes
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def read_text(path: str, allowed: str) -> str:
    """Read a UTF-8 file, without its byte-order mark.

    Raises:
        ConfigError: if it cannot be read, or is in another encoding or compressed.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"dataset.path={path} cannot be read ({error.strerror}); allowed: {allowed}") from error
    looks_like = f"it looks like {_kind(content)}; allowed: {allowed} in UTF-8; hint: unpack it, or save it as UTF-8"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"dataset.path={path} is not UTF-8 at byte {error.start}, {looks_like}") from error
    if "\0" in text and _kind(content) != "a binary file":
        raise ConfigError(f"dataset.path={path} is not text, {looks_like}")
    return text


def _kind(content: bytes) -> str:
    """What the bytes of a file seem to be if they are not UTF-8, or contain zeros."""
    half = len(content[:1000]) / 2
    if max(content[:1000:2].count(0), content[1:1000:2].count(0)) > 0.8 * half:  # letters with a byte of zeros each
        return "UTF-16"
    known = (kind for magic, kind in MAGIC.items() if content.startswith(magic))
    return next(known, "a binary file" if b"\0" in content else "Latin-1 or Windows-1252")
