"""Group runs by configuration, rank the configurations by a metric, and judge each against the leader."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from math import inf, isfinite, nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from dl_lab.analysis.statistics import Interval, Verdict, limited, student, verdicts
from dl_lab.core.formatting import format_setting, format_value
from dl_lab.data.spec import higher_is_better, value_range
from dl_lab.runs.identity import Scalars, configuration
from dl_lab.runs.naming import short_keys
from dl_lab.runs.reader import Repetition, Run

SPEAKING = ("model", "optimizer")  # groups whose choices need no name of the group
CUT_SHORT = ("diverged", "pruned")  # because of their scores, so that the remaining seeds are the better ones


@dataclass(frozen=True)
class Configuration:
    """All runs of one configuration. `completed` and `scores` map the repetitions (seed, fold) that count to their run
    and its metric.
    """

    values: Scalars
    runs: Sequence[Run]
    completed: Mapping[Repetition, Run]
    scores: Mapping[Repetition, float]
    higher: bool
    bounds: Interval

    @property
    def mean(self) -> float:
        return fmean(self.scores.values()) if self.scores else nan

    @property
    def deviation(self) -> float:
        """The standard deviation over repetitions; nan for one."""
        return stdev(self.scores.values()) if len(self.scores) > 1 else nan

    @cached_property
    def interval(self) -> tuple[float, float]:
        return limited(student(list(self.scores.values()), overlap=self.overlap), self.bounds)

    @property
    def overlap(self) -> float:
        """The ratio of validated to training examples of a fold; 0 without folds, as seeds count as independent."""
        folds = self.values.get("dataset.folds")
        return 1 / (folds - 1) if isinstance(folds, int | float) and folds > 1 else 0.0

    @property
    def best_repetition(self) -> Repetition:
        return (max if self.higher else min)(self.scores, key=lambda each: self.scores[each])

    @cached_property
    def lost(self) -> dict[Repetition, str]:
        """The status of each repetition that was pruned or diverged and has no run that counts."""
        cut_short = [run for run in self.runs if run.status in CUT_SHORT]
        return {run.repetition: run.status for run in cut_short if run.repetition not in self.completed}

    def mean_at_worst(self, worst: float) -> float:
        """The mean if each lost repetition had the score `worst` (Lachin 1999, worst-rank score analysis)."""
        return fmean([*self.scores.values(), *[worst] * len(self.lost)])

    @property
    def seconds(self) -> float:
        """The mean duration of the runs that count."""
        return fmean(run.metric("seconds") for run in self.completed.values()) if self.completed else nan

    @property
    def not_completed(self) -> Counter[str]:
        """The number of runs with each status other than completed."""
        return Counter(run.status for run in self.runs if run.status != "completed")


@dataclass(frozen=True)
class Comparison:
    """Ranked configurations. The best mean comes first, with lost seeds counted as the worst score of any run; the
    configurations without a mean come last. `verdicts` belong to the configurations, with positive differences where
    the leader is better; None for the leader and for configurations without a mean. `keys` tell them apart. `name` is
    what tells the runs from those of other tables.
    """

    name: str
    metric: str
    higher: bool
    configurations: Sequence[Configuration]
    verdicts: Sequence[Verdict | None]
    keys: Sequence[str]

    @cached_property
    def ranked(self) -> list[Configuration]:
        return [each for each in self.configurations if each.scores]

    @property
    def overlap(self) -> float:
        """The largest overlap of any configuration; 0 if no run is of a cross-validation."""
        return max(each.overlap for each in self.configurations)

    @property
    def better_means(self) -> list[Configuration]:
        """The configurations with a better mean than the leader, which rank below it because of lost seeds."""
        sign = 1 if self.higher else -1
        return [each for each in self.ranked[1:] if sign * each.mean > sign * self.ranked[0].mean]

    @property
    def pairs(self) -> int:
        """The number of pairs that the leader was chosen among."""
        return count_pairs(len(self.ranked))

    def parts(self, each: Configuration) -> list[str]:
        """The values that distinguish it from the others, such as "cnn" and "lr 0.1"; of a single one, the model."""
        short = short_keys(self.keys)
        named = [("" if key in SPEAKING else f"{short[key]} ") + self.value(each, key) for key in self.keys]
        return named or [str(each.values.get("model", "all runs"))]

    def label(self, each: Configuration) -> str:
        """Its parts in one text, such as "cnn, lr 0.1"."""
        return ", ".join(self.parts(each))

    def value(self, each: Configuration, key: str) -> str:
        """A value of a configuration, with as many digits as tell it from the others."""
        return format_setting(format_value(each.values.get(key), self._digits[key]))

    @cached_property
    def _digits(self) -> dict[str, int]:
        """The significant digits by which all numbers of a key differ as texts: four or more."""
        found = {}
        for key in self.keys:
            values = {each.values.get(key) for each in self.configurations}
            floats = {value for value in values if isinstance(value, float) and isfinite(value)}
            found[key] = next(
                digits for digits in count(4) if len({format_value(each, digits) for each in floats}) == len(floats)
            )
        return found


def count_pairs(number: int) -> int:
    """The number of pairs of configurations, at least 1."""
    return max(number * (number - 1) // 2, 1)


def compare(runs: Sequence[Run], metric: str, name: str = "") -> tuple[Comparison, dict[Path, str]]:
    """Compare runs by a metric (see Run.metric), which at least one completed run has. Returns the comparison, and the
    completed runs that do not count with the reasons.
    """
    ordered, left_out = rank(runs, metric)
    ranked, bounds = [each for each in ordered if each.scores], ordered[0].bounds
    differences = [_differences(ranked[0], each) for each in ranked[1:]]
    overlaps = [max(ranked[0].overlap, each.overlap) for each in ranked[1:]]
    widest = bounds[1] - bounds[0]
    judged: list[Verdict | None] = [None] * len(ordered)
    judged[1 : len(ranked)] = verdicts(differences, count_pairs(len(ranked)), overlaps, (-widest, widest))
    keys = differing([each.values for each in ordered])
    return Comparison(name, metric, ordered[0].higher, ordered, judged, keys), left_out


def rank(runs: Sequence[Run], metric: str) -> tuple[list[Configuration], dict[Path, str]]:
    """The configurations of these runs, the best mean first, with lost seeds counted as the worst score of any run; and
    the completed runs that do not count with the reasons.
    """
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.configuration_name, []).append(run)
    higher, bounds = higher_is_better(metric), value_range(metric)
    measured = [run.metric(metric) for run in runs if run.status in ("completed", "pruned")]
    finite = [score for score in measured if isfinite(score)]
    if any(limited((score, score), bounds) != (score, score) for score in finite):
        bounds = (-inf, inf)  # of a user's loss
    parts = [_configuration(group, metric, higher, bounds) for group in grouped.values()]
    left_out = {folder: reason for _, reasons in parts for folder, reason in reasons.items()}
    worst = (min if higher else max)(finite, default=nan)
    ranked = [each for each, _ in parts if each.scores]
    ranked.sort(key=lambda each: each.mean_at_worst(worst), reverse=higher)
    return [*ranked, *(each for each, _ in parts if not each.scores)], left_out


def _configuration(
    runs: Sequence[Run], metric: str, higher: bool, bounds: Interval
) -> tuple[Configuration, dict[Path, str]]:
    """The configuration of these runs, and the completed runs that do not count with the reasons."""
    left_out: dict[Path, str] = {}
    completed: dict[Repetition, Run] = {}
    scores: dict[Repetition, float] = {}
    for run in runs:
        if run.status != "completed":
            continue
        if not isfinite(score := run.metric(metric)):
            left_out[run.folder] = f"it has no {metric}"
            continue
        if (key := run.repetition) in completed:  # a seed that ran twice counts once
            left_out[completed[key].folder] = "its configuration and seed were run again"
        completed[key], scores[key] = run, score
    return Configuration(configuration(runs[0].values), runs, completed, scores, higher, bounds), left_out


def _differences(leader: Configuration, other: Configuration) -> list[float]:
    """The differences of scores on common seeds and folds, positive where the leader is better."""
    sign = 1 if leader.higher else -1
    return [sign * (leader.scores[each] - other.scores[each]) for each in sorted(leader.scores.keys() & other.scores)]


def differing(values: Sequence[Scalars]) -> list[str]:
    """The keys that distinguish configurations. Omits a key that the choice of its group determines, such as momentum
    if it comes with optimizer=sgd. If only some keys of a configuration are known, only these count.
    """
    most = max(map(len, values), default=0)
    keys = list(dict.fromkeys(key for each in values for key in each))
    differ = []
    for key in keys:
        group = key.partition(".")[0]
        chosen: dict[Any, set[Any]] = {}
        for each in values:
            if key in each:
                chosen.setdefault(each.get(group) if group != key else None, set()).add(each[key])
        if any(len(seen) > 1 for seen in chosen.values()):
            differ.append(key)
    if most and not differ and len(values) > 1:  # they differ only in which keys are known
        differ = [key for key in keys if any(key not in each for each in values)]
    return differ
