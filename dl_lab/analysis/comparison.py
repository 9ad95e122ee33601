"""Runs grouped by configuration, ranked by a metric, and each judged against the leader; numbers alone, no files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dl_lab.analysis.statistics import Verdict, student, verdicts
from dl_lab.core.errors import ConfigError, unknown
from dl_lab.data.spec import higher_is_better
from dl_lab.runs.identity import configuration
from dl_lab.runs.reader import NUMBERS, Run, Values

LEAST_RUNS = 12  # to fit what mattered
CUT_SHORT = ("diverged", "pruned")  # because of what they measured: the seeds that are left are the better ones


@dataclass(frozen=True)
class Configuration:
    """All runs of one configuration; `completed` are those that count, one a seed, with their `scores`."""

    values: Values
    runs: Sequence[Run]
    completed: Mapping[int, Run]
    scores: Mapping[int, float]
    higher: bool

    @property
    def mean(self) -> float:
        return fmean(self.scores.values()) if self.scores else nan

    @property
    def deviation(self) -> float:
        """The standard deviation over seeds; not a number for one."""
        return stdev(self.scores.values()) if len(self.scores) > 1 else nan

    @cached_property
    def interval(self) -> tuple[float, float]:
        return student(list(self.scores.values()))

    @property
    def best_seed(self) -> int:
        return (max if self.higher else min)(self.scores, key=lambda seed: self.scores[seed])

    @cached_property
    def lost(self) -> dict[int, str]:
        """The seeds of which no run counts and one diverged or was pruned, with that status."""
        return {run.seed: run.status for run in self.runs if run.status in CUT_SHORT and run.seed not in self.completed}

    def mean_at_worst(self, worst: float) -> float:
        """The mean as if each seed that is lost had the score `worst` (Lachin 1999, worst-rank score analysis)."""
        return fmean([*self.scores.values(), *[worst] * len(self.lost)])

    @property
    def seconds(self) -> float:
        """The mean of the runs that count."""
        return fmean(run.metric("seconds") for run in self.completed.values()) if self.completed else nan

    @property
    def others(self) -> dict[str, int]:
        """How many runs have not completed, by their status."""
        return dict(sorted(Counter(run.status for run in self.runs if run.status != "completed").items()))


@dataclass(frozen=True)
class Comparison:
    """Configurations, the best mean first, in which seeds that are lost count as the worst score measured, and those
    without any at the end; `verdicts` of the leader's difference from each, positive where the leader is better (None
    for the leader and for what has no mean).
    """

    metric: str
    higher: bool
    configurations: Sequence[Configuration]
    verdicts: Sequence[Verdict | None]
    keys: Sequence[str]

    @property
    def ranked(self) -> list[Configuration]:
        return [each for each in self.configurations if each.scores]

    @property
    def flattered(self) -> list[Configuration]:
        """Those whose mean is better than the leader's, of fewer of their seeds."""
        sign = 1 if self.higher else -1
        return [each for each in self.ranked[1:] if sign * each.mean > sign * self.ranked[0].mean]

    @property
    def pairs(self) -> int:
        """How many comparisons the leader was chosen by: of every configuration with every other."""
        return max(len(self.ranked) * (len(self.ranked) - 1) // 2, 1)

    def label(self, each: Configuration) -> str:
        """What tells it from the others, in few words."""
        return ", ".join(f"{self.short(key)} {shown(each.values.get(key))}" for key in self.keys) or "all runs"

    def short(self, key: str) -> str:
        """The last part of a key, where no other that differs ends so."""
        last = key.rpartition(".")[2]
        return last if sum(other.rpartition(".")[2] == last for other in self.keys) == 1 else key


def shown(value: object) -> str:
    """A value in four significant digits at most, as a table has it."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def default_metric(runs: Sequence[Run]) -> str:
    """What train.best chose the checkpoints by.

    Raises:
        ConfigError: if the runs did not all choose by the same.
    """
    names = sorted({f"val/{run.values['train.best']}" for run in runs if "train.best" in run.values})
    if len(names) != 1:
        allowed = " or ".join(f"metric={name}" for name in names) or "metric=val/loss"
        raise ConfigError(f"train.best is not one and the same in these runs; allowed: {allowed}, for all")
    return names[0]


def compare(runs: Sequence[Run], metric: str) -> tuple[Comparison, dict[Path, str]]:
    """Group, rank and judge; beside it the completed runs that do not count, and why.

    Raises:
        ConfigError: if no completed run has the metric.
    """
    left_out: dict[Path, str] = {}
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.configuration_name, []).append(run)
    higher = higher_is_better(metric)
    configurations = [_configuration(group, metric, higher, left_out) for group in grouped.values()]
    scored = [each for each in configurations if each.scores]
    judged = (run.metric(metric) for run in runs if run.status in ("completed", "pruned"))
    worst = (min if higher else max)(filter(isfinite, judged), default=nan)
    ranked = sorted(scored, key=lambda each: each.mean_at_worst(worst), reverse=higher)
    if not ranked:
        completed = [run for run in runs if run.status == "completed"]
        if not completed:
            ended = ", ".join(f"{number} {state}" for state, number in Counter(run.status for run in runs).items())
            raise ConfigError(f"none of {len(runs)} runs has completed ({ended}); allowed: one that has, or more")
        known = {name for run in completed for name in run.metric_names()}
        raise unknown("metric", metric, known | {f"train/{name.partition('/')[2]}" for name in known - set(NUMBERS)})
    ordered = [*ranked, *(each for each in configurations if not each.scores)]
    comparison = Comparison(metric, higher, ordered, (), differing([each.values for each in ordered]))
    found = verdicts([_differences(ranked[0], each) for each in ranked[1:]], comparison.pairs)
    told: list[Verdict | None] = [None, *found, *[None] * (len(ordered) - len(ranked))]
    return replace(comparison, verdicts=told), left_out


def _configuration(runs: Sequence[Run], metric: str, higher: bool, left_out: dict[Path, str]) -> Configuration:
    completed: dict[int, Run] = {}
    scores: dict[int, float] = {}
    for run in runs:
        if run.status != "completed":
            continue
        if not isfinite(score := run.metric(metric)):
            left_out[run.folder] = f"it has no {metric}"
            continue
        if run.seed in completed:  # a seed that ran twice is no second witness
            left_out[completed[run.seed].folder] = "its configuration and seed were run again"
        completed[run.seed], scores[run.seed] = run, score
    return Configuration(configuration(runs[0].values), runs, completed, scores, higher)


def _differences(leader: Configuration, other: Configuration) -> list[float]:
    """The leader's scores minus the other's, seed by seed, positive where the leader is better."""
    sign = 1 if leader.higher else -1
    return [sign * (leader.scores[seed] - other.scores[seed]) for seed in sorted(leader.scores.keys() & other.scores)]


def differing(values: Sequence[Values]) -> list[str]:
    """The keys that tell configurations apart. A key that a group's choice decides, as the momentum that comes with
    optimizer=sgd, is left out; a configuration that is known in part differs in what is known of it.
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
    if most and not differ and len(values) > 1:  # nothing but the extent of what is known
        differ = [key for key in keys if any(key not in each for each in values)]
    return differ


def columns(comparison: Comparison) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every run that counts as numbers (run, key), of text its rank, the seed last; and its score (run,)."""
    rows = [(each, seed) for each in comparison.ranked for seed in each.scores]
    table = []
    for key in comparison.keys:
        texts = sorted({str(each.values.get(key)) for each in comparison.ranked})
        numeric = all(isinstance(each.values.get(key), int | float) for each in comparison.ranked)
        table.append(
            [float(each.values[key]) if numeric else texts.index(str(each.values.get(key))) for each, _ in rows]
        )
    table.append([float(seed) for _, seed in rows])
    return np.array(table, dtype=np.float64).T, np.array([each.scores[seed] for each, seed in rows])


@dataclass(frozen=True)
class Importance:
    """By key, mean and standard deviation of what R² falls by when the key is shuffled; `fit` is R² out of bag."""

    keys: Sequence[str]
    means: Sequence[float]
    deviations: Sequence[float]
    fit: float


def importance(comparison: Comparison) -> Importance | None:
    """Which key mattered most: a random forest is fitted to the scores, and each key shuffled in turn (Breiman 2001);
    the seed among them, as a measure of what chance makes. None with fewer than two keys or LEAST_RUNS runs.

    What matters within the values that were tried: twice the range is more importance. Hutter et al. (ICML 2014) take
    the same forest apart by functional ANOVA.
    """
    inputs, scores = columns(comparison)
    if len(comparison.keys) < 2 or len(scores) < LEAST_RUNS or not np.ptp(scores):
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(100, oob_score=True, max_features=0.7, random_state=0).fit(inputs, scores)
    found = permutation_importance(forest, inputs, scores, n_repeats=10, random_state=0)
    order = np.argsort(-found.importances_mean)
    keys = [*comparison.keys, "seed"]
    return Importance(
        [keys[place] for place in order],
        found.importances_mean[order].tolist(),
        found.importances_std[order].tolist(),
        float(forest.oob_score_),
    )
