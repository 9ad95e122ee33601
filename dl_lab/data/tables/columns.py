"""How the columns of a table become numbers. Each encoder is a plain value, learned from the training rows, and follows
scikit-learn: SimpleImputer(add_indicator=True), OneHotEncoder and StandardScaler, with their rules and names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from dl_lab.core.schema import Finite
from dl_lab.data.tables.classes import are_numbers, class_numbers, key, labels_by_key

if TYPE_CHECKING:
    import polars as pl

DateFeature = Literal["year", "month", "weekday", "hour"]
FEATURES_OF_DATES: tuple[DateFeature, ...] = get_args(DateFeature)
Seconds = Annotated[float, Interval(gt=-1e12, lt=1e12)]  # since 1970, far beyond the years that dates may have


class Block(NamedTuple):
    """Outputs of a column: `values` (row,) themselves, or if these are class numbers (int64) a column of 0 and 1 for
    each of `width` classes; class -1 is 0 in all of them.
    """

    values: NDArray[Any]
    width: int = 1


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column of numbers, standardized; missing ones are the median."""

    name: str
    fill: Finite
    indicator: bool
    offset: float = 0.0
    scale: float = 1.0
    kind: Literal["number"] = "number"

    @property
    def scaled(self) -> int:
        """How many outputs, the first ones, are standardized."""
        return 1

    @property
    def outputs(self) -> list[str]:
        return [self.name, *_indicator(self)]

    def blocks(self, typed: pl.Series) -> list[Block]:
        filled = typed.fill_null(self.fill) if typed.null_count() else typed
        return [Block(filled.to_numpy()), *_indicated(self, typed)]

    def standardized(self, offset: NDArray[np.float64], scale: NDArray[np.float64]) -> Number:
        return replace(self, offset=float(offset[0]), scale=float(scale[0]))


@dataclass(frozen=True, kw_only=True)
class Boolean:
    """Two words of which the second is true, in lower case; missing ones are the most frequent."""

    name: str
    words: tuple[str, str]
    fill: bool
    indicator: bool
    kind: Literal["boolean"] = "boolean"
    scaled: ClassVar[int] = 0

    @property
    def outputs(self) -> list[str]:
        return [f"{self.name}_{self.words[1]}", *_indicator(self)]

    def blocks(self, typed: pl.Series) -> list[Block]:
        return [Block(typed.fill_null(self.fill).to_numpy()), *_indicated(self, typed)]


@dataclass(frozen=True, kw_only=True)
class Category:
    """One column of 0 and 1 for each label, and one for all other values if there are `others`. Missing cells have the
    most frequent value. With `as_numbers`, equal numbers are one category, however they are written.
    """

    name: str
    labels: tuple[str, ...]
    others: bool
    fill: str
    as_numbers: bool
    indicator: bool
    kind: Literal["category"] = "category"
    scaled: ClassVar[int] = 0

    @property
    def outputs(self) -> list[str]:
        return [f"{self.name}_{label}" for label in (*self.labels, *["other"] * self.others)] + _indicator(self)

    def blocks(self, typed: pl.Series) -> list[Block]:
        codes = class_numbers(typed.fill_null(self.fill), self.labels, self.as_numbers)
        if self.others:
            codes[codes < 0] = len(self.labels)
        return [Block(codes, len(self.labels) + self.others), *_indicated(self, typed)]


@dataclass(frozen=True, kw_only=True)
class Date:
    """Features of a date, and the days since the first one in the training split, all standardized; missing dates are
    the median. `fill` and `first` are in seconds since 1970. `pattern` is polars' format of the cells.
    """

    name: str
    pattern: str
    first: Seconds
    fill: Seconds
    features: tuple[DateFeature, ...]
    indicator: bool
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    kind: Literal["date"] = "date"

    @property
    def scaled(self) -> int:
        return len(self.features) + 1

    @property
    def outputs(self) -> list[str]:
        return [f"{self.name}_{feature}" for feature in (*self.features, "days")] + _indicator(self)

    def blocks(self, typed: pl.Series) -> list[Block]:
        import polars as pl

        filled = typed.fill_null(pl.lit(round(self.fill * 1e6)).cast(pl.Datetime("us")))
        values = [getattr(filled.dt, feature)().cast(pl.Float64).to_numpy() for feature in self.features]
        days = (seconds(filled) - self.first) / 86400
        return [*map(Block, [*values, days]), *_indicated(self, typed)]

    def standardized(self, offset: NDArray[np.float64], scale: NDArray[np.float64]) -> Date:
        return replace(self, offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))


Encoder = Number | Boolean | Category | Date


@cache
def _adapter() -> TypeAdapter[Encoder]:
    return TypeAdapter(Annotated[Encoder, Field(discriminator="kind")])


def encoder_of(column: Mapping[str, Any]) -> Encoder:
    """The encoder of a column of a Preprocessing.

    Raises:
        ValueError: if it is not as `plain` gives it.
    """
    return _adapter().validate_json(json.dumps(column), strict=True)


def learned_number(name: str, train: pl.Series) -> Number:
    """Learn from numbers (Float64), null where missing; at least one is not."""
    median = train.median()
    assert isinstance(median, float)
    return Number(name=name, fill=median, indicator=train.null_count() > 0)


def learned_boolean(name: str, train: pl.Series, words: tuple[str, str]) -> Boolean:
    known = len(train) - train.null_count()
    return Boolean(name=name, words=words, fill=2 * int(train.sum()) > known, indicator=known < len(train))


def learned_date(name: str, train: pl.Series, pattern: str) -> Date:
    known = train.drop_nulls()
    varying = known.dt.hour().n_unique() > 1
    since = seconds(known)
    return Date(
        name=name,
        pattern=pattern,
        first=float(since.min()),
        fill=float(np.median(since)),
        features=FEATURES_OF_DATES if varying else FEATURES_OF_DATES[:-1],
        indicator=len(known) < len(train),
    )


def learned_category(name: str, train: pl.Series, largest: int) -> Category:
    """Learn from texts. Of more than `largest` values, the most frequent largest - 1 have a column of their own."""
    counts = train.drop_nulls().value_counts()
    found = dict(zip(*counts.get_columns(), strict=True))
    as_numbers = are_numbers(found)
    label_of = labels_by_key(found, as_numbers)
    sums = dict.fromkeys(sorted(label_of.values()), 0)
    for cell, count in found.items():
        sums[label_of[key(cell, as_numbers)]] += count
    labels, sizes = list(sums), np.array(list(sums.values()))
    fill = labels[int(sizes.argmax())]
    sizes[labels.index(fill)] += train.null_count()
    others = len(labels) > largest
    if others:
        frequent = np.argsort(sizes, kind="stable")[len(labels) - largest + 1 :]  # of equal ones the last, as sklearn
        labels = [labels[place] for place in sorted(frequent)]
    return Category(
        name=name,
        labels=tuple(labels),
        others=others,
        fill=fill,
        as_numbers=as_numbers,
        indicator=train.null_count() > 0,
    )


def seconds(dates: pl.Series) -> NDArray[np.float64]:
    """Dates without missing ones in seconds since 1970."""
    return dates.dt.epoch("us").to_numpy() / 1e6


def _indicator(column: Encoder) -> list[str]:
    return [f"missingindicator_{column.name}"] * column.indicator


def _indicated(column: Encoder, typed: pl.Series) -> list[Block]:
    return [Block(typed.is_null().to_numpy())] * column.indicator
