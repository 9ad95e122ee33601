"""The importance of each swept key for the scores of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dl_lab.analysis.comparison import Comparison

LEAST_RUNS = 12  # to fit a forest to


def columns(comparison: Comparison) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The runs that count as numbers (run, key), text as its rank, seed and fold last; and the scores (run,)."""
    rows = [(each, repetition) for each in comparison.ranked for repetition in each.scores]
    table = []
    for key in comparison.keys:
        texts = sorted({str(each.values.get(key)) for each in comparison.ranked})
        numeric = all(isinstance(each.values.get(key), int | float) for each in comparison.ranked)
        table.append(
            [float(each.values[key]) if numeric else texts.index(str(each.values.get(key))) for each, _ in rows]
        )
    chance = zip(*(repetition for _, repetition in rows), strict=True)
    table += [[float(number) for number in numbers] for numbers in chance][: len(_chance(comparison))]
    return np.array(table, dtype=np.float64).T, np.array([each.scores[repetition] for each, repetition in rows])


def _chance(comparison: Comparison) -> list[str]:
    """The keys in which the runs of one configuration differ."""
    return ["seed", "fold"] if comparison.overlap else ["seed"]


@dataclass(frozen=True)
class Importance:
    """How much R² falls when a key is shuffled: mean and standard deviation, by key. `fit` is the out-of-bag R²."""

    keys: Sequence[str]
    means: Sequence[float]
    deviations: Sequence[float]
    fit: float


def importance(comparison: Comparison) -> Importance | None:
    """The permutation importance of each key in a random forest fitted to the scores (Breiman 2001). The seed is one
    of the keys, as a measure of chance. None with fewer than two keys or LEAST_RUNS runs.

    Importance depends on the values that were tried: a wider range gives more. Hutter et al. (ICML 2014) analyze the
    same forest with functional ANOVA.
    """
    inputs, scores = columns(comparison)
    if len(comparison.keys) < 2 or len(scores) < LEAST_RUNS or not np.ptp(scores):
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(100, oob_score=True, max_features=0.7, random_state=0).fit(inputs, scores)
    found = permutation_importance(forest, inputs, scores, n_repeats=10, random_state=0)
    order = np.argsort(-found.importances_mean)
    keys = [*comparison.keys, *_chance(comparison)]
    return Importance(
        [keys[place] for place in order],
        found.importances_mean[order].tolist(),
        found.importances_std[order].tolist(),
        float(forest.oob_score_),
    )
