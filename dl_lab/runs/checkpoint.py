"""Save and load checkpoints: dictionaries of tensors and numbers, written atomically and protected by a checksum.

A checkpoint is the zip file that torch.save writes. Its SHA-256 is stored in the comment at the end of the zip file, so
that checksum and file stay together and torch.load still reads the file.
"""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, NotRequired

import torch
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from torch import Tensor
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from dl_lab.core import atomic_io
from dl_lab.core.atomic_io import atomic_write
from dl_lab.core.errors import ConfigError, refuse_interpolations

Checkpoint = dict[str, Any]  # tensors, numbers and text in plain containers

END_OF_ZIP = b"PK\x05\x06"  # starts the last record of a zip file: 22 bytes; the last two are the comment's length
USE_ANOTHER = "use another checkpoint"
SEAL = b"sha256:"
SEALED = len(SEAL) + 64

Count = Annotated[int, Field(ge=0)]


class Contents(TypedDict):
    """What a checkpoint holds. Every use needs the first three; a run continues with all."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True, strict=True)  # type: ignore[misc]

    model: dict[str, Any]
    step: Count
    config: dict[str, JsonValue]
    data: NotRequired[str | None]
    preprocessing: NotRequired[dict[str, JsonValue] | None]  # data.preprocessing knows what is in it
    class_weights: NotRequired[dict[str, list[float]]]
    buffers: NotRequired[dict[str, Tensor]]
    attributes: NotRequired[dict[str, str]]
    optimizer: NotRequired[dict[str, Any]]
    best: NotRequired[dict[str, float] | None]
    last: NotRequired[dict[str, float] | None]
    validations_since_best: NotRequired[Count]
    window: NotRequired[list[list[dict[str, Tensor | float]]]]
    since_validation: NotRequired[list[dict[str, list[float]]]]
    together: NotRequired[Count | None]


SCHEMA = TypeAdapter(Contents)


def save(path: Path, contents: dict[str, Any], previous: Path | None = None) -> None:
    """Write a checkpoint atomically; the file that it replaces is kept as `previous`, if given."""
    buffer = BytesIO()
    torch.save(contents, buffer)
    content = buffer.getbuffer()
    assert content[-22:-18] == END_OF_ZIP
    content[-2:] = SEALED.to_bytes(2, "little")
    with atomic_write(path, previous) as file:
        file.write(content)
        file.write(SEAL + hashlib.sha256(content).hexdigest().encode())


def save_last(folder: Path, contents: dict[str, Any]) -> None:
    """Write last.pt and keep the one before as previous.pt, in case that last.pt is damaged later."""
    save(folder / "last.pt", contents, folder / "previous.pt")


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed. Checkpoints of older versions have no checksum.

    Raises:
        ConfigError: if there is none, if it is damaged, or if dl_lab did not write it.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist; hint: give the folder of a run that has saved a checkpoint")
    try:
        content = atomic_io.read_bytes(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); hint: make it readable") from error
    if content[-SEALED:].startswith(SEAL):
        seal = SEAL + hashlib.sha256(memoryview(content)[:-SEALED]).hexdigest().encode()
        if content[-SEALED:] != seal:
            raise ConfigError(f"{path} is damaged (wrong checksum); hint: {USE_ANOTHER}")
    elif content[-22:-18] != END_OF_ZIP or content[-2:] != b"\0\0":
        what = "is cut off, or not a checkpoint of dl_lab" if content else "is empty"
        raise ConfigError(f"{path} {what}; hint: {USE_ANOTHER}")
    try:
        contents = torch.load(BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # of many kinds
        reason = f"{path} is not a checkpoint of dl_lab ({type(error).__name__})"
        raise ConfigError(f"{reason}; hint: {USE_ANOTHER}") from error
    try:
        SCHEMA.validate_python(contents)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "nested too deeply"}
        reason = f"{'.'.join(map(str, first['loc'][:1]))}: {first['msg']}"
        raise ConfigError(f"{path} is not a checkpoint of dl_lab ({reason}); hint: {USE_ANOTHER}") from error
    refuse_interpolations(contents["config"], f"{path}: config")
    return contents
