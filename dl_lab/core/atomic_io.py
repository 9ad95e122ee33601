"""Atomic writes, and fingerprints that show whether files have changed."""

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

READ_WHOLE = 2**28  # bytes; hashing them takes about a second
END = 2**12  # bytes
PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.dl_lab\.partial")  # names of our temporary files
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag


def no_links(path: str, flags: int) -> int:
    """Open a file as `open` does, but fail if its name is a link: files in a given folder may lead elsewhere."""
    return os.open(path, flags | NO_LINKS, 0o666)


def is_plain(path: Path) -> bool:
    """Whether this is a file itself: no link to one, and nothing that a read may wait for."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def remove_partial(folder: Path) -> None:
    """Remove the temporary files that a process left in this folder when it was killed."""
    for path in folder.glob(".*.dl_lab.partial"):
        if PARTIAL.fullmatch(path.name) and is_plain(path):
            path.unlink()


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
    The replaced file is kept as `previous`, if given. A link is replaced, not followed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.dl_lab.partial")
    try:
        with name_in_errors(path):
            with open(temporary, "xb", opener=no_links) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                path.replace(previous)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes:
    """The contents of a regular file. A pipe could block for ever, and a device such as /dev/zero has no end.

    Raises:
        OSError: if it cannot be read, or is a folder, pipe, socket or device.
    """
    with open_regular(path) as file:
        return file.read()


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading. Raises OSError as `read_bytes` does."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode  # of what was opened, which a name may no longer lead to
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def files_of(path: Path) -> dict[str, Path]:
    """A file, or all files below a folder, by their names relative to `path`."""
    if not path.is_dir():
        return {"": path}
    return {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}


def fingerprint(files: Mapping[str, Path]) -> str:
    """The sha256 of a file with the name "", or of the names, sizes and contents of several. Where these have more than
    `READ_WHOLE` bytes, only the first and last `END` bytes of each count.
    """
    if files.keys() == {""}:
        with open_regular(files[""]) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    sizes = {name: path.stat().st_size for name, path in sorted(files.items())}
    reads_all = sum(sizes.values()) <= READ_WHOLE
    digest = hashlib.sha256()
    for name, size in sizes.items():
        digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        with open_regular(files[name]) as file:
            if reads_all or size <= 2 * END:
                digest.update(file.read())
            else:
                digest.update(file.read(END))
                file.seek(-END, os.SEEK_END)
                digest.update(file.read())
    return digest.hexdigest()
