"""Statistics for a few seeds: confidence intervals, verdicts on paired differences, and how many seeds are needed.

`overlap` is for scores whose training sets overlap, as those of the folds of a cross-validation do: the ratio of the
validated to the training examples, 1 / (folds - 1). The variance of a mean of n scores is estimated as 1 / n + overlap
times the variance of a score, in place of 1 / n times (Nadeau & Bengio 2003, "Inference for the generalization error",
doi:10.1023/A:1024068626366), as more scores of the same examples do not make a mean any more certain.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf, log2, nan, sqrt

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 9999
POWER = 0.8
MOST_SEEDS = 1000  # more is not realistic
LARGEST_EFFECT = 50.0  # standard deviations; above it the series in SciPy do not converge, and few seeds are enough
NO_SPREAD = 1e-9  # relative to the values; what rounding leaves of equal differences

Interval = tuple[float, float]


def unit(overlap: float) -> str:
    """What each score is of: a run, of some seed and fold, or a seed."""
    return "run" if overlap else "seed"


def student(values: Sequence[float], confidence: float = CONFIDENCE, overlap: float = 0.0) -> Interval:
    """Student's t interval of the mean; nan with fewer than two values."""
    from scipy import stats

    if len(values) < 2:
        return nan, nan
    if _no_spread(values):
        return float(np.mean(values)), float(np.mean(values))
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    return _widened((float(low), float(high)), values, overlap)


def _widened(ends: Interval, values: Sequence[float], overlap: float) -> Interval:
    """An interval of the mean of independent values, for values that overlap."""
    mean, factor = float(np.mean(values)), sqrt(1 + len(values) * overlap)
    return (mean + factor * (ends[0] - mean), mean + factor * (ends[1] - mean)) if overlap else ends


def resampled(values: Sequence[float]) -> NDArray[np.float64]:
    """The means of resamples with replacement (Efron 1979), with a fixed seed."""
    from scipy import stats

    found = stats.bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0)
    return np.asarray(found.bootstrap_distribution)


def bootstrap(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The percentile bootstrap interval of the mean; nan with fewer than two values."""
    if len(values) < 2:
        return nan, nan
    outside = int(RESAMPLES * (1 - confidence) / 2)  # of the means, on each side
    means = np.partition(resampled(values), [outside, RESAMPLES - 1 - outside])
    return float(means[outside]), float(means[-1 - outside])


def wider(values: Sequence[float], confidence: float = CONFIDENCE, overlap: float = 0.0) -> Interval:
    """The smallest interval that contains both Student's t interval and the bootstrap interval.

    With few values, the bootstrap interval alone is too narrow, by half with 3 seeds: it lacks a factor of
    sqrt(n / (n - 1)) and has a normal quantile in place of t's (Hesterberg 2015, arXiv:1411.5279). Student's t ignores
    skewness, which the bootstrap sees.
    """
    if len(values) < 2 or _no_spread(values):
        return student(values)
    lows, highs = zip(student(values, confidence), bootstrap(values, confidence), strict=True)
    return _widened((min(lows), max(highs)), values, overlap)


@dataclass(frozen=True)
class Verdict:
    """A conclusion from the paired `differences` between the leader and another configuration, one per common seed (and
    fold).

    `p` is corrected for multiple comparisons, and so is the `confidence` of the interval of the mean. `bounds` are of a
    difference, and `threshold` is that of a p-value if this one more is to be significant.
    """

    differences: Sequence[float]
    p: float
    confidence: float
    threshold: float
    overlap: float
    bounds: Interval

    @cached_property
    def interval(self) -> Interval:
        """The interval of the mean; nan if it is unknown, as of equal differences that are too few."""
        if not self.is_significant and _no_spread(self.differences):
            return nan, nan
        return limited(wider(self.differences, self.confidence, self.overlap), self.bounds)

    @property
    def is_significant(self) -> bool:
        return self.p <= 1 - CONFIDENCE

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies above or below 0, else 0."""
        return int(self.interval[0] > 0) - int(self.interval[1] < 0) if self.is_significant else 0

    @cached_property
    def more(self) -> int | None:
        """How many more seeds may settle it; None if it is settled, unknown, or above MOST_SEEDS."""
        return None if self.sign else _more(self.differences, self.threshold, self.overlap)

    @property
    def seeds(self) -> int:
        return len(self.differences)

    @property
    def mean(self) -> float:
        return float(np.mean(self.differences)) if self.differences else nan


def p_value(differences: Sequence[float], overlap: float = 0.0) -> float:
    """The p-value of a two-sided paired test, for which both Student's t and the bootstrap have to reject; 1 with fewer
    than two differences. It is below 1 - confidence where the interval `wider` excludes 0.

    Equal differences, as of an accuracy on few examples, have no spread to test against. Their p-value is that of the
    sign test: under the null hypothesis, n signs agree with probability 2^(1 - n). Differences that overlap count as
    the number of independent ones whose mean has the same variance.
    """
    from scipy import special, stats

    if len(differences) < 2 or not any(differences):
        return 1.0
    if _no_spread(differences):
        return min(1.0, 2.0 ** (1 - 1 / (1 / len(differences) + overlap)))
    test = stats.ttest_1samp(differences, 0.0)
    p = float(2 * special.stdtr(test.df, -abs(test.statistic) / sqrt(1 + len(differences) * overlap)))
    if p > 1 - CONFIDENCE:
        return p  # the bootstrap could only make it larger
    means, mean = resampled(differences), np.mean(differences)
    zero = mean - mean / sqrt(1 + len(differences) * overlap)  # where 0 is after widening
    return max(p, 2 * min(float(np.mean(means <= zero)), float(np.mean(means >= zero))))


def _no_spread(values: Sequence[float]) -> bool:
    return len(values) > 0 and float(np.ptp(values)) <= NO_SPREAD * float(np.max(np.abs(values)))


def verdicts(
    differences: Sequence[Sequence[float]],
    pairs: int,
    overlaps: Sequence[float] | None = None,
    bounds: Interval = (-inf, inf),
) -> list[Verdict]:
    """Judge the leader's differences from each other configuration, with the overlap of each, given the number of
    `pairs` of configurations, and between which `bounds` a difference can be.

    The correction of Benjamini & Hochberg (1995) keeps the expected share of wrong verdicts below 5 %. It counts all
    pairs, not only the leader's, because the same scores chose the leader: without it, the best of eight equal
    configurations would beat another in 45 % of sweeps with five seeds. If it finds R differences significant, the
    confidence of each interval is 1 - 5 % * R / pairs (R is at least 1; Benjamini & Yekutieli 2005,
    doi:10.1198/016214504000001907). So an interval excludes 0 where the corrected p-value is at most 5 %, and the
    intervals of significant differences contain the true ones in 95 % of cases.
    """
    from scipy import stats

    overlaps = overlaps or [0.0] * len(differences)
    raw = [p_value(each, overlap) for each, overlap in zip(differences, overlaps, strict=True)]
    corrected = stats.false_discovery_control([*raw, *[1.0] * (pairs - len(raw))])[: len(raw)]
    found = int(np.count_nonzero(corrected <= 1 - CONFIDENCE))
    confidence = 1 - (1 - CONFIDENCE) * max(found, 1) / pairs
    threshold = (1 - CONFIDENCE) * min((found + 1) / pairs, 1)
    return [
        Verdict(each, float(p), confidence, threshold, overlap, bounds)
        for each, overlap, p in zip(differences, overlaps, corrected, strict=True)
    ]


def limited(interval: Interval, bounds: Interval) -> Interval:
    """The part of an interval that lies within bounds."""
    low, high = np.clip(interval, *bounds).tolist()
    return low, high


def _more(differences: Sequence[float], level: float, overlap: float) -> int | None:
    """How many more differences like these a test at `level` needs, at least 1; None if that is unknown."""
    number = len(differences)
    if number < 2 or not any(differences):
        return None
    if _no_spread(differences):
        spare = 1 / (1 - log2(level)) - overlap
        return max(ceil(1 / spare) - number, 1) if spare > 1 / MOST_SEEDS else None
    effect = abs(float(np.mean(differences))) / float(np.std(differences, ddof=1))
    needed = seeds_needed(effect, 1 - level, overlap=overlap)
    return None if needed is None else max(needed - number, 1)


def seeds_needed(
    effect: float, confidence: float = CONFIDENCE, power: float = POWER, overlap: float = 0.0
) -> int | None:
    """The least number of pairs with which a paired t test detects a difference of `effect` standard deviations (of
    the differences) with probability `power`; None above MOST_SEEDS.

    The test statistic has a noncentral t distribution with noncentrality effect * sqrt(n) (Cohen 1988, chapter 2), or
    effect / sqrt(1 / n + overlap).
    `effect` is an estimate from few seeds, so the result is only a rough guide (Hoenig & Heisey 2001).
    """
    from scipy import special

    def detects(number: int) -> bool:
        threshold = -special.stdtrit(number - 1, (1 - confidence) / 2)
        noncentrality = min(effect, LARGEST_EFFECT) * sqrt(number / (1 + number * overlap))
        return bool(special.nctdtr(number - 1, noncentrality, threshold) <= 1 - power)

    numbers = range(2, MOST_SEEDS + 1)
    place = bisect_left(numbers, True, key=detects)  # the power grows with the number
    return numbers[place] if place < len(numbers) else None
