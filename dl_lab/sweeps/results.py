"""What a sweep prints of its results: a name and a line for each job, and a table of the best configurations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dl_lab.analysis.comparison import rank
from dl_lab.analysis.measured import default_metric, divide, full_name
from dl_lab.analysis.sentences import lost, mean_text
from dl_lab.core.errors import counted
from dl_lab.core.formatting import format_metrics
from dl_lab.data.spec import METRICS, PRINTED, kind_of, main_metric
from dl_lab.runs.identity import REPEATS, hyperparameters
from dl_lab.runs.naming import key_of, short_overrides
from dl_lab.runs.reader import Run
from dl_lab.sweeps.manifest import Entry

MOST_ROWS, MOST_TABLES, MOST_METRICS = 5, 4, 6
SHOWN = {*PRINTED, *(name for names in METRICS.values() for name in names)}  # of the metrics of several heads


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
    """The best configurations of a sweep, as `compare` ranks them, by `objective` or else the default metric. `values`
    are the nested configurations of the jobs, by number.
    """
    known = {Path(entry.folder): entry for entry in entries if entry.number in values}
    runs = [
        Run(folder=at, status=job.status, values=hyperparameters(values[job.number]), summary={"best": job.metrics})
        for at, job in known.items()
    ]
    metric = full_name(objective) if objective else None
    lines: list[str] = []
    tables = divide(runs, metric)
    for number, (title, table) in enumerate(tables):
        if number == MOST_TABLES:
            return [*lines, f"ranked   and {counted(len(tables) - number, 'other table')}: `compare` has them"]
        lines += _table(table, known, metric or default_metric(table), title)
    return lines


def _table(runs: Sequence[Run], entries: Mapping[Path, Entry], metric: str, title: str) -> list[str]:
    """The first rows of a table of runs that are measured alike."""
    ordered, _ = rank(runs, metric)
    if not ordered[0].scores:
        return []
    chosen = {
        number: [override for override in entries[each.runs[0].folder].overrides if key_of(override) not in REPEATS]
        for number, each in enumerate(ordered)
    }
    rows = [
        (f"{mean_text(each)}{lost(each)}", name)
        for each, name in zip(ordered[:MOST_ROWS], names(chosen).values(), strict=False)
        if each.scores
    ]
    width = max(len(mean) for mean, _ in rows)
    first = f"ranked   val/{metric.removeprefix('best/')}, {len(rows)} of {counted(len(ordered), 'configuration')}"
    return [f"{first}{title and '  '}{title}", *(f"         {mean:{width}}  {name}".rstrip() for mean, name in rows)]
