"""Training, validation and test rows of a table: by seed, class, group, time, or a column that names the split.

Rows that a column (or a file of their own) assigns to a split stay there. All others are divided: first the test rows
are taken, then the validation rows, or one of several folds; the rest are the training rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dl_lab.core import rng
from dl_lab.core.errors import ConfigError, counted, require, unknown
from dl_lab.core.progress import announce
from dl_lab.data.partition import held_out
from dl_lab.data.tables import methods
from dl_lab.data.tables.division import Rows, Whole
from dl_lab.data.tables.folds import FoldConfig, check_folds
from dl_lab.data.tables.methods import Method

TRAIN, VALIDATION, TEST = range(3)
MORE = "hint: add rows, or set dataset.validation=0 to validate on the training rows"
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
}


class Parts(NamedTuple):
    """The indices of the rows of each split."""

    train: Rows
    validation: Rows
    test: Rows


class PartitionConfig(FoldConfig):
    """`split`, `group` and `time` name columns. Rows of one group, or of one time, stay in one split. The last rows by
    time are the test split. `stratify` gives each split its share of every class; null: if every class has enough rows.
    """

    split: str | None
    group: str | None
    time: str | None
    stratify: bool | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time is not None:
            for key, value in (("group", self.group), ("folds", self.folds), ("stratify", self.stratify or None)):
                other = f"null with dataset.time={self.time}, which decides by the time only"
                require(value is None, f"dataset.{key}", value, other)
        if not self.shuffle:
            for key, value in (("group", self.group), ("stratify", self.stratify or None)):
                allowed = "null with dataset.shuffle=false, which keeps the order"
                require(value is None, f"dataset.{key}", value, allowed)


def partition(
    config: PartitionConfig,
    rows: int,
    seed: int,
    *,
    classes: Whole | None = None,
    labels: Sequence[str] = (),
    groups: Whole | None = None,
    times: NDArray[np.float64] | None = None,
    assigned: Sequence[str | None] | None = None,
) -> Parts:
    """Divide the rows of a table. Each row is in one split, but with validation=0 the training rows validate too.

    All arguments are per row: the number of its class, with `labels` for messages; of its group, or -1 if the table
    has none; its time, or nan; and the word that assigns it to a split, or None.

    Raises:
        ConfigError: if the rows cannot be divided in this way.
    """
    of_row = assigned_splits(config, assigned, rows)
    free, validation, test = (np.flatnonzero(of_row == split) for split in (TRAIN, VALIDATION, TEST))
    sizes = _sizes(config, len(free), len(validation), len(test))
    random = rng.generator(seed, "split")
    order = torch.randperm(len(free), generator=random).numpy() if config.shuffle else np.arange(len(free))
    method = methods.in_order
    if times is not None:
        _refuse_missing("time", config.time, np.isnan(times))
        order, method = times[free].argsort(kind="stable"), methods.by_time(config.time, times)
    elif groups is not None:
        _refuse_missing("group", config.group, groups < 0)
        ranks = torch.randperm(int(groups.max()) + 1, generator=random).numpy()[groups]
        method = methods.by_group(config.group, ranks, _classes(config, classes) if config.stratify else None)
    elif _is_stratified(config, classes, labels, free, sizes):
        method = methods.by_class(_classes(config, classes))

    found = _cut(config, method, free[order], (validation, test), sizes)
    if groups is not None:
        _check_groups(config, found, groups, classes, labels)
    return found


def _cut(config: FoldConfig, method: Method, rows: Rows, assigned: tuple[Rows, Rows], sizes: tuple[int, int]) -> Parts:
    """Take test rows from these rows, then validation rows or a fold, beside the rows `assigned` to these splits."""
    train, (validation, test), (for_validation, for_test) = rows, assigned, sizes
    if for_test:
        held = method.take(train, for_test, config.folds or 1 + (for_validation > 0))
        train, test = train[~held], train[held]
    if config.folds:
        held = method.deal(train, config.folds) == config.fold
        train, validation = train[~held], train[held]
    elif for_validation:
        held = method.take(train, for_validation, 1)
        train, validation = train[~held], train[held]
    return Parts(train, validation if len(validation) else train, test)


def assigned_splits(config: PartitionConfig, assigned: Sequence[str | None] | None, rows: int) -> Whole:
    """The split that each row (row,) is assigned to; TRAIN if no column or file assigns it."""
    if assigned is None:
        return np.full(rows, TRAIN)
    key = f"dataset.split={config.split}"
    _refuse_missing("split", config.split, np.array([word is None for word in assigned]))
    codes = {}
    for word in dict.fromkeys(map(str, assigned)):
        if (code := SPLIT_WORDS.get(word.strip().casefold())) is None:
            raise unknown(f"{key} row {1 + list(assigned).index(word)}", word, SPLIT_WORDS)
        codes[word] = code
    of_row = np.array([codes[str(word)] for word in assigned])
    if not (of_row == TRAIN).any():
        raise ConfigError(f"{key} names no training row; allowed: train in at least one row")
    return of_row


def _refuse_missing(key: str, name: str | None, is_missing: NDArray[np.bool_]) -> None:
    if is_missing.any():
        raise ConfigError(
            f"dataset.{key}={name} has {counted(is_missing.sum(), 'row')} without a value, such as row "
            f"{is_missing.argmax() + 1}; allowed: a value in every row; hint: fill in or remove these rows"
        )


def _sizes(config: PartitionConfig, rows: int, validation: int, test: int) -> tuple[int, int]:
    """How many of `rows` to take for validation and test, given how many rows are assigned to them."""
    named = f"dataset.split={config.split}" if config.split else "dataset.validation_path"
    keys = {"folds": config.folds, "time": config.time, "stratify": config.stratify or None}
    for key in keys if validation and test else ("folds",) if validation else ():
        require(keys[key] is None, f"dataset.{key}", keys[key], f"null with {named}, which names the validation rows")
    for_test = 0 if test else held_out(config.test, rows)
    for_validation = 0 if validation or config.folds else held_out(config.validation, rows)
    if not validation and not config.folds and config.validation:
        require(
            for_validation >= 1,
            "dataset.validation",
            config.validation,
            f"at least 1 of {counted(rows, 'row')}; {MORE}",
        )
    for name, taken, assigned in (("validation", for_validation, test), ("test", for_test, validation)):
        if taken and assigned:
            announce(f"no row is assigned to the {name} split: {taken} of the {rows} training rows are taken for it")
    if for_test + for_validation >= rows:
        raise ConfigError(
            f"dataset.validation={config.validation} and dataset.test={config.test} leave no training example of "
            f"{rows}; allowed: together less than all; {MORE}"
        )
    check_folds(config, rows - for_test)
    return for_validation, for_test


def _classes(config: PartitionConfig, classes: Whole | None) -> Whole:
    if classes is None:
        raise ConfigError("dataset.stratify=true is not allowed with these targets; allowed: one target of classes")
    return classes


def _is_stratified(
    config: PartitionConfig,
    classes: Whole | None,
    labels: Sequence[str],
    free: Rows,
    sizes: tuple[int, int],
) -> bool:
    """Whether to divide by class. A class with too few rows is an error if `stratify` is true, else printed."""
    for_validation, for_test = sizes
    parts = (config.folds or 1 + (for_validation > 0)) + (for_test > 0)
    if parts < 2 or not config.shuffle or config.stratify is False or (classes is None and config.stratify is None):
        return False
    counts = np.bincount(_classes(config, classes)[free])
    present = np.flatnonzero(counts)
    rarest = int(present[counts[present].argmin()])
    rest = len(free) - for_test
    others = (rest // config.folds,) if config.folds else (for_validation, rest - for_validation)
    smallest = min(size for size in (for_test, *others) if size)
    if counts[rarest] < parts:
        problem = f"class {_label(labels, rarest)} has too few rows, {counts[rarest]}; allowed: {parts} or more, one "
        problem += "for each fold" if config.folds else "for each split"
        problem += " and the test split" if config.folds and for_test else ""
    elif smallest < len(present):
        size = counted(smallest, "row")
        problem = f"a split or fold of {size} is too small for {len(present)} classes; allowed: a row of each class"
    else:
        return True
    if config.stratify:
        raise ConfigError(f"dataset.stratify=true: {problem}; hint: dataset.stratify=false")
    announce(f"not stratified: {problem}")
    return False


def _label(labels: Sequence[str], number: int) -> str:
    return labels[number] if number < len(labels) else str(number)


def _check_groups(
    config: PartitionConfig, parts: Parts, groups: Whole, classes: Whole | None, labels: Sequence[str]
) -> None:
    """Refuse rows assigned so that a group is in two splits, and splits without a class if stratified."""
    held = [part for part in parts[1:] if part is not parts.train]
    counts = np.sum(
        [np.bincount(groups[part], minlength=groups.max() + 1) > 0 for part in (parts.train, *held)], axis=0
    )
    if (counts > 1).any():
        raise ConfigError(
            f"dataset.group={config.group}: assigned to two splits: {(counts > 1).sum()} of {len(counts)} groups; "
            "allowed: each in one"
        )
    if config.stratify:
        for part, name in zip(parts, ("training", "validation", "test"), strict=True):
            missing = np.setdiff1d(_classes(config, classes), [-1, *_classes(config, classes)[part]])
            if len(missing) and len(part):
                raise ConfigError(
                    f"dataset.stratify=true with dataset.group={config.group} leaves the {name} split without class "
                    f"{_label(labels, int(missing[0]))}; allowed: false, as groups are not divided"
                )
