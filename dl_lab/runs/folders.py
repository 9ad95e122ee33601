"""Reserve names for new run folders, remove those that stay empty, and lock a folder while it is written."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from dl_lab.core.errors import ConfigError
from dl_lab.core.paths import user_path

CONTENTS = ("metrics.jsonl", "summary.json", "checkpoints", ".hydra/config.yaml")  # of a run
STATE = (".hydra/config.yaml", "summary.json", "checkpoints/last.pt")  # what a run continues from

Snapshot = dict[str, tuple[int, int, int]]

_reserved: list[Path] = []  # folders that this process made, with the parents that it made for them


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, unless they exist. `remove_empty_folders` removes those that stay empty."""
    _reserved.extend(each for each in (folder, *folder.parents) if not each.exists())
    folder.mkdir(parents=True, exist_ok=True)


def reserve_run_folder(root: str) -> str:
    """Make a folder `root`/<date>/<time>, with a number appended if the name is taken."""
    now = datetime.now()
    day = Path(root) / now.strftime("%Y-%m-%d")
    make_folder(day)
    number = 0
    while True:
        folder = day / (now.strftime("%H-%M-%S") + (f"-{number}" if number else ""))
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            _reserved.append(folder)
            return str(folder)


def remove_empty_folders() -> None:
    """Remove the folders that this process reserved and that are still empty, as those of refused runs."""
    for folder in sorted(_reserved, key=lambda folder: len(folder.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    _reserved.clear()


def contents(folder: Path) -> list[str]:
    """The names of what a run has written in this folder."""
    return [name for name in CONTENTS if os.path.lexists(folder / name)]


def refuse_links(*folders: Path) -> None:
    """Raise ConfigError if one of these folders is a link, which may lead anywhere."""
    for folder in folders:
        if folder.is_symlink():
            raise ConfigError(f"{folder} is a link; allowed: a folder; hint: remove the link")


def snapshot(folder: Path) -> Snapshot:
    """The identity, time and size of the files from which a run continues, to see whether they have changed. Every
    write replaces them.
    """
    found = {}
    for name in STATE:
        with suppress(OSError):
            stat = (folder / name).stat()
            found[name] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
    return found


def inside(folder: Path, name: str, key: str) -> Path:
    """The folder of a job below that of its sweep.

    Raises:
        ConfigError: if `name`, the value of `key`, leads elsewhere, also through a link.
    """
    path = user_path(name, key)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ConfigError(f"{key}={name} is not allowed; allowed: a folder inside {folder}")
    for part in (path, *path.parents[:-1]):
        if (folder / part).is_symlink():
            raise ConfigError(f"{folder / part} is a link; allowed: a folder inside {folder}; hint: remove the link")
    return folder / path


def is_locked(folder: Path) -> bool:
    """Whether another process writes a run in this folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with locked(folder, "run"):
            return False
    except ConfigError:
        return True


def is_lock(path: Path) -> bool:
    """Whether this is an empty file without other names, as a lock is, or does not exist. A lock is removed."""
    try:
        found = path.lstat()
    except OSError:
        return True
    return stat.S_ISREG(found.st_mode) and found.st_size == 0 and found.st_nlink <= 1


@contextmanager
def locked(folder: Path, content: str, wait: float = 0) -> Iterator[None]:
    """Hold the lock of a folder for a "run" or "sweep", after at most `wait` seconds; the system releases it if
    this process is killed.

    Raises:
        ConfigError: if another process holds it.
    """
    path = folder / ".lock"
    if not is_lock(path):
        raise ConfigError(f"{path} is not a lock of dl_lab, which is an empty file; hint: choose another folder")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise ConfigError(f"{folder} is being written by another {content}; hint: choose another folder") from None
    try:
        yield
    finally:
        with suppress(OSError):  # in a folder that has become read-only the file remains
            path.unlink(missing_ok=True)
        lock.release()
