"""Atomic writes, and fingerprints that show whether a file or folder has changed."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

READ_WHOLE = 2**28  # bytes of a folder; hashing them takes about a second
END = 2**12  # bytes


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Add the file name `path` to an OSError without one, such as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_write(path: Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file, which replaces `path` after the context. An error in the context leaves `path` unchanged.
    The replaced file is kept as `previous`, if given.
    """
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with name_in_errors(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                path.replace(previous)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fingerprint(path: Path) -> str:
    """The sha256 of a file, or of the names, sizes and contents of all files in a folder. In a folder of more than
    `READ_WHOLE` bytes, only the first and last `END` bytes of each file count.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    sizes = [file.stat().st_size for file in files]
    reads_all = sum(sizes) <= READ_WHOLE
    digest = hashlib.sha256()
    for each, size in zip(files, sizes, strict=True):
        digest.update(f"{each.relative_to(path)}\0{size}\0".encode(errors="surrogateescape"))
        with each.open("rb") as file:
            if reads_all or size <= 2 * END:
                digest.update(file.read())
            else:
                digest.update(file.read(END))
                file.seek(-END, os.SEEK_END)
                digest.update(file.read())
    return digest.hexdigest()
