"""From the bytes of a file to text in UTF-8: unpack it, and find its encoding."""

import bz2
import codecs
import gzip
import lzma
import zipfile
import zlib
from io import BytesIO
from typing import IO, cast

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.files import kind_of, wide_encoding

MARKS = {  # byte-order marks; those of UTF-32 begin like those of UTF-16
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
TABLES = "a csv, tsv or parquet file, which gz, bz2, xz, zst or zip may compress"
ZSTD = b"\x28\xb5\x2f\xfd"
UNPACKED, RATIO = 2**28, 200  # tables with text of up to so many bytes, or times the size of the file, are unpacked
ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)


def unpack(path: str, content: bytes) -> bytes:
    """The contents of the one file in `content`, which may be compressed.

    Raises:
        ConfigError: if it is damaged or encrypted, or an archive of several files.
    """
    try:
        file = unpacking(path, BytesIO(content))
        if file is not None:
            return _read(path, file, content)
    except ERRORS as error:
        raise ConfigError(f"dataset.path={path} cannot be unpacked ({error}); allowed: {TABLES}") from error
    return _unzstd(path, content) if content.startswith(ZSTD) else content


def unpacking(path: str, file: IO[bytes]) -> IO[bytes] | None:
    """A reader of what a file at its beginning has compressed; None if it is not compressed, or by Zstandard.

    Raises:
        ConfigError: if it is an archive of several files.
    """
    start = file.read(10)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if start.startswith(b"BZh") and start[4:10] == b"1AY&SY":
        return bz2.BZ2File(file)
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file)
    return _unzip(path, file) if start.startswith(b"PK\x03\x04") else None


def refuse_bomb(path: str, unpacked: int, content: bytes) -> None:
    """Raises: ConfigError if a small file unpacks to so many bytes that it may only be meant to fill the memory."""
    most = max(UNPACKED, RATIO * len(content))
    if unpacked > most:
        raise ConfigError(
            f"dataset.path={path} unpacks from {len(content):,} bytes to more than {most:,}; allowed: {RATIO} times "
            f"its size, or {UNPACKED:,} bytes; hint: unpack it, if it is meant to be so large"
        )


def _read(path: str, file: IO[bytes], content: bytes) -> bytes:
    unpacked = file.read(max(UNPACKED, RATIO * len(content)) + 1)
    refuse_bomb(path, len(unpacked), content)
    return unpacked


def _unzip(path: str, file: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names or "mimetype" in names:
        raise ConfigError(
            f"dataset.path={path} is a workbook of Excel or OpenDocument; allowed: {TABLES}; hint: save the sheet "
            "as CSV UTF-8"
        )
    if len(names) != 1:
        found = f"{len(names)} files ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        raise ConfigError(f"dataset.path={path} holds {found}; allowed: an archive of one file; hint: unpack it")
    return archive.open(names[0])


def _unzstd(path: str, content: bytes) -> bytes:
    """Python before 3.14 cannot read Zstandard, but polars can, line by line."""
    import polars as pl

    refuse_bomb(path, _largest_zstd(content), content)
    try:
        options = {"has_header": False, "infer_schema": False, "quote_char": None, "separator": "\x1f"}
        lines = pl.read_csv(content, **options).to_series().fill_null("")  # type: ignore[arg-type]
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"dataset.path={path} cannot be unpacked ({reason}); allowed: {TABLES}; hint: unpack it with unzstd"
        ) from error
    return ("\n".join(lines) + "\n").encode()


def _largest_zstd(content: bytes) -> int:
    """How many bytes Zstandard frames can unpack to at most, from the headers of their blocks (RFC 8878)."""
    place = most = 0
    while place + 5 < len(content):
        if content[place + 1 : place + 4] == b"\x2a\x4d\x18":  # a frame to be skipped
            place += 8 + int.from_bytes(content[place + 4 : place + 8], "little")
            continue
        flags, is_last = content[place + 4], False
        single = flags >> 5 & 1
        place += 6 - single + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
        while not is_last and place < len(content):
            header = int.from_bytes(content[place : place + 3], "little")
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            place += 3 + (1 if kind == 1 else size)  # one byte that is repeated, or the block
            most += size if kind < 2 else 2**17
        place += 4 * (flags >> 2 & 1)
    return most


def as_utf8(path: str, content: bytes, encoding: str) -> tuple[bytes, str]:
    """A text in UTF-8 without its byte-order mark, and the encoding that it had. Windows-1252 is a guess, which is
    printed.

    Raises:
        ConfigError: if it is not text, or not in this encoding.
    """
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    is_ascii = content.isascii()
    name = encoding if encoding != "auto" else MARKS.get(mark) or _guess(path, content, is_ascii)
    if codecs.lookup(name).name == "utf-8":
        content = content.removeprefix(codecs.BOM_UTF8)
        if is_ascii or content.isascii():
            return content, name
    try:
        text = content.decode(name)
    except (UnicodeDecodeError, UnicodeError) as error:
        place = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise ConfigError(
            f"dataset.path={path} is not in {name}{place}, it looks like {kind_of(content)}; allowed: {TABLES}; hint: "
            "set dataset.encoding, such as utf-8, windows-1252, or auto"
        ) from error
    return (content if codecs.lookup(name).name == "utf-8" else text.removeprefix("\ufeff").encode()), name


def _guess(path: str, content: bytes, is_ascii: bool) -> str:
    if is_ascii and b"\0" not in content:
        return "utf-8"
    wide = wide_encoding(content)
    try:
        content.decode()
        return wide if wide and b"\0" in content else "utf-8"
    except UnicodeDecodeError as error:
        kind = kind_of(content)
        if wide is None and not kind.startswith("Latin"):
            raise ConfigError(f"dataset.path={path} looks like {kind}; allowed: {TABLES}") from error
        name = wide or ("latin-1" if any(byte in content for byte in b"\x81\x8d\x8f\x90\x9d") else "windows-1252")
        announce(
            f"dataset.path={path} is not UTF-8 at byte {error.start}; it is read as {name}; "
            "dataset.encoding can name another one"
        )
        return name
