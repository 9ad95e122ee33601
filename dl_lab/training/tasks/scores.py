"""Metrics of a whole split, in NumPy, as scikit-learn computes them: importing that would take longer than training on
a small table.
"""

from math import nan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]

BINS = 15  # of equal width, for the expected calibration error (Guo et al. 2017, arXiv:1706.04599)
TOP = 5


def auroc_and_precision(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[float, float]:
    """The area under the ROC curve and the average precision of scores (example,). Equal scores share a threshold.
    Without positive or negative examples the first is not defined (nan); without positive ones the second is 0.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]).nonzero()[0], len(order) - 1)
    true = np.cumsum(np.where(positive, weights, 0.0)[order])[ends]
    false = np.cumsum(np.where(positive, 0.0, weights)[order])[ends]
    if true[-1] == 0:
        return nan, 0.0
    chosen = true + false
    precision = np.divide(true, chosen, out=np.zeros_like(true), where=chosen > 0)
    average_precision = np.diff(true, prepend=0.0) @ precision / true[-1]
    if false[-1] == 0:
        return nan, float(average_precision)
    heights = true + np.append(0.0, true[:-1])
    return float(np.diff(false, prepend=0.0) @ heights / (2 * true[-1] * false[-1])), float(average_precision)


def log_loss(probabilities: Floats, classes: Classes, weights: Floats) -> float:
    """The mean nats of the true classes (example,), of probabilities that are at least the rounding of float64."""
    least = np.finfo(np.float64).eps
    true = probabilities[np.arange(len(classes)), classes].clip(least, 1 - least)
    return float(-np.average(np.log(true), weights=weights))


def top_accuracy(scores: Floats, classes: Classes, weights: Floats) -> float:
    """The share of examples whose true class is among the TOP largest scores. Of equal ones, the last is first."""
    true = scores[np.arange(len(classes)), classes][:, None]
    later = np.arange(scores.shape[1]) > classes[:, None]
    before = ((scores > true) | ((scores == true) & later)).sum(1)
    return float(np.average(before < TOP, weights=weights))


def confusion(classes: Classes, predicted: Classes, weights: Floats, number: int) -> Floats:
    """The weight of the examples of each pair of classes (true, predicted)."""
    counts: Floats = np.zeros((number, number))
    np.add.at(counts, (classes, predicted), weights)
    return counts


def calibration(probabilities: Floats, classes: Classes, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """For each bin of confidence, the probability of the predicted class: the share of the examples, the mean
    confidence and the accuracy; the last two are 0 in an empty bin.
    """
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == classes
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence)
    sums = [np.bincount(bins, weights * values, BINS) for values in (np.ones(len(bins)), confidence, hits)]
    filled = np.where(sums[0] > 0, sums[0], 1.0)
    return sums[0] / weights.sum(), sums[1] / filled, sums[2] / filled


def median(values: Floats, weights: Floats | None) -> float:
    """The median of values (example,), or the value at half of the weights; between two values their mean."""
    if weights is None:
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    below = np.cumsum(weights[order])
    if len(order) == 0:
        return nan
    place = int(np.searchsorted(below, below[-1] / 2))
    following = place + (below[place] - below[-1] / 2 <= np.finfo(np.float64).eps and place + 1 < len(order))
    return float(values[order[[place, following]]].mean())
