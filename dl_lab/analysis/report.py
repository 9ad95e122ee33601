"""The report of a comparison: a summary and a table for the screen, compare.md, compare.csv and figures."""

import csv
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory

from dl_lab.analysis.comparison import Comparison, Configuration, compare, default_metric, format_value
from dl_lab.analysis.statistics import MOST_SEEDS, Interval, Verdict, unit
from dl_lab.core.atomic_io import files_of
from dl_lab.core.errors import ConfigError, counted, printable
from dl_lab.runs.finder import SWEEP, find
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.reader import Run, read_tolerant

MOST_ROWS = 20  # of the table on the screen
MOST_BETTER_MEANS = 3  # lines about configurations with a better mean than the leader

OVERLAP = """Folds: intervals, verdicts and `more runs` use the corrected resampled t test (Nadeau & Bengio 2003), as
training sets overlap: the variance of a mean over n runs is 1/n + 1/(folds - 1) times that of a run, not 1/n times.
Runs are paired by seed and fold; `seed` below stands for both.

"""
NOTE = f"""Intervals are 95 %: of a mean, Student's t over seeds; of a difference, which is paired by seed, the wider of
Student's t and the bootstrap, not corrected for multiple comparisons. Verdicts are corrected, for all pairs that the
leader was chosen among: at most 5 % of the verdicts "behind" are wrong (Benjamini & Hochberg 1995). `more seeds` is
how many may settle a verdict, with a probability of 80 %, if the difference stays as it is; "-" means unknown or more
than {MOST_SEEDS}. Means and verdicts are of completed seeds. Pruned and diverged seeds are probably worse: in the order
of the rows, and only there, each counts as the worst score that any run measured (Lachin 1999).
"""


def write_report(folders: Sequence[Path], metric: str | None, out: Path | None) -> str:
    """Compare all runs in `folders` and write the report to `out`. Returns the text for the screen.

    Raises:
        ConfigError: if there are no runs to compare, no run has the metric, or a file cannot be written.
    """
    runs, left_out = find(folders)
    if not runs:
        reasons = "".join(f"; {line}" for line in left_out_lines(left_out))
        raise ConfigError(f"no run is found{reasons}; hint: give folders of runs that dl_lab.train has written")
    comparison, not_counted = compare(runs, metric or default_metric(runs))
    head = [*map(printable, summary(comparison, runs, metric is None) + left_out_lines(left_out | not_counted))]
    rows = table(comparison)
    out = out or default_folder(folders)
    try:
        figures = write_files(comparison, head, rows, out)
    except OSError as error:
        if not error.filename:
            raise
        reason = f"{error.filename} cannot be written ({error.strerror})"
        raise ConfigError(f"{reason}; hint: choose another folder with out=FOLDER") from error
    more = [f"... {len(rows) - MOST_ROWS - 2} more in compare.md"] if len(rows) > MOST_ROWS + 2 else []
    where = [f"wrote  {out / 'compare.md'}, compare.csv, {figures} figures in compare/"]
    where.append(f"look   tensorboard --logdir {shlex.quote(str(out / 'compare'))}   (IMAGES, CUSTOM SCALARS)")
    if out in folders:
        where.append(f"       tensorboard --logdir {shlex.quote(str(out))}   (HPARAMS)")
    return "\n".join([*head, "", *rows[: MOST_ROWS + 2], *more, "", note(comparison), *map(printable, where)])


def write_files(comparison: Comparison, head: Sequence[str], rows: Sequence[str], out: Path) -> int:
    """Write compare.md, compare.csv and compare/ to `out`. Returns the number of figures."""
    from dl_lab.analysis import report_figures, report_files  # imports matplotlib

    text = "\n".join([f"# {head[0]}", "", *(f"- {line}" for line in head[1:]), "", *rows, "", note(comparison)])
    with TemporaryDirectory() as made:
        folder = Path(made) / "compare"
        figures = report_figures.write(comparison, text, folder, out.name)
        files = {f"compare/{name}": path.read_bytes() for name, path in files_of(folder).items()}
    links = "\n".join(f"![{path.stem.replace('_', ' ')}](compare/{path.name})" for path in figures)
    files |= {"compare.md": f"{text}\n{links}\n".encode(), "compare.csv": as_csv(comparison).encode()}
    report_files.publish(files, out)
    return len(figures)


def note(comparison: Comparison) -> str:
    """The methods behind the table."""
    return OVERLAP + NOTE if comparison.overlap else NOTE


def default_folder(folders: Sequence[Path]) -> Path:
    """The only folder given, if it is not a run; otherwise a new one."""
    if len(folders) == 1 and ((folders[0] / SWEEP).exists() or isinstance(read_tolerant(folders[0]), str)):
        return folders[0]
    return Path(reserve_run_folder("outputs/comparisons"))


def left_out_lines(left_out: Mapping[Path, str]) -> list[str]:
    """One line per reason, with the folders that are left out for it."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out.items():
        by_reason.setdefault(reason, []).append(str(path))
    return [f"left out, because {reason}: {_first_names(paths)}" for reason, paths in by_reason.items()]


def summary(comparison: Comparison, runs: Sequence[Run], is_default_metric: bool) -> list[str]:
    """The lines above the table; the first one is the title."""
    leader, verdicts = comparison.ranked[0], [each for each in comparison.verdicts if each is not None]
    side = "higher" if comparison.higher else "lower"
    why = " of the best checkpoint, which train.best selects" if is_default_metric else ""
    best = leader.completed[leader.best_repetition]
    lines = [
        f"{counted(len(comparison.configurations), 'configuration')}, {counted(len(runs), 'run')}, "
        f"by {comparison.metric}",
        f"{comparison.metric}{why}: {side} is better",
        f"leader: {comparison.label(leader)}: {_mean(leader)}; its best run is {best.folder}",
    ]
    if leader.not_completed:
        lines.append(f"{_counts(leader.not_completed)} of the leader's {len(leader.runs)} runs are not in its mean")
    better = f"a better mean, but over its completed {unit(comparison.overlap)}s only"
    ahead = comparison.better_means[:MOST_BETTER_MEANS]
    lines.extend(f"{better}: {comparison.label(each)}: {_mean(each)}{_lost(each)}" for each in ahead)
    if verdicts:
        signs = Counter(each.sign for each in verdicts)
        lines.append(f"behind the leader: {signs[1]} of {len(verdicts)}; not distinguishable: {signs[0]}")
        lines[-1] += f"; ahead on common {unit(comparison.overlap)}s: {signs[-1]}" if signs[-1] else ""
    if others := Counter(run.status for run in runs if run.status != "completed"):
        lines.append(f"not completed, and in no mean: {_counts(others)}")
        lines.extend(_reasons(runs))
    return lines


def verdict_text(verdict: Verdict) -> str:
    """The verdict on a configuration other than the leader."""
    name = unit(verdict.overlap)
    if verdict.seeds < 2:
        return f"nothing can be said with {verdict.seeds} common {name}{'s' * (verdict.seeds != 1)}"
    return {1: "behind", -1: "ahead"}.get(verdict.sign, f"not distinguishable with {verdict.seeds} {name}s")


def table(comparison: Comparison) -> list[str]:
    """A Markdown table with aligned columns; one row per configuration."""
    name = unit(comparison.overlap)
    names = [*comparison.keys, comparison.metric, "deviation", "95 % interval", "best", f"{name}s", "seconds"]
    names += ["behind by", "95 % interval", "verdict", f"more {name}s", "not completed"]
    rows = [["", *names]]
    for rank, (each, verdict) in enumerate(zip(comparison.configurations, comparison.verdicts, strict=True), 1):
        best = format_value(each.scores[each.best_repetition]) if each.scores else "-"
        row = [str(rank) if each.scores else "", *(comparison.value(each, key) for key in comparison.keys)]
        row += [format_value(each.mean), format_value(each.deviation), _range(each.interval), best]
        row += [str(len(each.scores)), format_value(each.seconds)]
        if verdict is None:
            row += ["", "", f"leader{_lost(each)}" if rank == 1 else "no run counts", ""]
        else:
            more = "" if verdict.sign else format_value(verdict.more)
            row += [format_value(verdict.mean), _range(verdict.interval), verdict_text(verdict) + _lost(each), more]
        rows.append([*row, _counts(each.not_completed)])
    rows = [[printable(" ".join(cell.split())).replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    return [f"| {' | '.join(line)} |" for line in lines]


def as_csv(comparison: Comparison) -> str:
    """The same table for programs, with every digit."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = ["mean", "deviation", "low", "high", "best", "best_run", "seeds", "seconds"]
    against = ["difference", "difference_low", "difference_high", "p", "common_seeds", "verdict", "more_seeds"]
    statuses = sorted({status for each in comparison.configurations for status in each.not_completed})
    names = ["rank", "configuration", *comparison.keys, "metric", *numbers, *against, *statuses]
    writer.writerow(map(printable, names))
    for rank, (each, verdict) in enumerate(zip(comparison.configurations, comparison.verdicts, strict=True), 1):
        best = (
            [each.scores[each.best_repetition], each.completed[each.best_repetition].folder]
            if each.scores
            else ["", ""]
        )
        row: list[object] = [rank if each.scores else "", each.runs[0].configuration_name]
        row += [each.values.get(key, "") for key in comparison.keys]
        row += [comparison.metric, each.mean, each.deviation, *each.interval, *best, len(each.scores), each.seconds]
        if verdict is None:
            row += ["", "", "", "", "", "leader" if rank == 1 else "", ""]
        else:
            row += [verdict.mean, *verdict.interval, verdict.p, verdict.seeds, verdict_text(verdict)]
            row += ["" if verdict.more is None else verdict.more]
        row += [each.not_completed.get(status, 0) for status in statuses]
        cells = ["" if cell is None or (isinstance(cell, float) and isnan(cell)) else str(cell) for cell in row]
        writer.writerow(map(printable, cells))
    return text.getvalue()


def _mean(each: Configuration) -> str:
    seeds, mean = len(each.scores), format_value(each.mean)
    return f"{mean} ± {format_value(each.deviation)} over {seeds} {unit(each.overlap)}s" if seeds > 1 else mean


def _lost(each: Configuration) -> str:
    """How many repetitions are missing because they were pruned or diverged."""
    number, statuses = len(each.lost), " or ".join(sorted(set(each.lost.values())))
    return f" ({number} of {number + len(each.scores)} {unit(each.overlap)}s {statuses})" if number else ""


def _counts(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))


def _range(interval: Interval) -> str:
    low, high = interval
    return "-" if isnan(low) else f"{format_value(low)} to {format_value(high)}"


def _reasons(runs: Sequence[Run]) -> list[str]:
    """One line per reason for which runs have not completed, with their folders."""
    by_reason: dict[str, list[str]] = {}
    for run in runs:
        if run.status != "completed" and run.reason:
            reason = " ".join(str(run.reason).split())[:200]
            by_reason.setdefault(f"{run.status}: {reason}", []).append(str(run.folder))
    return [f"{reason} ({_first_names(folders)})" for reason, folders in list(by_reason.items())[:MOST_ROWS]]


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
