"""What makes two runs runs of one configuration."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


NO_HYPERPARAMETERS = ("data_dir", "imports", "claim")


def hyperparameters(values: Mapping[str, Any], prefix: str = "") -> dict[str, float | str | bool]:
    """A nested configuration as dotted keys, a group's choice under the group's name; lists and null become text."""
    flat: dict[str, float | str | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= hyperparameters(value, f"{prefix}{key}.")
        elif key not in NO_HYPERPARAMETERS:
            name = prefix.removesuffix(".") if prefix and key == "name" else prefix + key
            flat[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def configuration(values: Mapping[str, float | str | bool]) -> dict[str, float | str | bool]:
    """Hyper-parameters without the seed: what runs have in common that differ by chance alone."""
    return {key: value for key, value in values.items() if key != "seed"}


def configuration_name(values: Mapping[str, float | str | bool]) -> str:
    """Eight hexadecimal digits that name a configuration, however its keys are ordered and its numbers written."""
    plain = [[key, value if isinstance(value, bool | str) else float(value)] for key, value in sorted(values.items())]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:8]
