"""python -m dl_lab.compare FOLDER ... [metric=val/loss] [out=FOLDER]: what runs and sweeps have shown."""

import csv
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import isnan
from pathlib import Path

from dl_lab.analysis.comparison import Comparison, Configuration, compare, default_metric, shown
from dl_lab.analysis.statistics import MOST_SEEDS, Verdict
from dl_lab.cli import app, arguments
from dl_lab.core.errors import ConfigError
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.logger import write_text
from dl_lab.runs.reader import SWEEP, Run, find, read

HELP = """Compare runs by configuration, seeds together: python -m dl_lab.compare FOLDER ... [key=value ...]

  FOLDER ...        runs, sweeps, or folders of them, as outputs/sweeps/2026-11-22/10-00-00; a pattern, as 'outputs/*/*'
  metric=val/loss   val/NAME and test/NAME of the best checkpoint, last/NAME of the last validation, train/NAME of the
                    last training point; seconds, steps, parameters. By default what train.best has chosen by
  out=FOLDER        where compare.md, compare.csv and the folder compare/ with figures and TensorBoard's events go; by
                    default the one FOLDER, if it is no run itself, else a new one in outputs/comparisons

Runs that have not completed are counted and never averaged. Seeds of one configuration are one row. Rows stand by mean,
in which, for the order alone, a seed that was pruned or diverged counts as the worst score that any run measured.
"""
KEYS = ("metric", "out")
MOST_ROWS = 20  # of the table, on the screen
MOST_FLATTERED = 3  # that are named

NOTE = f"""Intervals are of 95 %: of a mean by Student's t over seeds; of a difference, paired by seed, the wider of
Student's t and the bootstrap, each by itself. A verdict counts all pairs that the leader was chosen among: 5 % of those
that say "behind" are wrong at most (Benjamini & Hochberg 1995). So many `more seeds` might settle it, with a
probability of 80 %, if the difference is as it looks now; "-" is for what cannot be told, or more than {MOST_SEEDS}.
Means and verdicts are of seeds that completed. Those that were pruned or diverged are likely to be the worse ones: for
the order of the rows, and for that alone, each counts as the worst score that any run measured (Lachin 1999).
"""


@dataclass(frozen=True)
class Options:
    folders: list[Path]
    metric: str | None
    out: Path | None


def main() -> None:
    """Print the comparison and write it beside the runs."""
    if arguments.help_asked(sys.argv[1:]):
        print(HELP)
        return
    with app.exits():
        try:
            print(carry_out(options_of(sys.argv[1:])))
        except OSError as error:
            if isinstance(error, BrokenPipeError) or not error.filename:
                raise
            reason = f"{error.filename} cannot be written ({error.strerror})"
            raise ConfigError(f"{reason}; allowed: another folder, with out=FOLDER") from error


def options_of(given: Sequence[str]) -> Options:
    """Read the command line.

    Raises:
        ConfigError: for an unknown key, a folder that does not exist, or no folder.
    """
    values, names = arguments.take(given, KEYS)
    folders = [folder for name in names for folder in matches(name)]
    if not folders:
        raise ConfigError("no folder is given; allowed: runs, sweeps, or folders of them, as outputs/sweeps/DATE/TIME")
    return Options(folders, values.get("metric"), Path(values["out"]) if "out" in values else None)


def matches(name: str) -> list[Path]:
    """The folder called `name`, or else the folders that match it as a pattern (which the shell did not expand).

    Raises:
        ConfigError: if there is none.
    """
    path = Path(name)
    if path.is_dir():
        return [path]
    pattern = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
    if not (folders := sorted(match for match in pattern if match.is_dir())):
        if name.partition("=")[0].isidentifier() and "=" in name:
            raise arguments.not_taken(name, KEYS)
        raise ConfigError(f"{name} is not a folder; allowed: runs, sweeps, or folders of them")
    return folders


def carry_out(options: Options) -> str:
    """Compare, write the files, and return what is to be printed.

    Raises:
        ConfigError: if nothing is left to compare, or the metric is in no run.
    """
    runs, left_out = find(options.folders)
    if not runs:
        reasons = "".join(f"; {line}" for line in told(left_out))
        raise ConfigError(f"no run is found{reasons}; allowed: folders of runs that dl_lab.train has left")
    metric = options.metric or default_metric(runs)
    comparison, not_counted = compare(runs, metric)
    out = options.out or folder_for(options.folders)
    head = summary(comparison, runs, chosen=options.metric is None) + told(left_out | not_counted)
    rows = table(comparison)

    from dl_lab.analysis import report_figures  # matplotlib and scikit-learn, when there is something to draw

    text = "\n".join([f"# {head[0]}", "", *(f"- {line}" for line in head[1:]), "", *rows, "", NOTE])
    pictures = report_figures.write(comparison, text, out / "compare", out.name)
    links = "\n".join(f"![{path.stem.replace('_', ' ')}](compare/{path.name})" for path in pictures)
    write_text(out / "compare.md", f"{text}\n{links}\n")
    write_text(out / "compare.csv", as_csv(comparison))
    more = [f"... {len(rows) - MOST_ROWS - 2} more in compare.md"] if len(rows) > MOST_ROWS + 2 else []
    where = [f"wrote  {out / 'compare.md'}, compare.csv, {len(pictures)} figures in compare/"]
    look = [f"look   tensorboard --logdir {shlex.quote(str(out / 'compare'))}   (IMAGES, CUSTOM SCALARS)"]
    look += [f"       tensorboard --logdir {shlex.quote(str(out))}   (HPARAMS)"] if out in options.folders else []
    return "\n".join([*head, "", *rows[: MOST_ROWS + 2], *more, "", NOTE, *where, *look])


def folder_for(folders: Sequence[Path]) -> Path:
    """The one folder that was given, unless it is a run; else a new one."""
    if len(folders) == 1 and ((folders[0] / SWEEP).exists() or isinstance(read(folders[0]), str)):
        return folders[0]
    return Path(reserve_run_folder("outputs/comparisons"))


def told(left_out: Mapping[Path, str]) -> list[str]:
    """What is left out, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out.items():
        by_reason.setdefault(reason, []).append(str(path))
    return [f"left out, because {reason}: {_some(paths)}" for reason, paths in by_reason.items()]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def summary(comparison: Comparison, runs: Sequence[Run], chosen: bool) -> list[str]:
    """What came out, a line each; the first is the title."""
    leader, verdicts = comparison.ranked[0], [each for each in comparison.verdicts if each is not None]
    side = "higher" if comparison.higher else "lower"
    why = " of the best checkpoint, by which train.best has chosen it" if chosen else ""
    best = leader.completed[leader.best_seed]
    lines = [
        f"{len(comparison.configurations)} configurations, {len(runs)} runs, by {comparison.metric}",
        f"{comparison.metric}{why}: {side} is better",
        f"leader: {comparison.label(leader)}: {_mean(leader)}; its best run is {best.folder}",
    ]
    if leader.others:
        lines.append(f"{_counted(leader.others)} of the leader's {len(leader.runs)} runs are not in its mean")
    flattered = comparison.flattered[:MOST_FLATTERED]
    better = "a better mean, but of what is left of its seeds"
    lines.extend(f"{better}: {comparison.label(each)}: {_mean(each)}{_lost(each)}" for each in flattered)
    if verdicts:
        signs = Counter(each.sign for each in verdicts)
        lines.append(f"behind it: {signs[1]} of {len(verdicts)}; not distinguishable from it: {signs[0]}")
        lines[-1] += f"; ahead of it on the seeds in common: {signs[-1]}" if signs[-1] else ""
    others = Counter(run.status for run in runs if run.status != "completed")
    if others:
        lines.append(f"not completed, and in no mean: {_counted(others)}")
        lines.extend(_reasons(runs))
    return lines


def _mean(each: Configuration) -> str:
    seeds = len(each.scores)
    return f"{shown(each.mean)} ± {shown(each.deviation)} over {seeds} seeds" if seeds > 1 else shown(each.mean)


def _lost(each: Configuration) -> str:
    """How many seeds a mean or verdict is without that would have made it worse."""
    number, statuses = len(each.lost), " or ".join(sorted(set(each.lost.values())))
    return f" ({number} of {number + len(each.scores)} seeds {statuses})" if number else ""


def _counted(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))


def _reasons(runs: Sequence[Run]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for run in runs:
        if run.status != "completed" and run.reason:
            reason = " ".join(str(run.reason).split())[:200]
            by_reason.setdefault(f"{run.status}: {reason}", []).append(str(run.folder))
    return [f"{reason} ({_some(folders)})" for reason, folders in list(by_reason.items())[:MOST_ROWS]]


def in_words(verdict: Verdict | None) -> str:
    """The verdict on a configuration that is not the leader."""
    if verdict is None:
        return ""
    if verdict.seeds < 2:
        return f"nothing can be said with {verdict.seeds} common seed{'s' * (verdict.seeds != 1)}"
    return {1: "behind", -1: "ahead"}.get(verdict.sign, f"not distinguishable with {verdict.seeds} seeds")


def _range(low: float, high: float) -> str:
    return f"{shown(low)} to {shown(high)}" if low == low else "-"


def table(comparison: Comparison) -> list[str]:
    """A row a configuration, in Markdown that is aligned to be read as it is."""
    names = [*comparison.keys, comparison.metric, "deviation", "95 % interval", "best", "seeds", "seconds"]
    names += ["behind by", "95 % interval", "verdict", "more seeds", "not completed"]
    rows = [["", *names]]
    for rank, (each, verdict) in enumerate(zip(comparison.configurations, comparison.verdicts, strict=True), 1):
        best = shown(each.scores[each.best_seed]) if each.scores else "-"
        row = [str(rank) if each.scores else "", *(shown(each.values.get(key)) for key in comparison.keys)]
        row += [shown(each.mean), shown(each.deviation), _range(*each.interval), best]
        row += [str(len(each.scores)), shown(each.seconds)]
        if verdict is None:
            row += ["", "", f"leader{_lost(each)}" if rank == 1 else "no run counts", ""]
        else:
            more = "" if verdict.sign else shown(verdict.more)
            words = in_words(verdict) + _lost(each)
            row += [shown(verdict.mean), _range(verdict.low, verdict.high), words, more]
        rows.append([*row, _counted(each.others)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    return [f"| {' | '.join(line)} |" for line in lines]


def as_csv(comparison: Comparison) -> str:
    """The same table with every digit, its columns named for programs."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numbers = ["mean", "deviation", "low", "high", "best", "best_run", "seeds", "seconds"]
    against = ["difference", "difference_low", "difference_high", "p", "common_seeds", "verdict", "more_seeds"]
    statuses = sorted({status for each in comparison.configurations for status in each.others})
    writer.writerow(["rank", "configuration", *comparison.keys, "metric", *numbers, *against, *statuses])
    for rank, (each, verdict) in enumerate(zip(comparison.configurations, comparison.verdicts, strict=True), 1):
        best = [each.scores[each.best_seed], each.completed[each.best_seed].folder] if each.scores else ["", ""]
        row = [
            rank if each.scores else "",
            each.runs[0].configuration_name,
            *(each.values.get(key, "") for key in comparison.keys),
        ]
        row += [comparison.metric, each.mean, each.deviation, *each.interval, *best, len(each.scores), each.seconds]
        if verdict is None:
            row += ["", "", "", "", "", "leader" if rank == 1 else "", ""]
        else:
            row += [verdict.mean, verdict.low, verdict.high, verdict.p, verdict.seeds, in_words(verdict)]
            row += ["" if verdict.more is None else verdict.more]
        row += [each.others.get(status, 0) for status in statuses]
        writer.writerow(["" if isinstance(cell, float) and isnan(cell) else cell for cell in row])
    return text.getvalue()


if __name__ == "__main__":
    main()
