"""The weights of rows, a column of the table."""

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.data.tables.heads import Values
from dl_lab.data.tables.partition import Parts
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.types import as_text, numbers_of

KEY = "dataset.sample_weight"
ALLOWED = "a number of 0 or more in each row with a target"


def weights_of(table: RawTable, name: str, parts: Parts) -> Values:
    """The weights (row,) of all rows; those without a target may be nan.

    Raises:
        ConfigError: for a weight of a split that is missing, no number or negative, or if all of a split are 0.
    """
    weights = numbers_of(table, name).fill_null(np.nan).to_numpy()
    for split, part in zip(("training", "validation", "test"), parts, strict=True):
        own = weights[part]
        if len(wrong := part[~((own >= 0) & np.isfinite(own))]):
            row = int(wrong.min())
            cell = as_text(table.frame[name])[row]
            found = "no weight" if cell is None else f"{cell!r}"
            raise ConfigError(f"{KEY}={name} has {found} in {table.place(row, name)}; allowed: {ALLOWED}")
        if len(part) and not own.sum() > 0:
            raise ConfigError(f"{KEY}={name} is 0 in all rows of the {split} split; allowed: a weight above 0")
    return weights


def with_weights(targets: Tensor, weights: Values) -> Tensor:
    """Targets (row,) or (row, column) as a table whose last column has the weights."""
    return torch.cat([targets.reshape(len(targets), -1).double(), torch.from_numpy(weights)[:, None]], dim=1)
