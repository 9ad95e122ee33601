"""Dataframes and arrays of other libraries as those of polars and NumPy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl


def is_frame(values: Any) -> bool:
    """Whether values are what `as_frame` takes."""
    is_records = isinstance(values, list) and bool(values) and isinstance(values[0], Mapping)
    return hasattr(type(values), "columns") or isinstance(values, Mapping) or is_records


def as_frame(values: Any) -> pl.DataFrame:
    """A dataframe of polars or pandas, a mapping of columns or a list of dictionaries; missing values are null."""
    import polars as pl

    if isinstance(values, pl.LazyFrame):
        return values.collect()
    if isinstance(values, pl.DataFrame):
        return values
    if not hasattr(type(values), "columns"):
        try:
            return pl.DataFrame(values, infer_schema_length=None)
        except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
            raise ConfigError(
                f"data: {str(error).splitlines()[0]}; allowed: columns of equal length, each of one type"
            ) from error
    names = [str(name) for name in values.columns]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"data: column {twice[0]!r} appears twice; allowed: distinct names; hint: rename one of them")
    return pl.DataFrame([as_series(values.iloc[:, place], name) for place, name in enumerate(names)])


def as_series(values: Any, name: str) -> pl.Series:
    """A series of polars or pandas, or an array (row,)."""
    import polars as pl

    if isinstance(values, pl.Series):
        return values.alias(name)
    if isinstance(getattr(values, "dtype", None), np.dtype) and values.dtype.kind in "biufM":
        return pl.Series(name, np.asarray(values))
    if hasattr(values, "notna"):  # of pandas, with a type of its own
        values = values.astype(object).where(values.notna(), None)
    cells = [None if cell != cell else cell for cell in np.asarray(values, dtype=object).tolist()]
    return pl.Series(name, cells, strict=False)


def as_array(values: Any, where: str, allowed: str) -> np.ndarray:
    """An array of numbers, text or dates, from NumPy, torch, a sparse matrix, a series or a nested list.

    Raises:
        ConfigError: naming `where`, if it is none.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    if hasattr(values, "toarray"):
        values = values.toarray()
    try:
        if isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(float), np.nan)
        array = np.asarray(values)
    except ValueError as error:  # lists of different lengths, a masked text
        raise ConfigError(f"{where} is no array ({error}); allowed: {allowed}") from error
    if array.ndim == 0 or array.dtype.kind not in "biufOUSM":
        raise ConfigError(f"{where} is a {type(values).__name__} {array.shape} of {array.dtype}; allowed: {allowed}")
    return array.astype(str) if array.dtype.kind == "S" else array
