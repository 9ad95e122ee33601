"""Say in plain sentences what a comparison found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from dl_lab.analysis.comparison import Comparison, Configuration
from dl_lab.analysis.statistics import MOST_SEEDS, Verdict, unit
from dl_lab.core.errors import counted
from dl_lab.core.formatting import decimals, format_value
from dl_lab.runs.reader import Run

MOST_REASONS = 20  # lines about runs that have not completed
LONGEST_NAME = 80  # characters
MOST_SENTENCES = 5  # about configurations other than the leader, or with a better mean


def summary(comparison: Comparison) -> list[str]:
    """The lines above the table; the first one is the title."""
    leader, runs = comparison.ranked[0], [run for each in comparison.configurations for run in each.runs]
    part, _, name = comparison.metric.partition("/")
    split = {"best": "validation", "test": "test"}.get(part)
    of = f", {split}, at the checkpoint that train.best={leader.values.get('train.best')} selects" if split else ""
    size = f"{counted(len(comparison.configurations), 'configuration')}, {counted(len(runs), 'run')}"
    lines = [
        f"{f'{comparison.name}: ' if comparison.name else ''}{size}, by {comparison.metric}",
        f"{comparison.metric}{of}: {'higher' if comparison.higher else 'lower'} is better",
        f"leader: {_named(comparison, leader)}: {mean_text(leader)}; its best run is "
        f"{leader.completed[leader.best_repetition].folder}",
        *_test_of(leader, part, name),
        *_warnings(part, name),
    ]
    if leader.not_completed:
        lines.append(f"{counts(leader.not_completed)} of the leader's {len(leader.runs)} runs are not in its mean")
    better = f"a better mean, but over its completed {unit(comparison.overlap)}s only"
    ahead = comparison.better_means[:MOST_SENTENCES]
    lines.extend(f"{better}: {_named(comparison, each)}: {mean_text(each)}{lost(each)}" for each in ahead)
    lines += sentences(comparison, MOST_SENTENCES)
    verdicts = [each for each in comparison.verdicts if each is not None]
    if len(verdicts) > MOST_SENTENCES:
        signs = Counter(each.sign for each in verdicts)
        lines.append(f"in all {len(verdicts)}: {signs[1]} worse than the leader, {signs[0]} not distinguishable")
        lines[-1] += f", {signs[-1]} better on common {unit(comparison.overlap)}s" if signs[-1] else ""
    if others := Counter(run.status for run in runs if run.status != "completed"):
        lines += [f"not completed, and in no mean: {counts(others)}", *_reasons(runs)]
    return lines


def _test_of(leader: Configuration, part: str, name: str) -> list[str]:
    """The test metric of the leader, which did not choose it."""
    tested = [run.metric(f"test/{name}") for run in leader.completed.values()]
    if part != "best" or not all(map(isfinite, tested)):
        return []
    mean = sum(tested) / len(tested)
    return [
        f"test/{name} of the leader: {format_value(mean)}, a mean over {counted(len(tested), unit(leader.overlap))}"
    ]


def _warnings(part: str, name: str) -> list[str]:
    if part != "test":
        return []
    what = "the leader is chosen by its score on the test split, which is therefore too good an estimate"
    return [f"warning: {what}; hint: choose by metric={name}, and read the test metric of the leader only"]


def sentences(comparison: Comparison, most: int | None = None) -> list[str]:
    """What is known about the leader and each of the other configurations, or of the first ones. One sentence is about
    all that have fewer than two seeds in common with the leader, if there are several.
    """
    judged = zip(comparison.configurations, comparison.verdicts, strict=True)
    pairs = [(each, verdict) for each, verdict in judged if verdict is not None]
    few = sum(verdict.seeds < 2 for _, verdict in pairs)
    if few < 2:
        return [_sentence(comparison, *pair) for pair in pairs[:most]]
    name = unit(comparison.overlap)
    others = f"{_named(comparison, comparison.ranked[0])} and {few} others have at most 1 {name} in common"
    unknown = f"{others}, which says nothing about chance; hint: the same {name}s for all, such as seed=range(5)"
    return [*(_sentence(comparison, *pair) for pair in pairs[:most] if pair[1].seeds > 1), unknown]


def _sentence(comparison: Comparison, other: Configuration, verdict: Verdict) -> str:
    pair = [_named(comparison, each) for each in (comparison.ranked[0], other)]
    name, mean, (low, high) = unit(verdict.overlap), verdict.mean, verdict.interval
    if verdict.seeds < 2:
        common = f"have {verdict.seeds or 'no'} {name} in common, which says nothing about chance"
        return f"{' and '.join(pair)} {common}; hint: the same {name}s for both, such as seed=range(5)"
    seeds = counted(verdict.seeds, f"paired {name}")
    if not any(verdict.differences):
        return f"{' and '.join(pair)} have equal scores with each of {seeds}"
    if mean < 0:
        pair, mean, low, high = pair[::-1], -mean, -high, -low
    digits = decimals(high - low if low < high else mean)
    adjusted = "adjusted " if comparison.pairs > 1 else ""
    interval = f"{adjusted}95 % {low:.{digits}f} to {high:.{digits}f}, " if low < high else "the same with each of "
    evidence = f"({interval}{seeds}){lost(other)}"
    if verdict.sign:
        return f"{pair[0]} is better than {pair[1]} by {mean:.{digits}f} {evidence}"
    more = f"more than {MOST_SEEDS:,}" if verdict.more is None else f"about {verdict.more:,}"
    resolve = f"{more} more {name}{'s' * (verdict.more != 1)} would resolve {mean:.{decimals(mean)}f}"
    return f"{' and '.join(pair)} do not differ significantly; {resolve} {evidence}"


def _named(comparison: Comparison, each: Configuration) -> str:
    """A configuration in a sentence, such as "cnn with adam, lr 0.1", without the middle of a long name."""
    first, *rest = comparison.parts(each)
    name = f"{first} with {', '.join(rest)}" if rest else first
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}…{name[-LONGEST_NAME // 2 :]}"


def verdict_text(verdict: Verdict) -> str:
    """The verdict on a configuration other than the leader, in a few words."""
    name = unit(verdict.overlap)
    if verdict.seeds < 2:
        return f"nothing can be said with {counted(verdict.seeds, f'common {name}')}"
    return {1: "behind", -1: "ahead"}.get(verdict.sign, f"not distinguishable with {verdict.seeds} {name}s")


def mean_text(each: Configuration) -> str:
    """The mean of a configuration, with the deviation over its seeds."""
    seeds, mean = len(each.scores), format_value(each.mean)
    return f"{mean} ± {format_value(each.deviation)} over {seeds} {unit(each.overlap)}s" if seeds > 1 else mean


def lost(each: Configuration) -> str:
    """How many repetitions are missing because they were pruned or diverged."""
    number, statuses = len(each.lost), " or ".join(sorted(set(each.lost.values())))
    return f" ({number} of {number + len(each.scores)} {unit(each.overlap)}s {statuses})" if number else ""


def counts(statuses: Mapping[str, int]) -> str:
    """How many there are of each status."""
    return ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))


def _reasons(runs: Sequence[Run]) -> list[str]:
    """One line per reason for which runs have not completed, with their folders."""
    by_reason: dict[str, list[str]] = {}
    for run in runs:
        if run.status != "completed" and run.reason:
            reason = " ".join(str(run.reason).split())[:200]
            by_reason.setdefault(f"{run.status}: {reason}", []).append(str(run.folder))
    return [f"{reason} ({first_names(folders)})" for reason, folders in list(by_reason.items())[:MOST_REASONS]]


def left_out_lines(left_out: Mapping[Path, str]) -> list[str]:
    """One line per reason, with the folders that are left out for it."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out.items():
        by_reason.setdefault(reason, []).append(str(path))
    return [f"left out, because {reason}: {first_names(paths)}" for reason, paths in by_reason.items()]


def first_names(names: Sequence[str]) -> str:
    """The first three of these names, and how many others there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
