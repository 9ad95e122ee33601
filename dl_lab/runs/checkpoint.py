"""Save and load plain dictionaries of tensors and numbers, whole or not at all, under a checksum.

A checkpoint is the zip file that torch.save writes; the sha256 of all of it stands in the comment that a zip file may
end with, so that it cannot part from the file and torch.load reads the file as any other.
"""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from dl_lab.core.atomic_io import atomic_write
from dl_lab.core.errors import ConfigError, refuse_interpolations

Checkpoint = dict[str, Any]  # tensors, numbers and text in plain containers

END_OF_ZIP = b"PK\x05\x06"  # the last record of a zip file: 22 bytes, of which the last two count those of the comment
SEAL = b"sha256:"
SEALED = len(SEAL) + 64


def save(path: Path, contents: dict[str, Any], previous: Path | None = None) -> None:
    """Write `contents` beside `path`, flush it to the disk, and give it its name; what had it becomes `previous`."""
    buffer = BytesIO()
    torch.save(contents, buffer)
    content = buffer.getbuffer()
    assert content[-22:-18] == END_OF_ZIP
    content[-2:] = SEALED.to_bytes(2, "little")
    with atomic_write(path, previous) as file:
        file.write(content)
        file.write(SEAL + hashlib.sha256(content).hexdigest().encode())


def save_last(folder: Path, contents: dict[str, Any]) -> None:
    """Write last.pt; the one before it stays as previous.pt, for the day that last.pt cannot be read."""
    save(folder / "last.pt", contents, folder / "previous.pt")


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed. One from before there was a checksum is read without.

    Raises:
        ConfigError: if there is none, if it is not as it was written, or not one of ours.
    """
    if not path.exists():
        raise ConfigError(f"{path} is not there; allowed: the folder of a run that has saved a checkpoint")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); allowed: a readable checkpoint") from error
    if content[-SEALED:].startswith(SEAL):
        seal = SEAL + hashlib.sha256(memoryview(content)[:-SEALED]).hexdigest().encode()
        if content[-SEALED:] != seal:
            raise ConfigError(f"{path} is damaged (its checksum does not fit it); allowed: an undamaged checkpoint")
    elif content[-22:-18] != END_OF_ZIP or content[-2:] != b"\0\0":
        what = "is cut off, or no checkpoint of ours" if content else "is empty"
        raise ConfigError(f"{path} {what}; allowed: an undamaged checkpoint")
    try:
        contents = torch.load(BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        raise ConfigError(
            f"{path} is no checkpoint of ours ({type(error).__name__}); allowed: an undamaged one"
        ) from error
    if not isinstance(contents, dict) or not {"model", "step", "config"} <= contents.keys():
        raise ConfigError(f"{path} is no checkpoint of ours; allowed: what dl_lab.train has saved")
    refuse_interpolations(contents["config"], f"{path}: config")
    return contents
