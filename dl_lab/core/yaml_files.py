"""Check YAML files of users before they are read: a mistake is one line with its place, and no file is too large."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from dl_lab.core.errors import ConfigError

LARGEST = 10_000_000  # bytes
DEEPEST = 50  # levels
MOST = 100_000  # values, when every alias is replaced by what it stands for
Events = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it is installed, is ten times as fast


def check(path: Path) -> None:
    """Check that a file holds one YAML mapping, or nothing.

    Raises:
        ConfigError: naming the file, the line and the column.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a regular file; allowed: a YAML file")
    try:
        content = path.read_bytes()
        if len(content) > LARGEST:
            raise ConfigError(f"{path} has {len(content)} bytes; allowed: a YAML file of up to {LARGEST}")
        text = content.decode("utf-8")
        _check_size(path, text)
        loaded = yaml.load(text, get_yaml_loader())
        OmegaConf.create(loaded)
    except ConfigError:
        raise
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = error.start - before.rfind(b"\n")
        utf16 = " (it looks like UTF-16)" if b"\0" in content else ""
        line = before.count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}, column {column}: not UTF-8{utf16}; allowed: YAML in UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}, {_place(error, text)}; hint: correct the YAML") from error
    except (ValueError, OmegaConfBaseException) as error:  # a number of thousands of digits, a set, a key that is null
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}; hint: correct the YAML") from error
    if loaded is not None and not isinstance(loaded, dict):
        kind = "a list" if isinstance(loaded, list) else "a single value"
        raise ConfigError(f"{path}, line 1: {kind}; allowed: keys with values")


def _check_size(path: Path, text: str) -> None:
    """Raise ConfigError for text that is nested too deeply, refers to itself, or whose aliases stand for too many
    values. Works on events, so that nothing is built.
    """
    sizes: dict[str, int] = {}  # of anchors, once they are complete
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # the anchor, and the number of values so far
    for event in yaml.parse(text, Events):
        anchor, added = getattr(event, "anchor", None), 0
        if isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:
                raise ConfigError(
                    f"{path}, {_line(event.start_mark)}: *{anchor} is not complete; allowed: one before it"
                )
            added = sizes[anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, 1))
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            anchor, added = (anchor, 1) if isinstance(event, yaml.ScalarEvent) else open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = added
        open_nodes[-1] = (open_nodes[-1][0], open_nodes[-1][1] + added)
        if len(open_nodes) > DEEPEST or open_nodes[-1][1] > MOST:
            limits = f"up to {DEEPEST} levels, and {MOST} values with its aliases replaced"
            raise ConfigError(f"{path}, {_line(event.start_mark)}: too much to read; allowed: {limits}")


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _place(error: yaml.YAMLError, text: str) -> str:
    """Where a mistake is, and what it is."""
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # of a character that YAML does not allow
        position = getattr(error, "position", 0)
        lines = text[:position].split("\n")
        reason = f"{getattr(error, 'reason', 'it cannot be read')} ({text[position : position + 1]!r})"
        return f"line {len(lines)}, column {len(lines[-1]) + 1}: {reason}"
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or "it cannot be read"
    return f"{_line(mark)}: {' '.join(str(problem).split())}"
