"""Dataframes of others as those of polars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

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
        return pl.DataFrame(values, infer_schema_length=None)
    names = [str(name) for name in values.columns]
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
