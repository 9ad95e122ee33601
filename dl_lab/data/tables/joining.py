"""One table of the rows of several files: of training, and of validation or test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.tables.reading import RawTable, Reading, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

SPLITS = {"path": "train", "validation_path": "validation", "test_path": "test"}  # the split of each file, by its key


@dataclass(frozen=True)
class JoinedTable(RawTable):
    """The rows of several files, one below the other, by the key of each file."""

    files: Mapping[str, RawTable]

    @property
    def candidates(self) -> NDArray[np.int64]:
        return self.files["path"].candidates

    def place(self, row: int, column: str) -> str:
        for key, table in self.files.items():
            if row < len(table.frame):
                inside = table.place(row, column)
                return inside if key == "path" else f"dataset.{key}={table.path} {inside}"
            row -= len(table.frame)
        raise IndexError(row)

    @property
    def words(self) -> list[str]:
        """The split that each row is assigned to."""
        return [word for key, table in self.files.items() for word in [SPLITS[key]] * len(table.frame)]


def read_tables(
    paths: Mapping[str, str | None],
    options: Reading,
    features: Sequence[str],
    targets: Sequence[str],
    is_needed: Callable[[str], bool],
    is_feature: Callable[[str], bool] = lambda name: False,
) -> RawTable:
    """Read the file of `path`, and those of the other keys that are given. Columns are matched by name, and those that
    only another file has are left out. `is_feature` is for `read_table`.

    Raises:
        ConfigError: if a file cannot be read, or has no column that `is_needed`.
    """
    others = {key: path for key, path in paths.items() if path is not None and key != "path"}
    if not others:
        return read_table(str(paths["path"]), options, features, is_feature)
    first = read_table(str(paths["path"]), options, features)  # as text, which other files may have in these columns
    files = {"path": first}
    for key, path in others.items():
        if earlier := [other for other, table in files.items() if Path(table.path).resolve() == Path(path).resolve()]:
            raise ConfigError(f"dataset.{key}={path} is also dataset.{earlier[0]}; allowed: a file of its own")
        table = _read(key, path, options, features)
        files[key] = _alike(key, table, first, targets, is_needed)

    import polars as pl

    try:
        frame = pl.concat(_of_one_type([table.frame for table in files.values()]), how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        keys, reason = " and ".join(f"dataset.{key}" for key in files), str(error).partition("\n")[0]
        raise ConfigError(f"{keys} do not fit ({reason}); allowed: columns of the same types") from error
    return JoinedTable(first.path, frame, first.options, first.layout, {}, files)


def _of_one_type(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The same frames, with columns as text that are neither numbers in all of them nor dates in all of them."""
    import polars as pl

    differ = []
    for name in frames[0].columns:
        types = {frame.schema[name] for frame in frames} - {pl.Null()}
        alike = len(types) < 2 or all(each.is_numeric() for each in types) or all(each.is_temporal() for each in types)
        if not alike:
            differ.append(name)
    return [frame.with_columns(pl.col(differ).cast(pl.String)) for frame in frames]


def _read(key: str, path: str, options: Reading, features: Sequence[str]) -> RawTable:
    try:
        return read_table(path, options, features)
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"dataset.path={path}", f"dataset.{key}={path}")) from error


def _alike(
    key: str, table: RawTable, first: RawTable, targets: Sequence[str], is_needed: Callable[[str], bool]
) -> RawTable:
    """The same table with the columns of the first one."""
    import polars as pl

    names, own = first.frame.columns, table.frame.columns
    for name in names:
        if name in own or not is_needed(name):
            continue
        nearest = get_close_matches(name, own, n=1)
        what, hint = (", a target", "") if name in targets else ("", f"; hint: dataset.drop=[{name}] leaves it out")
        raise ConfigError(
            f"dataset.{key}={table.path} has no column {name}{what}{f' (nearest: {nearest[0]})' if nearest else ''}; "
            f"allowed: the columns of dataset.path={first.path}, in any order{hint}"
        )
    if more := [name for name in own if name not in names]:
        announce(f"dataset.{key}={table.path}: columns that dataset.path does not have are left out: {', '.join(more)}")
    chosen = [pl.col(name) if name in own else pl.lit(None).alias(name) for name in names]
    return replace(table, frame=table.frame.select(chosen))
