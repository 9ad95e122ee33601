"""What a few seeds can tell: intervals of a mean and of a paired difference, a verdict, and how many seeds it takes."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2, nan, sqrt

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 9999
POWER = 0.8
MOST_SEEDS = 1000  # nobody trains more for one comparison
LARGEST_EFFECT = 50.0  # standard deviations; above, SciPy's series do not converge, and a handful of seeds is enough
NO_SPREAD = 1e-9  # of the values: what rounding leaves of differences that are equal


def student(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's t interval of the mean; not a number with fewer than two values."""
    from scipy import stats

    if len(values) < 2:
        return nan, nan
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / sqrt(len(values))
    reach = float(stats.t.isf((1 - confidence) / 2, len(values) - 1)) * error
    return mean - reach, mean + reach


@lru_cache(maxsize=64)
def _resamples(number: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(number, size=(RESAMPLES, number))


def bootstrap(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean, always from the same resamples (Efron 1979)."""
    if len(values) < 2:
        return nan, nan
    means = np.asarray(values, dtype=np.float64)[_resamples(len(values))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def wider(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """From the lower end of Student's t and the bootstrap to the higher one.

    The bootstrap of n values is too narrow by sqrt((n - 1) / n) and a normal quantile in place of t's, by half with 3
    seeds (Hesterberg 2015, arXiv:1411.5279), and t knows nothing of skew: what both leave out is left out.
    """
    both = student(values, confidence), bootstrap(values, confidence)
    return min(low for low, _ in both), max(high for _, high in both)


@dataclass(frozen=True)
class Verdict:
    """What `seeds` paired differences say: their mean with its interval, which is of this comparison by itself, and the
    p-value among all. `sign` is 1 or -1 where they differ from 0 by more than chance, else 0; `more` is how many more
    seeds might settle it: None where that cannot be told, or is more than MOST_SEEDS.
    """

    seeds: int
    mean: float
    low: float
    high: float
    p: float
    sign: int
    more: int | None


def p_value(differences: Sequence[float]) -> float:
    """Of a paired t test, two-sided; 1 with fewer than two differences, by which nothing can be said.

    Differences that are all the same leave no spread to judge by, as those of an accuracy that counts few examples:
    they are judged by their sign, which chance alone makes all equal in 2^(1 - n) of cases.
    """
    from scipy import stats

    if len(differences) < 2 or not any(differences):
        return 1.0
    if _no_spread(differences):
        return float(2.0 ** (1 - len(differences)))
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _no_spread(differences: Sequence[float]) -> bool:
    return float(np.ptp(differences)) <= NO_SPREAD * float(np.max(np.abs(differences)))


def verdicts(differences: Sequence[Sequence[float]], pairs: int) -> list[Verdict]:
    """Judge the leader's differences from each other, where it was chosen, by the same numbers, among so many `pairs`.

    What is said to differ does so by the t test, its p-value corrected so that 5 % of such verdicts are wrong at most
    (Benjamini & Hochberg 1995) when all pairs are counted and not just the leader's, and by the interval. Were it not
    corrected, the best of eight equal configurations would lead another in 45 % of sweeps with five seeds.
    """
    from scipy import stats

    raw = [p_value(each) for each in differences]
    corrected = stats.false_discovery_control([*raw, *[1.0] * (pairs - len(raw))])[: len(raw)]
    intervals = [wider(each) for each in differences]
    differ = [p <= 1 - CONFIDENCE and not low <= 0 <= high for p, (low, high) in zip(corrected, intervals, strict=True)]
    level = (1 - CONFIDENCE) * min((sum(differ) + 1) / pairs, 1)  # what one more would be held to
    return [
        Verdict(
            seeds=len(each),
            mean=(mean := float(np.mean(each)) if each else nan),
            low=low,
            high=high,
            p=float(p),
            sign=int(np.sign(mean)) if settled else 0,
            more=None if settled else _more(each, level),
        )
        for each, (low, high), p, settled in zip(differences, intervals, corrected, differ, strict=True)
    ]


def _more(differences: Sequence[float], level: float) -> int | None:
    """How many more differences like these a test at `level` needs, at least 1; None where that cannot be told."""
    number = len(differences)
    if number < 2 or not any(differences):
        return None
    if _no_spread(differences):
        needed: int | None = ceil(1 - log2(level))
    else:
        effect = abs(float(np.mean(differences))) / float(np.std(differences, ddof=1))
        needed = seeds_needed(effect, 1 - level)
    return None if needed is None else max(needed - number, 1)


def seeds_needed(effect: float, confidence: float = CONFIDENCE, power: float = POWER) -> int | None:
    """The least number of pairs at which a paired t test finds a difference of `effect` standard deviations (of the
    differences) with probability `power`; None above MOST_SEEDS.

    The test's statistic has a noncentral t distribution about effect * sqrt(n) (Cohen 1988, chapter 2). `effect` is
    itself estimated from few seeds, so that the number is a rough guide and no promise (Hoenig & Heisey 2001).
    """
    from scipy import special

    def finds(number: int) -> bool:
        threshold = -special.stdtrit(number - 1, (1 - confidence) / 2)
        middle = min(effect, LARGEST_EFFECT) * sqrt(number)
        return bool(special.nctdtr(number - 1, middle, threshold) <= 1 - power)

    numbers = range(2, MOST_SEEDS + 1)
    place = bisect_left(numbers, True, key=finds)  # more seeds find it more often
    return numbers[place] if place < len(numbers) else None
