"""Files that are there whole or not at all, and whether they are what they were."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

READ_WHOLE = 2**28  # bytes of a folder, which take a second
END = 2**12  # bytes


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of the block that names no file, as that of a write to a full disk, names this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def whole(path: Path, previous: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write beside `path`; after the block it is flushed to the disk and given its name, or removed. What had
    the name before is kept as `previous`, if that is given.
    """
    beside = path.with_name(f"{path.name}.partial")
    try:
        with naming(path):
            with beside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                path.replace(previous)
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def fingerprint(path: Path) -> str:
    """The sha256 of a file, or of the names, sizes and contents of all files in a folder; of a folder that is larger
    than `READ_WHOLE`, of each file's ends alone.
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
