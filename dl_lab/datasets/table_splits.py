"""Divide the rows of a table into training, validation and test."""

from typing import Any

from dl_lab.core.errors import ConfigError
from dl_lab.data.tables import targets
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.heads import Values
from dl_lab.data.tables.joining import JoinedTable
from dl_lab.data.tables.partition import TRAIN, Parts, assigned_splits, partition
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.types import as_text, typed
from dl_lab.datasets.table_config import RowsConfig


def divided(config: RowsConfig, table: RawTable, rows: Rows, seed: int) -> Parts:
    """The rows of each split. One target of classes can be stratified, and only then do its held-out rows matter."""
    given: dict[str, Any] = {}
    if config.split is not None:
        given["assigned"] = as_text(table.frame[config.split]).gather(rows).to_list()
    if isinstance(table, JoinedTable):
        words = table.words
        given["assigned"] = [words[row] for row in rows]
    free = rows[assigned_splits(config, given.get("assigned"), len(rows)) == TRAIN]
    if config.shuffle and config.stratify is not False and not config.time and len(config.targets) == 1:
        (name,) = config.targets
        if targets.task_of(table, name, free, config.task_of(name)) == "classification":
            target = targets.class_target(table, name, free)
            given |= {"classes": target.values[rows], "labels": target.labels}
    if config.group is not None:
        given["groups"] = (
            as_text(table.frame[config.group]).gather(rows).rank("dense").cast(int).fill_null(0).to_numpy() - 1
        )
    if config.time is not None:
        given["times"] = _times(table, config.time, rows)
    return Parts(*(rows[part] for part in partition(config, len(rows), seed, **given)))


def _times(table: RawTable, name: str, rows: Rows) -> Values:
    column = typed(table, name, rows)
    if column is None or column.kind not in ("number", "date"):
        raise ConfigError(f"dataset.time={name} is no column of dates or numbers; allowed: one of them")
    values = column.values.gather(rows)
    return (values if column.kind == "number" else values.dt.epoch("us").cast(float)).to_numpy()
