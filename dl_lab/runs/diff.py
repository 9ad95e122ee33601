"""Two runs of the same configuration: did every metric come out the same, and if not, what else differs?"""

import json
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dl_lab.core.errors import ConfigError

ABOUT = ("git_commit", "git_clean", "device", "threads", "compiled")


def points(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl.

    Raises:
        ConfigError: if there are none, or they cannot be read.
    """
    if not (folder / "metrics.jsonl").exists():
        raise ConfigError(f"{folder} holds no metrics of a run; allowed: a run folder")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    try:
        return [dict(json.loads(line)) for line in lines]
    except ValueError as error:
        raise ConfigError(f"{folder / 'metrics.jsonl'} is damaged; allowed: the folder of a run") from error


def first_difference(first: list[dict[str, Any]], again: list[dict[str, Any]], ended: bool) -> str | None:
    """The first point or metric in which two runs differ, in words; None if there is none. Of a first run that has not
    `ended`, what it did not come to is no difference.
    """
    for one, other in zip_longest(first, again):
        if one is None and not ended:
            return None
        there = one or other
        where = f"step {there.get('step')}, {there.get('split')}"
        if one is None or other is None:
            return f"{where}: only the {'first' if other is None else 'second'} run has this point"
        for name in (*one, *(name for name in other if name not in one)):
            if name not in one or name not in other or one[name] != other[name]:
                return f"{where}, {name}: {other.get(name)}, was {one.get(name)}"
    return None


def largest_difference(first: list[dict[str, Any]], again: list[dict[str, Any]]) -> str:
    """How far apart two runs are: the largest difference of a metric that both have, in parts of its size."""
    largest, where = 0.0, "none that both have"
    for one, other in zip(first, again, strict=False):
        for name, was in one.items():
            now = other.get(name)
            if isinstance(was, int | float) and isinstance(now, int | float) and was != now:
                apart = abs(now - was) / max(abs(now), abs(was))
                if apart > largest:
                    largest, where = apart, f"step {one.get('step')}, {one.get('split')}, {name}"
    return f"the largest difference is {largest:.1g} of the metric ({where})"


def circumstances(folder: Path, again: Path) -> list[str]:
    """What may explain a difference: versions, commit, device, threads, a stack, a first run that was lengthened."""
    summary = summary_of(folder)
    first, second = about(summary), about(summary_of(again))
    found = [f"{name} is {second[name]}, was {first.get(name)}" for name in second if second[name] != first.get(name)]
    if first["git_clean"] is False:
        found.append("the first run's code had changes that no commit holds")
    if size := summary.get("together"):
        found.append(f"the first run was one of a stack of {size}, whose sums are in another order: last digits differ")
    if (folder / ".hydra" / "resumed.yaml").exists():
        found.append(f"the first run was resumed: {folder / '.hydra' / 'resumed.yaml'} says where")
    return found


def summary_of(folder: Path) -> Mapping[str, Any]:
    """What summary.json holds; nothing, if the run was killed."""
    path = folder / "summary.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def about(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a summary says of the code and the machine."""
    return {**{name: summary.get(name) for name in ABOUT}, **(summary.get("versions") or {})}
