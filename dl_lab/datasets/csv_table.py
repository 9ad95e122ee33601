"""Tables from CSV files with a header line."""

import csv
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.datasets.csv_layout import Lines, check_header, check_layout, is_missing, parse_number
from dl_lab.datasets.files import read_text
from dl_lab.datasets.table import Table, TableConfig, choose_columns, table_data
from dl_lab.registry import DATASETS

LARGEST = float(np.finfo(np.float32).max)
COUNTER = re.compile(r"index|level_\d+|id", re.IGNORECASE)
csv.field_size_limit(2**31 - 1)  # of characters in a cell; Python's default is 128 kB


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


def _read(path: str) -> Lines:
    """Return (line number, cells) of every line that is not blank; the first one is the header."""
    reader = csv.reader(StringIO(read_text(path, "a CSV file"), newline=""), strict=True)
    try:
        lines = [
            (reader.line_num, [cell.strip() for cell in row]) for row in reader if "".join(row).strip() or len(row) > 1
        ]
    except csv.Error as error:
        raise ConfigError(f"dataset.path={path} line {reader.line_num}: {error}; allowed: a CSV file") from error
    if len(lines) < 2:
        what = "has a header but no rows" if lines else "is empty"
        raise ConfigError(f"dataset.path={path} {what}; allowed: a header line and rows of numbers")
    check_layout(path, lines)
    return lines


def _without_index(config: CSVConfig, header: list[str], lines: Lines) -> list[str]:
    """Return the names of the columns without those that only number the rows, as pandas writes them: the first one if
    it has no name, "Unnamed: 0", and "index" or "id" if it counts the rows. The chosen features and targets are kept.
    """
    if config.features:
        return header
    names = []
    for place, name in enumerate(header):
        cells = [cells[place] for _, cells in lines]
        counts = any(cells == [str(first + row) for row in range(len(cells))] for first in (0, 1))
        unnamed = (place == 0 and not name) or re.fullmatch(r"Unnamed: \d+", name)
        if name not in config.targets and (unnamed or (counts and COUNTER.fullmatch(name))):
            announce(
                f"dataset.path={config.path}: column {place + 1} ({name or 'without a name'}) is left out, because it "
                "seems to number the rows; dataset.features=[...] can include it"
            )
        elif not name:
            raise ConfigError(
                f"dataset.path={config.path}: column {place + 1} has no name; allowed: a name for each column; hint: "
                "remove it (such as a comma at the end of each line), or choose columns with dataset.features=[...]"
            )
        else:
            names.append(name)
    return names


def _refuse_missing(path: str, names: Sequence[str], places: dict[str, int], lines: Lines) -> None:
    missing = [
        (number, name, cells[places[name]])
        for number, cells in lines
        for name in names
        if is_missing(cells[places[name]])
    ]
    if missing:
        number, name, cell = missing[0]
        raise ConfigError(
            f"dataset.path={path} line {number}, column {name}: {cell!r} is a missing value, the first of "
            f"{len(missing)}; allowed: a value in every cell; hint: fill them in, remove their lines, or choose other "
            "columns with dataset.features=[...]"
        )


def _numbers(path: str, name: str, place: int, lines: Lines) -> NDArray[np.float64]:
    values = []
    for number, cells in lines:
        value = parse_number(cells[place])
        if value is None or not abs(value) <= LARGEST:  # also true for nan
            raise ConfigError(
                f"dataset.path={path} line {number}, column {name}: {cells[place]!r} is not a finite number (float32), "
                "such as 4623.5 or -1e3; hint: choose columns with dataset.features=[...], or "
                "dataset.task=classification for a class as target"
            )
        if isinstance(value, int) and value != float(value):
            raise ConfigError(
                f"dataset.path={path} line {number}, column {name}: {cells[place]} has too many digits for a number; "
                "allowed: whole numbers up to 2^53; hint: choose columns with dataset.features=[...]"
            )
        values.append(value)
    return np.array(values, dtype=np.float64)


def _classes(path: str, name: str, place: int, lines: Lines) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Return class numbers (row,) and names. Numbers of equal value, such as 1 and 1.0, are one class."""
    for number, cells in lines:
        if "\0" in cells[place]:
            raise ConfigError(
                f"dataset.path={path} line {number}, column {name}: {cells[place]!r} is not a name; "
                "allowed: the name of a class"
            )
    cells = [normalize("NFC", cells[place]) for _, cells in lines]
    spellings: dict[object, str] = {}
    distinct = sorted(set(cells), key=lambda cell: (len(cell), cell))
    are_numbers = all(parse_number(cell) is not None for cell in distinct)
    for cell in distinct:
        first = spellings.setdefault(parse_number(cell) if are_numbers else cell.casefold(), cell)
        if first != cell and not are_numbers and len(cell) > 1:  # letters may differ in their case
            raise ConfigError(
                f"dataset.path={path} column {name}: {first!r} and {cell!r} differ in their case only; "
                "allowed: one spelling for each class"
            )
    if are_numbers:
        cells = [spellings[parse_number(cell)] for cell in cells]
    labels, numbers = np.unique(cells, return_inverse=True)
    if len(labels) < 2:
        raise ConfigError(f"dataset.path={path} column {name} holds one class, {labels[0]}; allowed: two or more")
    if are_numbers and 2 * len(labels) > len(cells) and not all(float(label).is_integer() for label in labels):
        raise ConfigError(
            f"dataset.path={path} column {name} holds {len(labels)} distinct numbers in {len(cells)} rows; "
            "allowed: classes; hint: dataset.task=regression"
        )
    return numbers.astype(np.int64), labels.tolist()


@DATASETS.register("csv", CSVConfig, kinds={"features"}, tasks={"regression", "classification", "multi_output"})
def csv_file(config: CSVConfig, data_dir: Path, seed: int) -> Data:
    """Rows of a CSV file; features are numbers, targets are numbers or class names.

    Raises:
        ConfigError: naming line and column, if the file is missing, empty, ragged or not numeric.
    """
    (_, header), *lines = everything = _read(config.path)
    check_header(config.path, everything, config.features)
    places = {name: place for place, name in enumerate(header)}

    def is_class(name: str) -> bool:
        if config.task == "multi_output":
            return any(parse_number(cells[places[name]]) is None for _, cells in lines)
        return config.task == "classification"

    class_names = [name for name in config.targets if name in places and is_class(name)]
    number_names = [name for name in _without_index(config, header, lines) if name not in class_names]
    features = choose_columns(config, number_names, class_names)
    _refuse_missing(config.path, [*features, *config.targets], places, lines)
    needed = [*features, *(name for name in config.targets if name not in class_names)]
    table = Table(
        numbers={name: _numbers(config.path, name, places[name], lines) for name in needed},
        classes={name: _classes(config.path, name, places[name], lines) for name in class_names},
    )
    return table_data(config, table, seed)
