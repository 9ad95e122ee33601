"""95 % intervals of metrics on a test split, for the examples that it might have had instead. The weights of the model
are given: the spread over seeds is another matter, see `compare`. In NumPy, because scipy.stats takes as long to import
as a small model takes to train.
"""

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import numpy as np

from dl_lab.training.tasks.scores import Floats

Interval = tuple[float, float]

LEVEL = 0.95
RESAMPLES = 2000
LEAST_UNITS = 20  # of fewer, the bootstrap's intervals are too narrow or absurd
MOST_UNITS = 1000  # more examples are bootstrapped in groups, each at random: the sums of groups vary as much
SEED = 0


def wilson(successes: float, number: int) -> Interval:
    """The interval of a proportion of `number` independent examples (Wilson 1927, doi:10.2307/2276774)."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, scale = successes / number, 1 + z * z / number
    center, half = share + z * z / (2 * number), z * sqrt((share * (1 - share) + z * z / (4 * number)) / number)
    low, high = (center - half) / scale, (center + half) / scale
    return low if successes > 0 else 0.0, high if successes < number else 1.0


def bootstrap(rows: Floats, metric: Callable[[Floats], Floats]) -> Interval | None:
    """The percentile interval (Efron 1979, doi:10.1214/aos/1176344552) of a metric of sums over independent units, such
    as examples: `rows` are (unit, column), and `metric` maps sums (resample, column) to values (resample,). None for
    few units, or if the metric is not defined in many resamples.
    """
    if len(rows) < LEAST_UNITS:
        return None
    generator = np.random.default_rng(SEED)
    if len(rows) > MOST_UNITS:
        groups = generator.permutation(len(rows)) % MOST_UNITS
        rows = np.stack([np.bincount(groups, column, MOST_UNITS) for column in rows.T], axis=1)
    units = len(rows)
    chosen = generator.integers(units, size=(RESAMPLES, units)) + units * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=RESAMPLES * units).reshape(RESAMPLES, units)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = metric(counts @ rows)
    values = values[np.isfinite(values)]
    if len(values) < (1 + LEVEL) / 2 * RESAMPLES:
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_interval(values: Floats, weights: Floats) -> Interval | None:
    """The interval of the sum of `values` (unit,) divided by that of `weights` (unit,)."""
    return bootstrap(np.stack([values, weights], axis=1), lambda sums: sums[:, 0] / sums[:, 1])


def proportion_interval(successes: Floats, weights: Floats | None) -> Interval | None:
    """The interval of the weighted mean of `successes` (example,), which are 0 or 1; Wilson's without weights."""
    if weights is None:
        return wilson(float(successes.sum()), len(successes))
    return mean_interval(successes * weights, weights)


def r2_interval(errors: Floats, targets: Floats, weights: Floats) -> Interval | None:
    """The interval of r2, the mean over targets; errors and targets are (example, target), weights (example,)."""
    weight = weights[:, None]
    centered = targets - (targets * weight).sum(0) / weight.sum()
    rows = np.concatenate([weight, weight * errors**2, weight * centered, weight * centered**2], axis=1)

    def r2(sums: Floats) -> Floats:
        total, (squared, first, second) = sums[:, :1], np.split(sums[:, 1:], 3, axis=1)
        values: Floats = (1 - squared / (second - first**2 / total)).mean(axis=1)
        return values

    return bootstrap(rows, r2)
