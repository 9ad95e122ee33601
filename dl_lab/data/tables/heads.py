"""Standardization of columns, as by scikit-learn's StandardScaler, and the heads of targets."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import Head

Values = NDArray[np.float64]
Column = tuple[Head, Tensor]  # a head and its targets (row, column)


def statistics(values: Values, standardize: bool) -> tuple[Values, Values]:
    """Return the mean and standard deviation of each column; 1 as the standard deviation of a constant column.

    As in scikit-learn's StandardScaler, a column is constant if its variance is within the rounding error of its mean.
    """
    rows, columns = values.shape
    if not standardize:
        return np.zeros(columns), np.ones(columns)
    error = rows * np.finfo(np.float64).eps
    with np.errstate(over="ignore"):  # refused by in_float32
        mean = values.mean(axis=0)
        deviation = values - mean
        variance = np.square(deviation, out=deviation).mean(axis=0)  # as values.var, which finds the mean again
        is_constant = variance <= error * variance + (error * mean) ** 2
    return mean, np.where(is_constant, 1.0, np.sqrt(variance))


def in_float32(field: str, names: Sequence[str], values: Values) -> Values:
    """Return values as trained on.

    Raises:
        ConfigError: if one is too large for float32, such as one far from training values with a very small spread.
    """
    most = np.finfo(np.float32).max
    if max(values.max(), -values.min()) > most:
        sizes = np.abs(values).max(axis=0)
        place = int((sizes > most).argmax())
        raise ConfigError(
            f"dataset.{field}={names[place]} has a value of size {sizes[place]:.3g}, as trained on; allowed: what "
            "float32 holds; hint: remove the column, or change dataset.standardize"
        )
    return values


def regression_head(
    names: Sequence[str], values: Values, train: slice | NDArray[np.int64], taken: Collection[str], standardize: bool
) -> Column:
    """One head for all numeric targets (row, target), scaled by the `train` rows. It has the name of its only target,
    or else "regression", with "_" added where a name is `taken` by a class.
    """
    together = names[0] if len(names) == 1 else "regression"
    while together in taken:
        together += "_"
    offset, scale = statistics(values[train], standardize)
    targets = torch.from_numpy(in_float32("targets", names, (values - offset) / scale))
    units = {"offset": tuple(offset.tolist()), "scale": tuple(scale.tolist())}
    return Head(name=together, task="regression", labels=tuple(names), **units), targets


def joined(heads: Sequence[Column]) -> tuple[tuple[Head, ...], Tensor]:
    """The heads and their targets: class numbers (row,) of a single class head, otherwise (row, column) float64."""
    only_classes = len(heads) == 1 and heads[0][0].task == "classification"
    targets = [targets for _, targets in heads]
    together = targets[0].squeeze(1) if only_classes else torch.cat([each.double() for each in targets], dim=1)
    return tuple(head for head, _ in heads), together
