"""What is printed about a table before training: its columns, and those that may be mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dl_lab.core import progress
from dl_lab.core.errors import counted, printable
from dl_lab.data.tables.columns import Category, Encoder
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.hints import odd_cell, unread_cells
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.targets import Target
from dl_lab.data.tables.types import Feature

if TYPE_CHECKING:
    import polars as pl

announced: set[str] = set()  # paths
MANY_ROWS = 100_000  # in which distinct values are estimated
MOST_COLUMNS, SHOWN = 40, 15  # of longer reports, as many columns are shown at the beginning and at the end
WIDEST = 32  # characters of a name or an example
NEARLY_ALL = 0.95
SAMPLE = 200  # rows
IDENTIFIER = re.compile(r"(?i:^|[\W_])(?i:id|idx|index|no|nr|number|row|key)\W*$|[a-z](?:Id|ID|Index|No|Number)$")


def announce_columns(
    table: RawTable,
    features: Sequence[Feature],
    targets: Sequence[Target],
    train: Rows,
    *,
    is_chosen: bool,
    weight: str | None = None,
) -> None:
    """Print the columns, of which one may have weights, once per file and process, as the jobs of a sweep differ in the
    training split only. Then the columns that may be mistakes, unless the features are chosen, and cells that the
    training split does not explain.
    """
    if table.path not in announced:
        announced.add(table.path)
        for line in described(table, features, targets, weight):
            progress.show(line)
    for line in cells_without_values(table, features):
        progress.announce(line)
    for line in suspicious(table, features, targets, train) if not is_chosen and len(features) > 1 else ():
        progress.announce(line)


def described(
    table: RawTable, features: Sequence[Feature], targets: Sequence[Target], weight: str | None = None
) -> list[str]:
    """A line for each column: its type, missing and distinct values in the file, and an example."""
    import polars as pl

    types = {feature.encoder.name: type_of(feature.encoder) for feature in features}
    types |= dict.fromkeys([weight] if weight else [], "weight")
    types |= {target.name: f"target, {target.task}" for target in targets}
    names = table.frame.columns
    hidden = max(0, len(names) - 2 * SHOWN) if len(names) > MOST_COLUMNS else 0
    shown = [*names[:SHOWN], *names[SHOWN + hidden :]]
    chosen, is_large, known = table.frame.select(shown), len(table.frame) > MANY_ROWS, pl.all().drop_nulls()
    typed = [feature.column.values for feature in features if feature.encoder.name in shown]
    counts = chosen.with_columns(typed).select(known.approx_n_unique() if is_large else known.n_unique()).row(0)
    rows: list[tuple[str, ...]] = [("column", "type", "missing", "distinct", "example")]
    missing = {
        column.values.name: column.values.null_count() - column.unread for column in [f.column for f in features]
    }
    for values, count in zip(chosen.iter_columns(), counts, strict=True):
        first = values.drop_nulls().head(1).cast(pl.String).to_list()
        examples = [table.examples[values.name]] if values.name in table.examples else first
        distinct = f"{'about ' if is_large and count else ''}{count:,}"
        kind = types.get(values.name, "left out")
        null = f"{missing.get(values.name, values.null_count()):,}"
        rows.append((shortened(values.name), kind, null, distinct, *map(shortened, examples)))
    lines = [f"{table.path}: {counted(len(table.frame), 'row')}", *aligned(rows, right=(2, 3))]
    if hidden:
        lines.insert(2 + SHOWN, f"... {hidden:,} more columns ...")
    return lines


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Rows of text in columns of equal width, some of them aligned to the right; the last ones may be missing."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = [
        [cell.rjust(widths[place]) if place in right else cell.ljust(widths[place]) for place, cell in enumerate(row)]
        for row in rows
    ]
    return ["  ".join(line).rstrip() for line in lines]


def shortened(text: str) -> str:
    text = printable(text)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def type_of(encoder: Encoder) -> str:
    if isinstance(encoder, Category) and encoder.others:
        return f"category, {len(encoder.labels)} + others"
    return encoder.kind


def cells_without_values(table: RawTable, features: Sequence[Feature]) -> Iterator[str]:
    """Lines about cells that have no value of the type of their column, or one that no training row has."""
    for feature in features:
        column, where = feature.column, f"dataset.path={table.path} column {feature.encoder.name}"
        if column.unread:
            yield f"dataset.path={table.path} {unread_cells(table, column)}"
        if feature.unseen:
            yield f"{where}: {counted(feature.unseen, 'cell')} with a category that is not in the training split"
        if column.kind == "category" and (reason := odd_cell(table, column)):
            yield f"dataset.path={table.path} {reason}"


def suspicious(table: RawTable, features: Sequence[Feature], targets: Sequence[Target], train: Rows) -> Iterator[str]:
    """Lines about features that seem to identify the rows, that are constant, or that repeat a target."""
    where = f"warning: dataset.path={table.path}:"
    hint = "hint: leave them out with dataset.drop=[...]"
    if found := [feature.encoder.name for feature in features if _numbers_rows(feature)]:
        yield f"{where} features that seem to number the rows: {', '.join(found)}; {hint}"
    if found := [feature.encoder.name for feature in features if _names_rows(feature)]:
        yield f"{where} features whose values are nearly all distinct: {', '.join(found)}; {hint}"
    if found := [feature.encoder.name for feature in features if feature.is_constant]:
        yield f"{where} features with one value in the training split: {', '.join(found)}; {hint}"
    for target in [target for target in targets if target.task != "multilabel"]:
        if found := [each.encoder.name for each in features if _repeats(each, target, train)]:
            yield f"{where} features that seem to repeat the target {target.name}: {', '.join(found)}; {hint}"


def _numbers_rows(feature: Feature) -> bool:
    """Whether numbers are whole and all distinct, and count or are named so."""
    values = feature.column.values
    if feature.column.kind != "number" or values.null_count() or len(values) < 3:
        return False
    numbers = values.to_numpy()
    if (numbers[:SAMPLE] % 1).any():
        return False
    counts, is_named = np.ptp(numbers) == len(numbers) - 1, IDENTIFIER.search(values.name) is not None
    return bool((counts or is_named) and not (numbers % 1).any() and values.n_unique() == len(numbers))


def _names_rows(feature: Feature) -> bool:
    if feature.column.kind != "category":
        return False
    values = feature.column.values.drop_nulls()
    return values.n_unique() >= max(NEARLY_ALL * len(values), 20)


def _repeats(feature: Feature, target: Target, train: Rows) -> bool:
    """Whether a feature is a linear function of a numeric target, or each of its values belongs to one class, and each
    class to one of its values, in the training split.
    """
    import polars as pl

    for rows in (train[:SAMPLE], train):  # nearly always, few rows are enough to see that it does not
        values, wanted = feature.column.values.gather(rows), pl.Series(target.values[rows])
        if feature.column.kind == "number" and not target.labels:
            both = values.is_not_null().to_numpy()
            if both.sum() < 3 or not _are_linear(values.to_numpy()[both], target.values[rows][both]):
                return False
        elif not _are_paired(values, wanted):
            return False
    return True


def _are_linear(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether the correlation is 1 or -1, up to rounding."""
    first, second = first - first.mean(), second - second.mean()
    product = np.sqrt(first @ first) * np.sqrt(second @ second)
    return bool(product > 0 and abs(first @ second) >= (1 - 1e-10) * product)


def _are_paired(first: pl.Series, second: pl.Series) -> bool:
    """Whether equal values of one are equal values of the other, and the values are repeated."""
    import polars as pl

    pairs = pl.DataFrame({"first": first, "second": second})
    number = pairs.n_unique()
    return 1 < number <= len(pairs) / 2 and number == first.n_unique() == second.n_unique()
