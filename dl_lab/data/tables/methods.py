"""Four ways to take rows of a table for a split, and to deal rows into folds."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.progress import announce
from dl_lab.data.tables import division
from dl_lab.data.tables.division import Mask, Whole


class Method(NamedTuple):
    """`take` marks about `count` of rows (row,) as taken, and leaves enough rows for `leave` parts; `deal` gives the
    number of the fold of each row.
    """

    take: Callable[[Whole, int, int], Mask]
    deal: Callable[[Whole, int], Whole]


in_order = Method(
    lambda rows, count, leave: division.take_last(len(rows), count),
    lambda rows, folds: division.deal_in_order(len(rows), folds),
)


def by_class(classes: Whole) -> Method:
    return Method(
        lambda rows, count, leave: division.take_by_class(classes[rows], count, leave),
        lambda rows, folds: division.deal_by_class(classes[rows], folds),
    )


def by_time(name: str | None, times: NDArray[np.float64]) -> Method:
    """The last rows, of rows that are sorted by time. Rows of one time stay together: the cut between two times that
    is nearest to `count` is used, and printed if it is another one.
    """

    def take(rows: Whole, count: int, leave: int) -> Mask:
        cuts = np.flatnonzero(np.diff(times[rows]))[leave - 1 :] + 1
        if not len(cuts):
            raise ConfigError(
                f"dataset.time={name} has too few distinct values; allowed: one for each split, as rows of one "
                "time stay together"
            )
        cut = int(cuts[np.abs(cuts - (len(rows) - count)).argmin()])
        if (taken := len(rows) - cut) != count:
            announce(
                f"dataset.time={name}: {counted(taken, 'row is', 'rows are')} held out, not {count}, as rows of one "
                "time stay together"
            )
        return division.take_last(len(rows), taken)

    return Method(take, in_order.deal)


def by_group(name: str | None, groups: Whole, classes: Whole | None) -> Method:
    """Whole groups; `groups` (row,) are numbers in random order. With `classes` (row,), parts are alike in these."""

    def numbered(rows: Whole, least: int) -> Whole:
        present = np.bincount(groups[rows]) > 0
        if (values := present.sum()) < least:
            raise ConfigError(
                f"dataset.group={name} has {counted(values, 'value')} for {least} parts; allowed: one or more for each "
                "split and fold, as a group is in one of them"
            )
        numbers: Whole = (present.cumsum() - 1)[groups[rows]]
        return numbers

    def allotted(rows: Whole, numbers: Whole, shares: list[float]) -> Whole:
        part = division.allot_groups(numbers, np.zeros_like(rows) if classes is None else classes[rows], shares)
        if (np.bincount(part, minlength=len(shares)) == 0).any():
            raise ConfigError(
                f"dataset.stratify=true with dataset.group={name} leaves a split or fold without rows; allowed: false, "
                "as groups are not divided"
            )
        return part

    def take(rows: Whole, count: int, leave: int) -> Mask:
        numbers = numbered(rows, leave + 1)
        if classes is None:
            return division.take_by_group(numbers, count)
        return allotted(rows, numbers, [1 - count / len(rows), count / len(rows)]) == 1

    def deal(rows: Whole, folds: int) -> Whole:
        return allotted(rows, numbered(rows, folds), [1 / folds] * folds)

    return Method(take, deal)
