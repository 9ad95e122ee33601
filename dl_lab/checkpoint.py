"""Save and load plain dictionaries of tensors and numbers, whole or not at all."""

from pathlib import Path
from typing import Any

import torch

from dl_lab.errors import ConfigError
from dl_lab.files import whole


def save(path: Path, contents: dict[str, Any]) -> None:
    """Write `contents` beside `path`, flush it to the disk, and give it its name."""
    with whole(path) as file:
        torch.save(contents, file)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        ConfigError: if there is none, or it is not one of ours.
    """
    if not path.exists():
        raise ConfigError(f"{path} is not there; allowed: the folder of a run that has saved a checkpoint")
    try:
        contents = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        raise ConfigError(
            f"{path} is no checkpoint of ours ({type(error).__name__}); allowed: an undamaged one"
        ) from error
    if not isinstance(contents, dict) or not {"model", "step", "config"} <= contents.keys():
        raise ConfigError(f"{path} is no checkpoint of ours; allowed: what dl_lab.train has saved")
    return contents
