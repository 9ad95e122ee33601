"""The `key=value` arguments of all commands."""

from collections.abc import Collection, Sequence
from typing import Any

from omegaconf import OmegaConf

from dl_lab.core.errors import ConfigError, unknown_key

READING = ("separator", "encoding", "header", "decimal", "thousands", "percent", "missing")
TABLE_KEYS = tuple(f"dataset.{name}" for name in (*READING, "image_folder"))  # how a new table is read


def take(arguments: Sequence[str], keys: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the arguments `key=value` with a key in `keys` from all others. The last value of a key counts.

    Raises:
        ConfigError: for `key=` without a value.
    """
    taken, rest = {}, []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in keys:
            rest.append(argument)
        elif not value:
            raise ConfigError(f"{argument} has no value; allowed: {key}=VALUE")
        else:
            taken[key] = value
    return taken, rest


def values(arguments: Sequence[str], keys: Collection[str], texts: Collection[str] = ()) -> dict[str, Any]:
    """Parse arguments that are all `key=value`; a value is YAML, such as 3, true or [a, b], except of keys in `texts`.
    A dot in a key nests.

    Raises:
        ConfigError: for any other argument, an unknown key, and a missing or unreadable value.
    """
    taken, rest = take(arguments, keys)
    if rest:
        raise not_taken(rest[0], keys)
    plain = {key: taken.pop(key) for key in texts if key in taken}
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"{key}={text}" for key, text in taken.items()]))
    except Exception as error:  # OmegaConf and YAML raise errors of many types
        raise ConfigError(f"{' '.join(arguments)} cannot be read; allowed: key=value, quoted for the shell") from error
    assert isinstance(parsed, dict)
    return {**{str(key): value for key, value in parsed.items()}, **plain}


def not_taken(argument: str, keys: Collection[str]) -> ConfigError:
    """The error for an argument that a command with these `keys` does not accept."""
    key, equals, _ = argument.partition("=")
    if equals and key.replace(".", "_").isidentifier():
        return unknown_key("", key, keys)
    hint = f"; hint: run={argument}" if "run" in keys and not equals else ""
    return ConfigError(f"{argument} is not key=value; allowed: {', '.join(f'{key}=VALUE' for key in keys)}{hint}")


def help_asked(arguments: Sequence[str]) -> bool:
    """True if --help or -h is among the arguments."""
    return not {"--help", "-h"}.isdisjoint(arguments)
