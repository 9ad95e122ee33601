"""Encode new rows with the encoders of a trained model, and report cells that it cannot use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from dl_lab.core.errors import ConfigError, counted, quoted
from dl_lab.core.progress import announce
from dl_lab.data.tables import dates
from dl_lab.data.tables.cells import UNSURE, decimal_sign, other_way
from dl_lab.data.tables.classes import class_numbers
from dl_lab.data.tables.columns import Boolean, Category, Date, Encoder, Number
from dl_lab.data.tables.heads import Values, in_float32
from dl_lab.data.tables.layout import Layout
from dl_lab.data.tables.matrix import assemble
from dl_lab.data.tables.parts import Part
from dl_lab.data.tables.types import as_text, check_range, native, numbers_of

if TYPE_CHECKING:
    import polars as pl


@dataclass
class Report:
    """Counts of cells by column: missing, unread (not of the column's type), known (with a value), and unseen, which
    are categories that the training data did not have. `example` has the first unread cell and its place.
    """

    missing: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    unseen: dict[str, Counter[str]] = field(default_factory=dict)
    example: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoding:
    """The encoders of a model, adapted to a file: dates can have formats there that training data with types, such as
    parquet, did not have.
    """

    encoders: Sequence[Encoder]
    report: Report = field(default_factory=Report)

    def matrix(self, part: Part) -> Values:
        """The inputs (row, output) of the rows, as in training.

        Raises:
            ConfigError: for a number that float32 does not hold.
        """
        blocks = []
        for encoder in self.encoders:
            values = values_of(part, encoder)
            self._count(part, encoder, values)
            blocks += encoder.blocks(values)
        matrix = assemble(blocks, np.arange(len(part.frame)))
        offset, scale = statistics_of(self.encoders)
        matrix -= offset
        matrix /= scale
        try:
            return in_float32("features", [name for each in self.encoders for name in each.outputs], matrix)
        except ConfigError as error:
            raise ConfigError(str(error).partition("; hint")[0]) from error

    def _count(self, part: Part, encoder: Encoder, values: pl.Series) -> None:
        report, name, raw = self.report, encoder.name, as_text(part.frame[encoder.name])
        is_missing = raw.is_null()
        if isinstance(encoder, Category):
            if not encoder.others and values.null_count() < len(values):
                is_unseen = class_numbers(values, encoder.labels, encoder.as_numbers) < 0
                report.unseen.setdefault(name, Counter()).update(raw.filter(is_unseen).drop_nulls().to_list())
        elif values.null_count():
            is_missing |= raw.is_in(sorted(UNSURE)) & values.is_null()
            is_unread = values.is_null() & ~is_missing
            if (unread := int(is_unread.sum())) and name not in report.example:
                row = int(is_unread.arg_max() or 0)
                report.example[name] = (str(raw[row]), part.place(row, name))
            report.unread[name] += unread
        report.missing[name] += int(is_missing.sum())
        report.known[name] += len(values) - values.null_count()

    def announce(self, path: str, part: Part) -> None:
        """Print what was found in all parts, of which `part` is one.

        Raises:
            ConfigError: if no cell of a column has a value of its type, and some are not missing.
        """
        report = self.report
        for encoder in self.encoders:
            if not (unread := report.unread[encoder.name]):
                continue
            cell, place = report.example[encoder.name]
            what = " or ".join(encoder.words) if isinstance(encoder, Boolean) else f"a {encoder.kind}"
            what += f" ({encoder.pattern})" if isinstance(encoder, Date) else ""
            hint = other_way(as_text(part.frame[encoder.name]), part.options) if isinstance(encoder, Number) else ""
            if (
                "thousands=','" in hint and part.layout is not None and part.layout.separator != ","
            ):  # such as 1,234 between tabs
                hint += ", or \"dataset.decimal=','\""
            if not report.known[encoder.name]:
                raise ConfigError(
                    f"dataset.path={path} {place}: {cell!r} is not {what}, nor is any other of the column; allowed: "
                    f"cells as in the training data; hint: {hint or 'write them as there'}"
                )
            more = f" ({unread - 1:,} more)" if unread > 1 else ""
            announce(f"{path} {place}: {cell!r} is not {what}, and missing{more}" + (f"; hint: {hint}" if hint else ""))
        if missing := [f"{name} {count:,}" for name, count in report.missing.items() if count]:
            announce(f"{path}: missing values, replaced as in training: {', '.join(missing)}")
        for name, cells in report.unseen.items():
            if cells:
                announce(
                    f"{path} column {name}: {counted(cells.total(), 'cell')} with a category that is not in the "
                    f"training data: {quoted([cell for cell, _ in cells.most_common()])}"
                )


def check_encoders(encoders: Sequence[Encoder], outputs: int) -> None:
    """Raises: ValueError for encoders of a damaged checkpoint, which do not fit a model with so many inputs."""
    of_dates = [each for each in encoders if isinstance(each, Date)]
    fits = all((len(each.offset), len(each.scale)) in ((0, 0), (each.scaled, each.scaled)) for each in of_dates)
    is_distinct = len({each.name for each in encoders}) == len(encoders)
    for each in encoders:
        names = each.words if isinstance(each, Boolean) else each.labels if isinstance(each, Category) else ()
        is_distinct = is_distinct and len(set(names)) == len(names)
    if not (fits and is_distinct and sum(len(each.outputs) for each in encoders) == outputs):
        raise ValueError("they do not fit the model")


def adapted(encoders: Sequence[Encoder], part: Part) -> tuple[Encoding, Part]:
    """The encoding for a file of which `part` is the beginning, and the part with the sign before fractions of the
    file: the other one, if that of the training data leaves numbers unread and the other does not.
    """
    if part.layout is not None and part.options.thousands is None:
        part = _with_other_sign(part, part.layout, [each.name for each in encoders if isinstance(each, Number)])
    found = [_with_pattern(each, part) if isinstance(each, Date) and not each.pattern else each for each in encoders]
    return Encoding(found), part


def _with_other_sign(part: Part, layout: Layout, numbers: Sequence[str]) -> Part:
    sign: Literal[".", ","] = "," if part.options.decimal == "." else "."
    other = replace(part, options=replace(part.options, decimal=sign))

    def unread(table: Part) -> int:
        return sum(numbers_of(table, name).null_count() for name in numbers)

    if not unread(part) > sum(_without_unsure(part, name).null_count() for name in numbers) == unread(other):
        return part
    separator = layout.separator
    if sign == "," and (separator == "," or decimal_sign(part.frame.select(numbers), separator) != ","):
        return part  # between tabs, 1,234 may be a thousand
    announce(f"{part.path}: numbers have decimal {'commas' if sign == ',' else 'points'}")
    return other


def _without_unsure(part: Part, name: str) -> pl.Series:
    raw = as_text(part.frame[name])
    return raw.set(raw.is_in(sorted(UNSURE)), None)


def _with_pattern(encoder: Date, part: Part) -> Date:
    raw = part.frame[encoder.name]
    if raw.dtype.is_temporal() or raw.null_count() == len(raw):
        return encoder
    return replace(encoder, pattern=dates.pattern(as_text(raw).drop_nulls(), True) or "%Y-%m-%d")


def values_of(part: Part, encoder: Encoder) -> pl.Series:
    """The column of an encoder as values of its type, null where there is none."""
    import polars as pl

    raw = part.frame[encoder.name]
    if isinstance(encoder, Number):
        numbers = raw.cast(pl.Float64) if raw.dtype == pl.Boolean else numbers_of(part, encoder.name)
        check_range(part, numbers)
        return numbers
    if isinstance(encoder, Category):
        return as_text(raw)
    typed = native(raw)
    if typed is not None and typed.kind == encoder.kind:
        return typed.values
    if isinstance(encoder, Date):
        return dates.parsed(as_text(raw), encoder.pattern or "%Y-%m-%d")
    assert isinstance(encoder, Boolean)
    return (
        as_text(raw)
        .str.to_lowercase()
        .replace_strict(encoder.words, (False, True), default=None, return_dtype=pl.Boolean)
    )


def statistics_of(encoders: Sequence[Encoder]) -> tuple[Values, Values]:
    """The offset and scale of each output (output,)."""
    offsets: list[float] = []
    scales: list[float] = []
    for encoder in encoders:
        own: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
        if isinstance(encoder, Number):
            own = ((encoder.offset,), (encoder.scale,))
        elif isinstance(encoder, Date):
            own = (encoder.offset, encoder.scale)
        rest = len(encoder.outputs) - len(own[0])
        offsets += [*own[0], *[0.0] * rest]
        scales += [*own[1], *[1.0] * rest]
    return np.array(offsets), np.array(scales)
