"""Tables from CSV files with a header line."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.datasets.table import Table, TableConfig, choose_columns, table_data
from dl_lab.registry import DATASETS

LARGEST = float(np.finfo(np.float32).max)
Lines = list[tuple[int, list[str]]]


class CSVConfig(TableConfig):
    """`task`: the targets are numbers (regression), one column of class names (classification), or both (multi_output).

    With multi_output, a target that contains anything but numbers is a class.
    """

    path: str
    task: Literal["regression", "classification", "multi_output"]

    def __post_init__(self) -> None:
        if self.task == "classification" and len(self.targets) != 1:
            raise ConfigError(
                f"dataset.targets={self.targets} is not allowed with dataset.task=classification; "
                "allowed: one column; hint: dataset.task=multi_output for several"
            )


def _read(path: str) -> tuple[list[str], Lines]:
    """Return the header, and (line number, cells) of every line that is not blank."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [
                (reader.line_num, [cell.strip() for cell in row])
                for row in reader
                if "".join(row).strip() or len(row) > 1
            ]
    except OSError as error:
        raise ConfigError(f"dataset.path={path} cannot be read ({error.strerror}); allowed: a CSV file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"dataset.path={path} is not UTF-8 at byte {error.start}; allowed: a CSV file") from error
    except csv.Error as error:
        raise ConfigError(f"dataset.path={path} line {reader.line_num}: {error}; allowed: a CSV file") from error
    if len(lines) < 2:
        what = "has a header but no rows" if lines else "is empty"
        raise ConfigError(f"dataset.path={path} {what}; allowed: a header line and rows of numbers")
    header = lines[0][1]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ConfigError(
            f"dataset.path={path} line {lines[0][0]}: column {twice!r} appears twice; hint: rename one of them"
        )
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise ConfigError(
                f"dataset.path={path} line {number} has {len(cells)} cells; allowed: {len(header)}, as in the header"
            )
    return header, lines[1:]


def _number(cell: str) -> float | None:
    """Parse a number as spreadsheets write it; None for anything else, including Python's notation 1_000."""
    try:
        return float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None


def _numbers(path: str, name: str, place: int, lines: Lines) -> "np.typing.NDArray[np.float64]":
    values = []
    for number, cells in lines:
        value = _number(cells[place])
        if value is None or not abs(value) <= LARGEST:  # also true for nan
            raise ConfigError(
                f"dataset.path={path} line {number}, column {name}: {cells[place]!r} is not a finite number (float32); "
                "hint: choose columns with dataset.features=[...], or dataset.task=classification for a class as target"
            )
        values.append(value)
    return np.array(values, dtype=np.float64)


def _classes(path: str, name: str, place: int, lines: Lines) -> "tuple[np.typing.NDArray[np.int64], Sequence[str]]":
    for number, cells in lines:
        if not cells[place] or "\0" in cells[place]:
            what = f"{cells[place]!r} is not a name" if cells[place] else "is empty"
            raise ConfigError(f"dataset.path={path} line {number}, column {name}: {what}; allowed: the name of a class")
    labels, numbers = np.unique([cells[place] for _, cells in lines], return_inverse=True)
    if len(labels) < 2:
        raise ConfigError(f"dataset.path={path} column {name} holds one class, {labels[0]}; allowed: two or more")
    return numbers.astype(np.int64), labels.tolist()


@DATASETS.register("csv", CSVConfig, kinds={"features"}, tasks={"regression", "classification", "multi_output"})
def csv_file(config: CSVConfig, data_dir: Path, seed: int) -> Data:
    """Rows of a CSV file; features are numbers, targets are numbers or class names.

    Raises:
        ConfigError: naming line and column, if the file is missing, empty, ragged or not numeric.
    """
    header, lines = _read(config.path)
    places = {name: place for place, name in enumerate(header)}

    def is_class(name: str) -> bool:
        if config.task == "multi_output":
            return any(_number(cells[places[name]]) is None for _, cells in lines)
        return config.task == "classification"

    class_names = [name for name in config.targets if name in places and is_class(name)]
    number_names = [name for name in header if name not in class_names]
    features = choose_columns(config, number_names, class_names)
    needed = [*features, *(name for name in config.targets if name not in class_names)]
    table = Table(
        numbers={name: _numbers(config.path, name, places[name], lines) for name in needed},
        classes={name: _classes(config.path, name, places[name], lines) for name in class_names},
    )
    return table_data(config, table, seed)
