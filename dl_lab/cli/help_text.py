"""What --help prints of the configuration: groups with their choices, and each key with its value and its comment in
the YAML file.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dl_lab.config.comments import keys, title
from dl_lab.core.errors import printable

PIPE = (120, 24)  # columns and lines where there is no terminal
COLUMN, LEAST = 34, 30  # where comments begin, and the least space for them beside a key
LONGEST = 100  # characters of a key with its value


def choices(sources: Iterable[Mapping[str, str]]) -> str:
    """One line per group with its choices, read from the folders among Hydra's config sources. Hydra's own list copies
    the composed configuration for each group, which takes longer than the rest of --help.
    """
    found: dict[str, set[str]] = {}
    for folder in _folders(sources):
        for path in folder.glob("*/*.yaml"):
            found.setdefault(printable(path.parent.name), set()).add(printable(path.stem))
    return _lines(_beside(f"{group}:", ", ".join(sorted(names)), 14) for group, names in sorted(found.items()))


def explained_keys(*, _root_: DictConfig) -> str:
    """The keys of the composed configuration `_root_`, each as key=value with its comment, by group."""
    hydra, config = _root_.hydra, OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    folders = _folders(hydra.runtime.config_sources)
    return _lines(_sections(config, dict(hydra.runtime.choices), folders))


def _sections(config: DictConfig, chosen: Mapping[str, str], folders: list[Path]) -> Iterator[list[str]]:
    """The lines of each group and its keys, and then of the keys outside the groups."""
    groups = [group for group in chosen if "/" not in group and chosen[group] is not None]
    for group in sorted(groups, key=lambda group: list(config).index(group) if group in config else -1):
        path = next((path for each in folders if (path := each / group / f"{chosen[group]}.yaml").is_file()), None)
        meaning = title(path) if path else ""
        yield [""]
        yield _beside(f"{group}={chosen[group]}", f"{meaning} {length(config.train) if group == 'train' else ''}")
        comments = keys(path) if path else {}
        for key, value in _values(config.get(group)):
            if (key, value) != ("name", chosen[group]):
                yield _key(f"{group}.{key}", value, comments.get(key, ("", ""))[1])
    yield ["", "Keys outside the groups"]
    comments = keys(folders[0] / "config.yaml") if folders else {}
    for key, value in _values(config):
        if key not in groups:
            yield _key(str(key), value, comments.get(key, ("", ""))[1])


def length(train: Any) -> str:
    """How long a run of this configuration is, in words."""
    from dl_lab.config.schema import TrainConfig  # used only here

    if train.get("steps") is not None:
        return f"Length: {train.steps} steps."
    if train.get("epochs") is not None:
        return f"Length: {train.epochs} epochs."
    return f"Length by default: {TrainConfig.EPOCHS} epochs, or as many as make {TrainConfig.MIN_STEPS:,} steps."


def _folders(sources: Iterable[Mapping[str, str]]) -> list[Path]:
    return [Path(source["path"]) for source in sources if source["schema"] == "file"]


def _values(node: Any) -> Iterator[tuple[str, Any]]:
    """The keys of a node and their values, of which the missing ones are ???."""
    for key in node if isinstance(node, DictConfig) else ():
        if OmegaConf.is_missing(node, key):
            yield str(key), "???"
            continue
        try:
            value = node[key]
        except OmegaConfBaseException:  # an interpolation of something that is not there
            value = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]
        yield str(key), OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _key(key: str, value: Any, comment: str) -> list[str]:
    required = "required; " if value == "???" else ""
    return _beside(f"  {key}={_text(value)}", required + comment)


def _text(value: Any) -> str:
    """A value as on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_text(each)}' for key, each in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _beside(left: str, right: str, column: int = COLUMN) -> list[str]:
    """Lines with `right` beside `left`, from a column on; below it where there is little space."""
    width = get_terminal_size(PIPE).columns - 1
    column = column if width - column >= LEAST else 6
    left, right = printable(left), printable(" ".join(right.split()))
    left = left if len(left) <= LONGEST else f"{left[:LONGEST]}..."
    lines = wrap(right, max(width - column, 20), break_on_hyphens=False)
    first = lines.pop(0) if lines and len(left) + 2 <= column else ""
    return [f"{left:{column}}{first}".rstrip(), *(" " * column + line for line in lines)]


def _lines(sections: Iterable[list[str]]) -> str:
    """All lines as text for Hydra's template of the help, in which $ is escaped."""
    return "\n".join(line for section in sections for line in section).replace("$", "$$")
