"""Tables: choose features and targets among named columns, standardize them, and split the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.core import rng
from dl_lab.core.errors import ConfigError, require, unknown
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.data.partition import SplitConfig, divide, held_out
from dl_lab.data.preprocessing import Preprocessing, plain
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory
from dl_lab.data.tables.columns import Number
from dl_lab.data.tables.folds import FoldConfig, fold_of
from dl_lab.data.tables.heads import Column, in_float32, joined, regression_head, statistics


class TableConfig(SplitConfig):
    """`features` and `targets` name columns; without `features`, every column that is not a target is a feature.

    `standardize` gives features and regression targets mean 0 and standard deviation 1 over the training split;
    metrics stay in the unit of the target. With `shuffle=false` the order is kept, and the last rows are the test
    split. With `validation=0` the training rows are also the validation split, to fit a small table completely.
    """

    features: list[str]
    targets: list[str]
    standardize: bool
    shuffle: bool


@dataclass(frozen=True)
class Table:
    """Columns of equal length: `numbers` (row,) float64, and `classes` as (class numbers (row,), class names)."""

    numbers: Mapping[str, NDArray[np.float64]]
    classes: Mapping[str, tuple[NDArray[np.int64], Sequence[str]]]


def choose_columns(config: TableConfig, numbers: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the names of the feature columns.

    Raises:
        ConfigError: for an unknown column, a class as a feature, or a column that is both a feature and a target.
    """
    for name in config.targets:
        if name not in [*numbers, *classes]:
            raise unknown("dataset.targets", name, [*numbers, *classes])
    for field, chosen in (("targets", config.targets), ("features", config.features)):
        if len(set(chosen)) < len(chosen):
            twice = next(name for name in chosen if chosen.count(name) > 1)
            raise ConfigError(f"dataset.{field}={twice} is named twice; hint: name each column once")
    if not config.targets:
        raise ConfigError(f"dataset.targets is empty; allowed: {', '.join([*numbers, *classes])}")
    for name in config.features:
        if name not in numbers:
            raise unknown("dataset.features", name, [column for column in numbers if column not in config.targets])
        if name in config.targets:
            raise ConfigError(f"dataset.features={name} is also a target; hint: remove it from one of the two lists")
    features = config.features or [name for name in numbers if name not in config.targets]
    if not features:
        raise ConfigError("dataset.features=[]: no column remains beside the targets; allowed: at least one feature")
    return features


def split_rows(config: TableConfig, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split the rows in `order` (row,) into the indices of training, validation and test rows.

    Raises:
        ConfigError: if no training row would remain.
    """
    rows = len(order)
    if isinstance(config, FoldConfig) and config.folds:
        return fold_of(config, order)
    if config.validation > 0:
        return divide(rows, config.validation, config.test, order)
    for_test = held_out(config.test, rows)
    require(for_test < rows, "dataset.test", config.test, f"fewer than the {rows} rows")
    train, test = order.split([rows - for_test, for_test])
    return train, train, test


def _classification(name: str, table: Table, train: NDArray[np.int64]) -> Column:
    numbers, labels = table.classes[name]
    unseen = sorted(set(range(len(labels))).difference(numbers[train].tolist()))
    if unseen:
        announce(
            f"dataset.targets={name}: {len(unseen)} of {len(labels)} classes have no example in the training "
            f"split, such as {labels[unseen[0]]!r}"
        )
    return Head(name=name, task="classification", labels=tuple(labels)), torch.from_numpy(numbers)[:, None]


def table_data(config: TableConfig, table: Table, seed: int) -> Data:
    """Build the data from a table: one head for all numeric targets, and one head for each class column.

    Inputs are (row, feature) float64. Targets are class numbers (row,) if the only target is a class column, otherwise
    (row, column) float64 in the order of the heads.
    """
    names = choose_columns(config, list(table.numbers), list(table.classes))
    features = np.column_stack([table.numbers[name] for name in names])
    rows = len(features)
    order = torch.randperm(rows, generator=rng.generator(seed, "split")) if config.shuffle else torch.arange(rows)
    parts = split_rows(config, order)
    train = parts[0].numpy()

    mean, std = statistics(features[train], config.standardize)
    inputs = torch.from_numpy(in_float32("features", names, (features - mean) / std))
    heads = []
    if numeric := [name for name in config.targets if name in table.numbers]:
        values = np.column_stack([table.numbers[name] for name in numeric])
        heads.append(regression_head(numeric, values, train, table.classes, config.standardize))
    heads += [_classification(name, table, train) for name in config.targets if name in table.classes]
    together, targets = joined(heads)
    splits = [InMemory(inputs[part], targets[part]) for part in parts]
    spec = DataSpec(kind="features", input_shape=(len(names),), heads=together)
    learned = zip(names, np.median(features[train], axis=0).tolist(), mean.tolist(), std.tolist(), strict=True)
    encoded = tuple(plain(Number(name=n, fill=f, indicator=False, offset=m, scale=s)) for n, f, m, s in learned)
    return Data(
        spec=spec,
        preprocessing=Preprocessing(spec=spec, columns=encoded),
        train=splits[0],
        validation=splits[1],
        test=splits[2] if len(splits[2]) else None,
    )
