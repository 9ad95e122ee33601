"""Divide runs into tables, as runs that are measured differently are not ranked against each other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from dl_lab.analysis.comparison import Comparison, compare, differing
from dl_lab.core.errors import ConfigError, unknown
from dl_lab.core.formatting import format_setting
from dl_lab.data.spec import main_metric
from dl_lab.runs.identity import Scalars, measurement
from dl_lab.runs.reader import NUMBERS, PARTS, Run

Key = frozenset[tuple[str, float | str | bool]]


def compare_tables(runs: Sequence[Run], given: str | None) -> tuple[list[Comparison], list[str], dict[Path, str]]:
    """Compare runs that are measured alike, by the `given` metric or the default one. Returns a comparison per table, a
    line for each table without scores, and the completed runs that do not count with the reasons.

    Raises:
        ConfigError: if no run has a score.
    """
    metric = full_name(given) if given else None
    comparisons, lines = [], []
    left_out: dict[Path, str] = {}
    for name, group in divide(runs, metric):
        by = metric or default_metric(group)
        if any(run.status == "completed" and isfinite(run.metric(by)) for run in group):
            comparison, not_counted = compare(group, by, name)
            comparisons.append(comparison)
            left_out |= not_counted
        else:
            lines.append(f"{name}: no completed run has {by} ({_ended(group)})")
    if not comparisons:
        raise _no_scores(runs, given)
    return comparisons, lines, left_out


def full_name(metric: str) -> str:
    """A metric with the validation that it is of: best/accuracy of "accuracy" and of "val/accuracy"."""
    part, _, rest = metric.partition("/")
    if metric in NUMBERS or (rest and part in (*PARTS, "train")):
        return metric
    return f"best/{rest if part == 'val' and rest else metric}"


def default_metric(runs: Sequence[Run]) -> str:
    """The main metric of runs that are measured alike, or that of train.best, if it is not the loss."""
    best = runs[0].values.get("train.best", "loss")
    measured = {name.removeprefix("best/") for run in runs if run.status == "completed" for name in run.metric_names()}
    return f"best/{main_metric(measured) if best == 'loss' else best}"


def _ended(runs: Sequence[Run]) -> str:
    """How runs have ended, with the first reason that is known."""
    ended = ", ".join(f"{number} {state}" for state, number in Counter(run.status for run in runs).items())
    return ended + next((f"; the first reason: {run.reason}" for run in runs if run.reason), "")


def _no_scores(runs: Sequence[Run], metric: str | None) -> ConfigError:
    """The error if no completed run has the metric."""
    known = {name for run in runs if run.status == "completed" for name in run.metric_names()}
    if not known or metric is None:
        completed = any(run.status == "completed" for run in runs)
        what = "no completed run has a number" if completed else f"none of {len(runs)} has completed"
        return ConfigError(f"no run has metrics: {what} ({_ended(runs)}); hint: add one that has")
    if full_name(metric) != metric:  # as bare names
        return unknown(
            "metric", metric, {name.removeprefix("best/") for name in known if name[:5] not in ("last/", "test/")}
        )
    return unknown("metric", metric, known | {f"train/{name.partition('/')[2]}" for name in known - {*NUMBERS}})


def divide(runs: Sequence[Run], metric: str | None = None) -> list[tuple[str, list[Run]]]:
    """Runs that are measured alike, with what tells them from the others, such as "dataset=iris"; "" if all are. With a
    metric, keys that do not change its meaning do not count.
    """
    found: dict[Key, list[Run]] = {}
    for run in runs:
        if run.status == "completed":
            found.setdefault(_key(run.values, metric), []).append(run)
    whole = {key: completed[0].values for key, completed in found.items()}
    for run in runs:
        if run.status != "completed":
            found.setdefault(_table_of(run, whole, metric), []).append(run)
    return sorted(zip(_names(list(found)), found.values(), strict=True), key=lambda table: table[0])


def _key(values: Scalars, metric: str | None) -> Key:
    """What a metric means in a run; a key that is null is as one that an older version did not have."""
    return frozenset(item for item in measurement(values, metric).items() if item[1] != "None")


def _table_of(run: Run, whole: Mapping[Key, Scalars], metric: str | None) -> Key:
    """The table of a run that has not completed, of which some keys may be unknown: the first one that agrees with the
    others; if none does, one of its own.
    """
    key = _key(run.values, metric)
    known = measurement({name: value for name, value in run.values.items() if name != "data"}, metric)
    agreeing = (
        other
        for other, values in whole.items()
        if all(values.get(name, value) == value for name, value in known.items())
    )
    return key if key in whole else next(agreeing, key)


def _names(keys: Sequence[Key]) -> list[str]:
    """For each key as many overrides, the choice of the dataset first, as tell it from the others."""
    values: list[Scalars] = [dict(key) for key in keys]
    for name in sorted({name for each in values for name in each}):
        group, dot, _ = name.partition(".")
        choices = {each.get(group) for each in values if name in each}
        for each in values:
            if not dot or each.get(group) in choices:
                each.setdefault(name, "null")
    names = sorted(differing(values), key=lambda name: (name == "data", name != "dataset", name))
    parts: list[list[str]] = [[] for _ in keys]
    for name in names:
        counted = Counter(map(tuple, parts))
        parts = [
            [*part, f"{name}={format_setting(each[name])}"] if counted[tuple(part)] > 1 and name in each else part
            for part, each in zip(parts, values, strict=True)
        ]
    return [", ".join(part) for part in parts]
