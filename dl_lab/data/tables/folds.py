"""Folds of a cross-validation: their keys, and those of rows in a given order."""

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from dl_lab.core.errors import ConfigError, require
from dl_lab.core.schema import NonNegativeInt
from dl_lab.data.partition import SplitConfig, held_out
from dl_lab.data.tables.division import deal_in_order


class FoldConfig(SplitConfig):
    """With `folds`, the rows outside the test split are dealt into that many parts, and part `fold` is the validation
    split: over all folds, each row is validated once. With `shuffle=false` the order of the rows is kept, and the last
    ones are the test split.
    """

    folds: Annotated[int, Interval(ge=2, lt=2**31), "a whole number, 2 or more"] | None
    fold: NonNegativeInt | None
    shuffle: bool

    def __post_init__(self) -> None:
        if self.folds is None:
            require(self.fold is None, "dataset.fold", self.fold, "null without dataset.folds")
        elif self.fold is None or self.fold >= self.folds:
            given = "null" if self.fold is None else self.fold
            raise ConfigError(
                f"dataset.fold={given} is not allowed with dataset.folds={self.folds}; allowed: 0 to {self.folds - 1}; "
                f"hint: -m 'dataset.fold=range({self.folds})' trains all of them"
            )


def fold_of(config: FoldConfig, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cut `order` (row,) into the indices of the training, validation and test rows of a fold."""
    for_test = held_out(config.test, len(order))
    rest, test = order[: len(order) - for_test], order[len(order) - for_test :]
    check_folds(config, len(rest))
    held = torch.from_numpy(deal_in_order(len(rest), config.folds or 1)) == config.fold
    return rest[~held], rest[held], test


def check_folds(config: FoldConfig, rows: int) -> None:
    if config.folds and config.folds > rows:
        raise ConfigError(
            f"dataset.folds={config.folds} is more than the {rows} rows outside the test split; allowed: at most one "
            "fold for each row"
        )
