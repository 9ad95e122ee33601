"""The targets and weights in a table that a trained model is evaluated on."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import Head
from dl_lab.data.tables.cells import UNSURE, without
from dl_lab.data.tables.classes import are_numbers, class_numbers
from dl_lab.data.tables.labels import label_values
from dl_lab.data.tables.parts import Part
from dl_lab.data.tables.types import as_text, check_range, not_a_number, numbers_of
from dl_lab.inference.trained import Trained

Values = NDArray[np.float64]


def target_columns(trained: Trained) -> tuple[str, ...]:
    """The columns of a table that have the targets."""
    heads = trained.spec.heads
    plain = [name for head in heads for name in (head.labels if head.task == "regression" else [head.name])]
    plain = [name for name in plain if name not in {head.name for head in heads if head.task == "multilabel"}]
    chosen = getattr(trained.run.dataset.config, "targets", []) if len(plain) < len(heads) else []
    return tuple(dict.fromkeys([*plain, *chosen]))


def have_targets(trained: Trained, part: Part) -> NDArray[np.bool_]:
    """Which rows (row,) have a value in every target column."""
    names = target_columns(trained)
    numbers = [name for head in trained.spec.heads if head.task == "regression" for name in head.labels]
    texts = [name for name in numbers if part.frame.schema[name] == pl.String]
    table = part.frame.select(names).with_columns(without(UNSURE, pl.col(texts)))
    return table.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()


def first_columns(heads: tuple[Head, ...]) -> Iterator[tuple[int, Head]]:
    """Each head with the number of its first column in the table of targets."""
    place = 0
    for head in heads:
        yield place, head
        place += head.columns


def targets_of(trained: Trained, head: Head, part: Part, rows: NDArray[np.int64], unseen: set[str]) -> Values:
    """The targets (row, column) of a head, as in training. A class that the training data did not have is -1, and is
    added to `unseen`.
    """
    if head.task == "regression":
        values = np.column_stack([_numbers(part, name, rows) for name in head.labels])
        return (values - np.array(head.offset or 0.0)) / np.array(head.scale or 1.0)
    if head.task == "multilabel":
        return _labels(trained, head, part, rows, unseen)
    cells = as_text(part.frame[head.name]).gather(rows)
    numbers = class_numbers(cells, head.labels, are_numbers(head.labels))
    unseen.update(cells.filter(numbers < 0).to_list())
    return numbers[:, None].astype(np.float64)


def _numbers(part: Part, name: str, rows: NDArray[np.int64]) -> Values:
    numbers = numbers_of(part, name)
    check_range(part, numbers)
    if (bad := numbers.gather(rows).is_null()).any():
        raise not_a_number(part, as_text(part.frame[name]), int(rows[bad.to_numpy()].min()))
    return numbers.gather(rows).to_numpy()


def _labels(trained: Trained, head: Head, part: Part, rows: NDArray[np.int64], unseen: set[str]) -> Values:
    """0 or 1 for each label (row, label), from a column for each label or from the words in a cell. Unknown words are
    added to `unseen`.
    """
    separator = getattr(trained.run.dataset.config, "label_separator", None)
    found = np.zeros((len(rows), head.size))
    taken = {name for each in trained.spec.heads if each.task == "regression" for name in each.labels}
    taken |= {each.name for each in trained.spec.heads if each.task == "classification"}
    for column in [name for name in target_columns(trained) if name not in taken]:
        places = {label.removeprefix(f"{column}="): place for place, label in enumerate(head.labels)}
        if column in places:
            found[:, places[column]] = label_values(part, column, rows, rows, None)[column][rows]
            continue
        for row, cell in enumerate(as_text(part.frame[column]).gather(rows).to_list()):
            words = {word.strip() for word in cell.split(separator)} - {""}
            unseen |= words - places.keys()
            found[row, [places[word] for word in words & places.keys()]] = 1
    return found


def weights_of(part: Part, name: str, rows: NDArray[np.int64]) -> Values:
    """The weights (row,) in a column.

    Raises:
        ConfigError: for a weight that is missing, negative or infinite.
    """
    weights = numbers_of(part, name).gather(rows).fill_null(np.nan).to_numpy()
    if len(wrong := rows[~((weights >= 0) & np.isfinite(weights))]):
        raise ConfigError(
            f"path={part.path} {part.place(int(wrong.min()), name)}: not a weight; allowed: a number of 0 or more"
        )
    return weights
