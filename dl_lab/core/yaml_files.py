"""Check YAML files of users before they are read: a mistake is one line with its place, and no file is too large."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.errors import ConfigError

LARGEST = 10_000_000  # bytes
DEEPEST = 50  # levels
MOST = 100_000  # values, when every alias is replaced by what it stands for
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it is installed, is ten times as fast


def plain_inner(value: Any) -> Iterable[Any]:
    """The values inside a plain value."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def check(path: Path) -> None:
    """Check that a file holds one YAML mapping, or nothing.

    Raises:
        ConfigError: naming the file, the line and the column.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a regular file; allowed: a YAML file")
    try:
        content = read_bytes(path)
        if len(content) > LARGEST:
            raise ConfigError(f"{path} has {len(content)} bytes; allowed: a YAML file of up to {LARGEST}")
        text = content.decode("utf-8")
        mark = too_deep(text)
        if mark is None and (node := beyond_limits(yaml.compose(text, Loader), _inside_node)) is not None:
            mark = node.start_mark
        if mark is not None:
            limits = f"up to {DEEPEST} levels, and {MOST} values with aliases replaced, none of which refers to itself"
            raise ConfigError(f"{path}, {_line(mark)}: too much to read; allowed: {limits}")
        loaded = yaml.load(text, get_yaml_loader())
        OmegaConf.create(loaded)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); hint: make it readable") from error
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


def too_deep(text: str) -> Any | None:
    """The mark of where YAML is nested too deeply, or None. Since Python 3.12, libyaml's binding crashes the process
    instead of raising RecursionError when it builds such a file; the events read here need no recursion.
    """
    depth = 0
    for event in yaml.parse(text, Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return event.start_mark
    return None


def load(text: str) -> Any:
    """The content of YAML that dl_lab wrote; None if it is nested too deeply. Raises yaml.YAMLError."""
    return None if too_deep(text) is not None else yaml.load(text, Loader)


def beyond_limits(content: Any, inner: Callable[[Any], Iterable[Any]] = plain_inner) -> Any | None:
    """The first value that is nested too deeply or is one too many, with every alias replaced by what it stands for;
    None if there is none. `inner` returns the values inside a value.
    """
    rest, count = [(content, 1)], 0
    while rest:
        value, depth = rest.pop()
        count += 1
        if depth > DEEPEST or count > MOST:
            return value
        rest.extend((each, depth + 1) for each in inner(value))
    return None


def _inside_node(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return (each for pair in node.value for each in pair)
    return node.value if isinstance(node, yaml.SequenceNode) else ()


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
