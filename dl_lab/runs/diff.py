"""Compare two runs of one configuration: the first difference of their metrics, and what may explain it."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from dl_lab.runs.reader import Run, read_resumptions

CIRCUMSTANCES = ("git_commit", "git_clean", "device", "threads", "compiled")
Points = Sequence[Mapping[str, Any]]  # lines of metrics.jsonl


def first_difference(first: Points, second: Points, ended: bool) -> str | None:
    """Describe the first point or metric in which two runs differ; None if there is none. Points that only the second
    run has are differences only if the first one has `ended`. Metrics that only the second one has are newer than the
    first run.
    """
    for one, other in zip_longest(first, second):
        if one is None and (not ended or (other or {}).get("split") == "best"):
            return None
        point = one or other
        where = f"step {point.get('step')}, {point.get('split')}"
        if one is None or other is None:
            return f"{where}: only the {'first' if other is None else 'second'} run has this point"
        for name in one:
            if name not in other or one[name] != other[name]:
                return f"{where}, {name}: {other.get(name)}, was {one.get(name)}"
    return None


def largest_difference(first: Points, second: Points) -> str:
    """Describe the largest relative difference of a metric that both runs have."""
    largest, where = 0.0, "in no metric that both runs have"
    for one, other in zip(first, second, strict=False):
        for name, before in one.items():
            now = other.get(name)
            if isinstance(before, int | float) and isinstance(now, int | float) and before != now:
                relative = abs(now - before) / max(abs(now), abs(before))
                if relative > largest:
                    largest, where = relative, f"step {one.get('step')}, {one.get('split')}, {name}"
    return f"the largest relative difference is {largest:.1g} ({where})"


def explanations(first: Run, second: Run) -> list[str]:
    """List what may explain a difference: versions, commit, the user's code, device, threads, a stack, resumptions."""
    before, now = _circumstances(first.summary), _circumstances(second.summary)
    found = [f"{name} is {now[name]}, was {before.get(name)}" for name in now if now[name] != before.get(name)]
    earlier, later = (run.summary.get("imports") or {} for run in (first, second))
    found += [
        f"the code of imports={name} has changed" for name in later if later[name] != earlier.get(name, later[name])
    ]
    if before["git_clean"] is False:
        found.append("the code of the first run had uncommitted changes")
    if size := first.summary.get("together"):
        found.append(f"the first run was in a stack of {size}, whose sums are in another order: last digits differ")
    if read_resumptions(first.folder):
        found.append(f"the first run was resumed, see {first.folder / '.hydra' / 'resumed.yaml'}")
    return found


def _circumstances(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: summary.get(name) for name in CIRCUMSTANCES}, **(summary.get("versions") or {})}
