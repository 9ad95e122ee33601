"""Put the files of a comparison into their folder, where only the files of an earlier comparison are replaced."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from dl_lab.core.atomic_io import PARTIAL, atomic_write, is_plain, read_bytes, remove_partial
from dl_lab.core.errors import ConfigError
from dl_lab.runs.folders import locked, refuse_links

RECORD = "compare/files.sha256"  # in the format of sha256sum
NAMES = r"compare\.(?:md|csv)|compare/[^/\\]+\.png|compare/(?:curves/[^/\\]+/)?events\.out\.tfevents\.[^/\\]+"
LINE = re.compile(rf"([0-9a-f]{{64}})  ({NAMES})")
LONGEST_WAIT = 60.0  # seconds; another comparison holds the lock while it writes some small files

Record = set[tuple[str, str]]  # the sha256 and the name of each file that comparisons wrote


def publish(files: Mapping[str, bytes], out: Path) -> None:
    """Write `files`, by their names relative to `out`, and remove the other files of an earlier comparison.

    Raises:
        ConfigError: if a file would replace one that no comparison has written, or a folder is a link.
    """
    _refuse_others(files, out)  # before anything is made
    folder = out / "compare"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "comparison", LONGEST_WAIT):
        _refuse_others(files, out)
        remove_partial(folder)
        earlier, new = recorded(out), {(hashlib.sha256(content).hexdigest(), name) for name, content in files.items()}
        _record(earlier | new, out)  # first, so that a comparison that is killed leaves no file without a record
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            _write(out / name, content)
        for name in {name for _, name in earlier} - files.keys():
            if _is_ours(name, out, earlier):
                (out / name).unlink()
                with suppress(OSError):  # other files are in it
                    (out / name).parent.rmdir()
        _record(new, out)


def recorded(out: Path) -> Record:
    """The record in `out`; empty if there is none. It may come from somebody else, so other names do not count."""
    if not is_plain(out / RECORD):
        return set()
    lines = read_bytes(out / RECORD).decode(errors="replace").split("\n")
    return {(found[1], found[2]) for line in lines if (found := LINE.fullmatch(line))}


def _refuse_others(names: Iterable[str], out: Path) -> None:
    """Raise ConfigError if files of somebody else are in the way."""
    folder = out / "compare"
    refuse_links(folder, folder / "curves", *folder.glob("curves/*"))
    record = recorded(out)
    others = [out / name for name in names if not _is_ours(name, out, record)]
    if not record and folder.is_dir():
        others += [path for path in folder.iterdir() if path.name != ".lock" and not PARTIAL.fullmatch(path.name)]
    if others:
        what = f"{others[0]} is not as a comparison has written it, and is not replaced"
        old = "if an older version wrote it, remove compare.md, compare.csv and compare/"
        raise ConfigError(f"{what}; hint: choose another folder with out=FOLDER, or {old}")


def _is_ours(name: str, out: Path, record: Record) -> bool:
    """Whether a file is as a comparison has written it, or does not exist."""
    path = out / name
    if not is_plain(path):
        return not os.path.lexists(path)
    return (hashlib.sha256(read_bytes(path)).hexdigest(), name) in record


def _record(record: Record, out: Path) -> None:
    _write(out / RECORD, "".join(f"{digest}  {name}\n" for digest, name in sorted(record)).encode())


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)
