"""Take rows of a table for a split, and deal rows into folds: as they come, by class, or by group.

Each `take_*` returns a mask (row,) of about `count` rows; each `deal_*` returns the number of the fold of each row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]  # indices of rows
Whole = NDArray[np.int64]  # a whole number for each row, such as its class

FREE = 100  # groups beside those that are taken as they come; enough to meet any size


def take_last(rows: int, count: int) -> Mask:
    return np.arange(rows) >= rows - count


def deal_in_order(rows: int, folds: int) -> Whole:
    """Blocks of rows, of sizes that are equal up to one, as scikit-learn's KFold."""
    return np.repeat(np.arange(folds), [len(part) for part in np.array_split(np.arange(rows), folds)])


def take_by_class(classes: Whole, count: int, leave: int) -> Mask:
    """The last rows of each class, in proportion by largest remainder (scikit-learn's StratifiedShuffleSplit), but at
    least one of each class, and at most all but `leave`.

    It is possible if each class has more than `leave` rows, and `count` is at least the number of classes.
    """
    sizes = np.bincount(classes)
    least, most = np.minimum(sizes, 1), np.maximum(sizes - leave, 0)
    taken = np.clip(count * sizes // len(classes), least, most)
    while (missing := count - int(taken.sum())) != 0:
        remainder = count * sizes - taken * len(classes)  # whole numbers, which no rounding changes
        if missing > 0:
            taken[np.where(taken < most, remainder, -np.inf).argmax()] += 1
        else:
            taken[np.where(taken > least, remainder, np.inf).argmin()] -= 1
    return _place_in_class(classes) >= (sizes - taken)[classes]


def deal_by_class(classes: Whole, folds: int) -> Whole:
    """Folds whose sizes are equal up to one, and so are the rows of each class in them (StratifiedKFold)."""
    fold = np.empty(len(classes), dtype=np.int64)
    fold[_by_class(classes)] = np.arange(len(classes)) % folds
    return fold


def _by_class(classes: Whole) -> Whole:
    """The rows class by class. NumPy sorts small integers in linear time."""
    return (classes.astype(np.uint16) if classes.max() < 2**16 else classes).argsort(kind="stable")


def _place_in_class(classes: Whole) -> Whole:
    """The number of earlier rows of the same class, for each row."""
    sizes, place = np.bincount(classes), np.empty(len(classes), dtype=np.int64)
    place[_by_class(classes)] = np.arange(len(classes)) - np.repeat(sizes.cumsum() - sizes, sizes)
    return place


def take_by_group(groups: Whole, count: int) -> Mask:
    """Whole groups, with as nearly `count` rows as possible. `groups` are numbers from 0, in random order, of which
    earlier ones are preferred. At least one group is taken and one is left.
    """
    sizes = np.bincount(groups)
    is_taken = np.zeros(len(sizes), dtype=np.bool_)
    is_taken[nearest_sum(sizes, count)] = True
    return is_taken[groups]


def nearest_sum(sizes: Whole, target: int) -> Whole:
    """The indices of some but not all of `sizes` (group,) whose sum is as near as possible to `target`, at least 1.

    Dynamic programming over the sums that can be reached: `via` is the group that first reached a sum, so that the
    groups before it reach the rest. Of very many groups, the first ones are taken as they come.
    """
    head = max(0, int(sizes.cumsum().searchsorted(target)) - FREE)
    rest = target - int(sizes[:head].sum())
    most = min(max(2 * rest, int(sizes.min())), int(sizes[head:].sum()) - 1)
    via = np.full(most + 1, -1)
    via[0] = len(sizes)
    for number in range(head, len(sizes)):
        size = int(sizes[number])
        if size <= most:
            reached = via[size:]
            reached[(via[: most + 1 - size] >= 0) & (reached < 0)] = number
        if rest <= most and via[rest] >= 0:
            break
    sums = np.flatnonzero(via >= 0)[0 if head else 1 :]
    total = int(sums[np.abs(sums - rest).argmin()])
    chosen = list(range(head))
    while total:
        chosen.append(int(via[total]))
        total -= int(sizes[via[total]])
    return np.array(chosen)


def allot_groups(groups: Whole, classes: Whole, shares: Sequence[float]) -> Whole:
    """Divide whole groups into parts with these `shares` (part,) of the rows of every class; returns the part of each
    row. Groups are allotted one by one, the largest first, each to the part that then comes nearest to its shares.
    """
    shape = groups.max() + 1, classes.max() + 1
    counts = np.bincount(np.ravel_multi_index((groups, classes), shape), minlength=shape[0] * shape[1]).reshape(shape)
    counts = counts / np.maximum(counts.sum(axis=0), 1)  # (group, class); each class counts the same
    lacking = np.outer(shares, np.ones(counts.shape[1]))  # (part, class)
    part = np.empty(len(counts), dtype=np.int64)
    for group in (-counts.sum(axis=1)).argsort(kind="stable"):
        part[group] = (lacking @ counts[group]).argmax()
        lacking[part[group]] -= counts[group]
    return part[groups]
