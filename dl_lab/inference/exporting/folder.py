"""The folder of an exported model, in which only the files of an earlier export are replaced."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from dl_lab.core.atomic_io import atomic_write, is_plain, open_regular, read_bytes
from dl_lab.core.errors import ConfigError
from dl_lab.runs.folders import refuse_links

RECORD = "files.sha256"  # in the format of sha256sum
NAMES = (
    *("README.md", "config.json", "predict.py", "model.py", "tokenizer.json"),
    *("model.onnx", "model.onnx.data", "model.pt2", "model.safetensors", "constants.safetensors"),
)
LINE = re.compile(rf"([0-9a-f]{{64}})  ({'|'.join(map(re.escape, NAMES))})")
PARTIAL = re.compile(r"\.export\..+\.dl_lab\.partial")  # names of our temporary folders

Record = dict[str, set[str]]  # the digests of each file that exports wrote, by its name


@contextmanager
def publishing(out: Path) -> Iterator[Path]:
    """A temporary folder, whose files replace those of an earlier export in `out` after the context. An error in the
    context leaves `out` unchanged.

    Raises:
        ConfigError: if `out` is a link, or has files that no export has written.
    """
    refuse_others(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial = TemporaryDirectory(prefix=".export.", suffix=".dl_lab.partial", dir=out)
    except OSError as error:
        raise ConfigError(f"out={out} cannot be written ({error.strerror}); allowed: a folder") from error
    try:
        with partial as temporary:
            yield Path(temporary)
            refuse_others(out)
            before = recorded(out)
            new = {path.name: {_digest(path)} for path in sorted(Path(temporary).iterdir())}
            _record({name: before.get(name, set()) | new.get(name, set()) for name in before | new}, out)
            for name in new:
                (Path(temporary) / name).replace(out / name)
            for name in before.keys() - new.keys():
                (out / name).unlink(missing_ok=True)
            _record(new, out)
    finally:
        with suppress(OSError):  # it is not empty
            out.rmdir()


def refuse_others(out: Path) -> None:
    """Raise ConfigError if `out` has files that are not as an export has written them."""
    refuse_links(out)
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise ConfigError(f"out={out} is a file; allowed: a folder")
    record = recorded(out)
    for path in sorted(out.iterdir()):
        is_ours = is_plain(path) and (path.name == RECORD or _digest(path) in record.get(path.name, ()))
        if not is_ours and not PARTIAL.fullmatch(path.name):
            raise ConfigError(
                f"{path} is not as an export has written it, and is not replaced; allowed: a new folder, or one of an "
                "earlier export; hint: out=FOLDER"
            )


def recorded(out: Path) -> Record:
    """The record in `out`; empty if there is none. Names that an export does not write do not count."""
    found: Record = {}
    if is_plain(out / RECORD):
        for line in read_bytes(out / RECORD).decode(errors="replace").split("\n"):
            if match := LINE.fullmatch(line):
                found.setdefault(match[2], set()).add(match[1])
    return found


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(record: Record, out: Path) -> None:
    with atomic_write(out / RECORD) as file:
        for name, digests in sorted(record.items()):
            file.writelines(f"{digest}  {name}\n".encode() for digest in sorted(digests))
