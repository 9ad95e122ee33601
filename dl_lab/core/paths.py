"""Paths that users write."""

from pathlib import Path

from dl_lab.core.errors import ConfigError


def user_path(path: str, key: str) -> Path:
    """The path given as `key`, with ~ and ~user replaced by their home folders.

    Raises:
        ConfigError: for an unknown user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key}={path} has no such home folder; allowed: a folder or file") from error
