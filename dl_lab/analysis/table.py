"""The tables of comparisons, as Markdown and as csv."""

import csv
from collections.abc import Sequence
from io import StringIO
from itertools import compress
from math import isnan

from dl_lab.analysis.comparison import Comparison, Configuration
from dl_lab.analysis.sentences import counts, lost, verdict_text
from dl_lab.analysis.statistics import MOST_SEEDS, Interval, Verdict, unit
from dl_lab.core.errors import printable
from dl_lab.core.formatting import format_value

OVERLAP = """Folds: intervals, verdicts and `more runs` use the corrected resampled t test (Nadeau & Bengio 2003), as
training sets overlap: the variance of a mean over n runs is 1/n + 1/(folds - 1) times that of a run, not 1/n times.
Runs are paired by seed and fold; `seed` below stands for both.

"""
MEANS, DIFFERENCES = "95 % interval", ("paired 95 %", "adjusted 95 %")  # names of columns
BRIEF = "Intervals are 95 %; those of differences are paired by seed and adjusted. compare.md explains the methods."
NOTE = f"""Intervals of means are Student's t over seeds, 95 %. The interval of a difference, paired by seed, is the
wider of Student's t and the bootstrap, within the range of the metric. It is adjusted for all pairs that the leader was
chosen among (Benjamini & Hochberg 1995, Benjamini & Yekutieli 2005), and decides the verdict: "behind" if it is above
0. `more seeds` is how many may settle a verdict, with a probability of 80 %, if the difference stays as it is; "-"
means unknown or more than {MOST_SEEDS}. Means and verdicts are of completed seeds. Pruned and diverged seeds are
probably worse: in the order of the rows, and only there, each counts as the worst score that any run measured (Lachin
1999).
"""


def note(comparisons: Sequence[Comparison]) -> str:
    """The methods behind the tables."""
    return OVERLAP + NOTE if any(each.overlap for each in comparisons) else NOTE


def rows(comparison: Comparison) -> list[list[str]]:
    """The header and one row of texts per configuration, without empty columns."""
    name = unit(comparison.overlap)
    names = [*comparison.keys, comparison.metric, "deviation", MEANS, "best", f"{name}s", "seconds"]
    names += ["behind by", DIFFERENCES[comparison.pairs > 1]]
    found = [["", *names, "verdict", f"more {name}s", "not completed"]]
    for rank, each, verdict in ranked(comparison):
        best = format_value(each.scores[each.best_repetition]) if each.scores else "-"
        row = [str(rank) if each.scores else "", *(comparison.value(each, key) for key in comparison.keys)]
        row += [format_value(each.mean), format_value(each.deviation), _range(each.interval), best]
        row += [str(len(each.scores)), format_value(each.seconds)]
        if verdict is None:
            row += ["", "", f"leader{lost(each)}" if rank == 1 else "no run counts", ""]
        else:
            more = "" if verdict.sign else format_value(verdict.more)
            row += [format_value(verdict.mean), _range(verdict.interval), verdict_text(verdict) + lost(each), more]
        found.append([*row, counts(each.not_completed)])
    filled = [any(cells[1:]) for cells in zip(*found, strict=True)]
    return [[printable(" ".join(cell.split())) for cell in compress(row, filled)] for row in found]


def fitting(found: Sequence[Sequence[str]], columns: int | None) -> list[list[str]]:
    """Rows without the columns that matter least, until the lines of their table fit into a terminal."""
    rows = [list(row) for row in found]
    for name in ("seconds", "best", "deviation", "more seeds", "more runs", MEANS, "behind by", *DIFFERENCES):
        if columns is None or len(markdown(rows)[0]) <= columns:
            break
        kept = [each != name for each in rows[0]]
        rows = [list(compress(row, kept)) for row in rows]
    return rows


def ranked(comparison: Comparison) -> list[tuple[int, Configuration, Verdict | None]]:
    """The configurations with their ranks and verdicts."""
    numbers = range(1, len(comparison.configurations) + 1)
    return list(zip(numbers, comparison.configurations, comparison.verdicts, strict=True))


def markdown(found: Sequence[Sequence[str]]) -> list[str]:
    """Rows as the lines of a Markdown table with aligned columns."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in found]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines.insert(1, ["-" * width for width in widths])
    return [f"| {' | '.join(line)} |" for line in lines]


def as_csv(comparisons: Sequence[Comparison]) -> str:
    """All tables in one for programs, with every digit."""
    text = StringIO()
    keys = list(dict.fromkeys(key for comparison in comparisons for key in comparison.keys))
    statuses = {status for table in comparisons for each in table.configurations for status in each.not_completed}
    lines = [line for table in comparisons for line in _lines(table, keys, sorted(statuses))]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _lines(comparison: Comparison, keys: Sequence[str], statuses: Sequence[str]) -> list[dict[str, str]]:
    lines = []
    for rank, each, verdict in ranked(comparison):
        line: dict[str, object] = {
            "rank": rank if each.scores else "",
            "configuration": each.runs[0].configuration_name,
        }
        line |= {key: each.values.get(key, "") for key in keys}
        line |= {"metric": comparison.metric, "mean": each.mean, "deviation": each.deviation}
        line |= dict(zip(("low", "high"), each.interval, strict=True))
        line |= {"best": each.scores[each.best_repetition] if each.scores else ""}
        line |= {"best_run": each.completed[each.best_repetition].folder if each.scores else ""}
        line |= {"seeds": len(each.scores), "seconds": each.seconds}
        low, high = verdict.interval if verdict else ("", "")
        line |= {"difference": verdict.mean if verdict else "", "difference_low": low, "difference_high": high}
        line |= {"p": verdict.p if verdict else "", "common_seeds": verdict.seeds if verdict else ""}
        line |= {"verdict": verdict_text(verdict) if verdict else "leader" * (rank == 1)}
        line |= {"more_seeds": verdict.more if verdict else "", "table": comparison.name}
        line |= {status: each.not_completed.get(status, 0) for status in statuses}
        lines.append({printable(name): _cell(value) for name, value in line.items()})
    return lines


def _cell(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and isnan(value)) else printable(str(value))


def _range(interval: Interval) -> str:
    low, high = interval
    return "-" if isnan(low) else f"{format_value(low)} to {format_value(high)}"
