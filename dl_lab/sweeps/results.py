"""What a sweep prints of its results: a name and a line for each job, and a table of the best configurations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from math import isfinite, nan
from statistics import fmean, stdev
from typing import Any

from dl_lab.core.errors import counted
from dl_lab.core.progress import format_metrics
from dl_lab.data.spec import METRICS, PRINTED, higher_is_better, kind_of, main_metric
from dl_lab.runs.identity import MEASURES, REPEATS, Scalars, configuration_name, effect, flatten
from dl_lab.runs.naming import short_overrides
from dl_lab.sweeps.manifest import Entry

MOST_ROWS, MOST_TABLES, MOST_METRICS = 5, 4, 6
SHOWN = {*PRINTED, *(name for names in METRICS.values() for name in names)}  # of the metrics of several heads
CUT_SHORT = ("diverged", "pruned")


def differing(jobs: Mapping[int, Sequence[str]]) -> set[str]:
    """The overrides that not all jobs have; all overrides of the only job."""
    number_of = Counter(override for overrides in jobs.values() for override in set(overrides))
    return {override for override, number in number_of.items() if number < len(jobs) or len(jobs) == 1}


def names(jobs: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """The name of each job, by its number: those of its overrides in which jobs differ, with the last part of each key
    where that is not ambiguous. All overrides of the only job.
    """
    differ = differing(jobs)
    keys = {override.partition("=")[0] for override in differ}
    own = {number: [each for each in overrides if each in differ] for number, overrides in jobs.items()}
    return {number: " ".join(short_overrides(overrides, keys)) for number, overrides in own.items()}


def job_line(entry: Entry, name: str, objective: str | None) -> str:
    """A job that has ended, with the metrics of its best validation."""
    kinds = {"loss", main_metric(entry.metrics), str(objective).removeprefix("val/"), *PRINTED}
    several = [metric for metric in entry.metrics if "/" in metric and kind_of(metric) in SHOWN][: MOST_METRICS - 1]
    shown = {f"val/{metric}": value for metric, value in entry.metrics.items() if metric in (*kinds, *several)}
    parts = [f"#{entry.number}", name, "" if entry.status == "completed" else entry.status, format_metrics(shown)]
    parts.append(f"step {entry.metrics['step']}" if "step" in entry.metrics else "")
    parts.append(f"({counted(entry.warnings, 'warning')} in summary.json)" if entry.warnings else "")
    return "  ".join(filter(None, parts))


def best_lines(entries: Sequence[Entry], values: Mapping[int, Mapping[str, Any]], objective: str | None) -> list[str]:
    """The best configurations of a sweep: means of the best validations by `objective` or else the main metric, with
    the standard deviation over seeds and folds. Runs that are measured differently, such as on other datasets, have
    tables of their own. `values` are the nested configurations of the jobs, by number.
    """
    tables: dict[str, list[Entry]] = {}
    flat = {number: flatten(nested) for number, nested in values.items()}
    for entry in entries:
        if entry.number in flat and (entry.metrics or entry.status in CUT_SHORT):
            measured = {key: value for key, value in flat[entry.number].items() if effect(key) is MEASURES}
            tables.setdefault(configuration_name(measured), []).append(entry)
    titles = names({number: _chosen(table[0], measures=True) for number, table in enumerate(tables.values())})
    lines: list[str] = []
    for number, table in enumerate(tables.values()):
        if number == MOST_TABLES:
            return [*lines, f"ranked   and {counted(len(tables) - number, 'other table')}: `compare` has them"]
        lines += _table(table, flat, objective, titles[number] if len(tables) > 1 else "")
    return lines


def _chosen(entry: Entry, measures: bool) -> list[str]:
    """The overrides that decide how a job is measured, or the others, without its seed and fold."""
    keyed = {override: override.partition("=")[0].lstrip("+~") for override in entry.overrides}
    return [each for each, key in keyed.items() if key not in REPEATS and (effect(key) is MEASURES) == measures]


def _table(entries: Sequence[Entry], flat: Mapping[int, Scalars], objective: str | None, title: str) -> list[str]:
    """The rows of jobs that are measured alike, best first; pruned and diverged jobs count as the worst score."""
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(configuration_name(flat[entry.number]), []).append(entry)
    metric = (objective or "").removeprefix("val/") or main_metric(entries[0].metrics)
    scores = {
        name: [score for job in jobs if job.status == "completed" and isfinite(score := job.metrics.get(metric, nan))]
        for name, jobs in grouped.items()
    }
    lost = {name: sum(job.status in CUT_SHORT for job in jobs) for name, jobs in grouped.items()}
    ranked = [name for name in grouped if scores[name]]
    if not ranked:
        return []
    higher = higher_is_better(metric)
    worst = (min if higher else max)(chain.from_iterable(scores.values()))
    ranked.sort(key=lambda name: fmean([*scores[name], *[worst] * lost[name]]), reverse=higher)
    shown = names({number: _chosen(grouped[name][0], measures=False) for number, name in enumerate(grouped)})
    called = dict(zip(grouped, shown.values(), strict=True))
    rows = [(*_summary(scores[name], lost[name]), called[name]) for name in ranked[:MOST_ROWS]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first = f"ranked   val/{metric}, {len(rows)} of {counted(len(grouped), 'configuration')}{title and '  '}{title}"
    return [first, *("         " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]


def _summary(scores: Sequence[float], lost: int) -> tuple[str, str]:
    """The mean with the standard deviation, and the number of runs."""
    deviation = f" ± {stdev(scores):.2g}" if len(scores) > 1 else ""
    return f"{fmean(scores):.4g}{deviation}", counted(len(scores), "run") + (f", {lost} lost" if lost else "")
