"""The targets of a table: which are numbers and which are classes, and the heads that predict them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.progress import announce
from dl_lab.data.spec import Head
from dl_lab.data.tables.cells import UNSURE, other_way, without
from dl_lab.data.tables.classes import are_numbers, class_numbers, labels_by_key
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.heads import joined, regression_head
from dl_lab.data.tables.hints import odd_classes
from dl_lab.data.tables.labels import label_values, labels_head
from dl_lab.data.tables.partition import Parts
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.types import as_text, check_range, is_number_or_unsure, not_a_number, numbers_of, typed

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Target:
    """A target of each row: numbers; class numbers with `labels`, -1 for a class that no training row has; or 0 and 1
    (row, label) for each of `labels`.
    """

    name: str
    values: NDArray[Any]
    labels: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        if self.values.ndim == 2:
            return "multilabel"
        return "classification" if self.labels else "regression"


def rows_with_targets(table: RawTable, names: Sequence[str]) -> tuple[RawTable, Rows]:
    """The rows in which no target is missing; others are counted and printed. In the returned table, the marks of
    `UNSURE` are missing in targets of numbers.

    Raises:
        ConfigError: if there is none.
    """
    import polars as pl

    if unsure := [name for name in names if is_number_or_unsure(table, name)]:
        table = replace(table, frame=table.frame.with_columns(without(UNSURE, pl.col(unsure))))
    has_targets = table.frame.select(pl.all_horizontal(pl.col(names).is_not_null())).to_series()
    rows = np.flatnonzero(has_targets.to_numpy())
    if missing := len(has_targets) - len(rows):
        wanted = " or ".join(names)
        where = f"dataset.path={table.path}: {missing} of {counted(len(has_targets), 'row')} without {wanted}"
        if not len(rows):
            raise ConfigError(f"{where}; allowed: rows with a target")
        announce(f"{where}, left out")
    return table, rows


def task_of(table: RawTable, name: str, train: Rows, chosen: str) -> str:
    """The task of a target, as `chosen`, or as `train` rows show: numbers are regression, except 0 and 1 with "auto",
    but not with "multi_output".

    Raises:
        ConfigError: if a column has numbers and few other values, which may be mistakes.
    """
    if chosen not in ("auto", "multi_output"):
        return chosen
    column = typed(table, name, train)
    if column is not None and column.mistake is not None:
        raise not_a_number(table, as_text(table.frame[name]), column.mistake)
    if column is None or column.kind != "number":
        return "classification"
    is_class = chosen == "auto" and _is_binary(column.values.gather(train))
    return "classification" if is_class else "regression"


def _is_binary(numbers: pl.Series) -> bool:
    return (numbers.min(), numbers.max()) == (0, 1) and bool(numbers.is_in([0.0, 1.0]).all())


def regression_target(table: RawTable, name: str, rows: Rows) -> Target:
    """Raises: ConfigError if one of `rows` has no number that float32 holds."""
    numbers = numbers_of(table, name)
    check_range(table, numbers)
    if (bad := numbers.gather(rows).is_null()).any():
        raise not_a_number(table, as_text(table.frame[name]), int(rows[bad.to_numpy()].min()))
    return Target(name, numbers.to_numpy())


def class_target(table: RawTable, name: str, train: Rows) -> Target:
    """Classes are those of the `train` rows. Numbers of equal value, such as 1 and 1.0, are one class, and so are two
    spellings of one Unicode text.

    Raises:
        ConfigError: if there is one class only, or the classes seem to be measurements.
    """
    cells = as_text(table.frame[name])
    found = cells.gather(train).unique().drop_nulls()
    as_numbers = are_numbers(found)
    labels = sorted(labels_by_key(found, as_numbers).values())
    where = f"dataset.path={table.path} column {name}"
    if len(labels) < 2:
        raise ConfigError(f"{where} holds one class, {labels[0]}, in the training split; allowed: two or more")
    if as_numbers and 2 * len(labels) > len(train) and not all(float(label).is_integer() for label in labels):
        raise ConfigError(
            f"{where} holds {len(labels)} distinct numbers in {len(train)} rows; allowed: classes; hint: "
            "dataset.task=regression"
        )
    if 2 * len(labels) > len(train) and other_way(found, table.options):
        raise not_a_number(table, cells, int(train.min()))
    folded = Counter(label.casefold() for label in labels)
    if alike := [label for label in labels if folded[label.casefold()] > 1]:
        announce(f"{where}: classes that differ only in their case: {', '.join(alike[:5])}")
    if hint := odd_classes(labels):
        announce(f"{where}: {hint}")
    return Target(name, class_numbers(cells, labels, as_numbers), tuple(labels))


def label_target(table: RawTable, name: str, rows: Rows, train: Rows, separator: str | None) -> Target:
    """The labels of a column, see `labels.label_values`."""
    values = label_values(table, name, rows, train, separator)
    return Target(name, np.column_stack([*values.values()]), tuple(values))


def known_classes(found: Sequence[Target], parts: Parts) -> Parts:
    """The same rows without those of a class that no training row has, which no model can predict."""
    kept = []
    for split, part in zip(("training", "validation", "test"), parts, strict=True):
        for target in found:
            if target.labels and (unknown := int((target.values[part] < 0).sum())):
                announce(
                    f"dataset.targets={target.name}: {counted(unknown, 'row')} of the {split} split left out, as the "
                    "class is not in the training split"
                )
                part = part[target.values[part] >= 0]
                if split == "validation" and not len(part):
                    raise ConfigError(
                        f"dataset.targets={target.name}: no validation row has a class of the training split; allowed: "
                        "classes with several rows; hint: dataset.shuffle=true, another dataset.task, or another target"
                    )
        kept.append(part)
    return Parts(*kept)


def heads_of(targets: Sequence[Target], order: Rows, train: int, standardize: bool) -> tuple[tuple[Head, ...], Tensor]:
    """The heads of `targets`, and the targets of rows in this `order`, of which the first `train` are for training."""
    numbers, classes, labels = (
        [target for target in targets if target.task == task] for task in ("regression", "classification", "multilabel")
    )
    heads = []
    if numbers:
        values = np.column_stack([target.values[order] for target in numbers])
        names, taken = [target.name for target in numbers], [target.name for target in [*classes, *labels]]
        heads.append(regression_head(names, values, slice(train), taken, standardize))
    for target in classes:
        head = Head(name=target.name, task="classification", labels=target.labels)
        heads.append((head, torch.from_numpy(target.values[order])[:, None]))
    if labels:
        of_columns = [(target.name, dict(zip(target.labels, target.values.T, strict=True))) for target in labels]
        heads.append(labels_head(of_columns, order, [head.name for head, _ in heads]))
    return joined(heads)
