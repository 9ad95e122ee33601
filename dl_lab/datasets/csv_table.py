"""Tables from CSV files with a header line."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from math import inf
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.data.files import read_text
from dl_lab.data.tables.cells import MISSING, Lines, parse_number
from dl_lab.datasets.csv_layout import check_header, check_layout
from dl_lab.datasets.csv_separator import other_format
from dl_lab.datasets.table import Table, TableConfig, choose_columns, table_data
from dl_lab.registry import DATASETS

LARGEST = float(np.finfo(np.float32).max)
COUNTER = re.compile(r"index|level_\d+|id|rownames|row", re.IGNORECASE)  # names of pandas and R
IDENTIFIER = re.compile(r"(?i:^|[\W_])(?i:id|idx|index|no|nr|number|row|key)\W*$|[a-z](?:Id|ID|Index|No|Number)$")
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
    text, problem = read_text(path, "a CSV file"), ""
    lines: Lines = []
    if other := other_format(text):
        raise ConfigError(f"dataset.path={path} seems to be {other}; allowed: a CSV file")
    reader = csv.reader(StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        lines.extend(
            (reader.line_num, [cell.strip() for cell in row]) for row in reader if "".join(row).strip() or len(row) > 1
        )
    except csv.Error as error:
        problem = f"line {reader.line_num}: {error}"
    check_layout(path, text, lines, problem)
    if len(lines) < 2:
        what = "has a header but no rows" if lines else "is empty"
        raise ConfigError(f"dataset.path={path} {what}; allowed: a header line and rows of numbers")
    return lines


def _without_index(config: CSVConfig, header: list[str], lines: Lines) -> list[str]:
    """Return the names of the columns without those that only number the rows: the first one if it has no name,
    "Unnamed: 0", and "index", "id" or "rownames" if it counts the rows. The chosen features and targets are kept.
    """
    if config.features:
        return header
    names = []
    for place, name in enumerate(header):
        is_index = (place == 0 and not name) or name.startswith("Unnamed: ")
        if COUNTER.fullmatch(name):
            cells = [cells[place] for _, cells in lines]
            is_index = any(cells == [str(first + row) for row in range(len(cells))] for first in (0, 1))
        if is_index and name not in config.targets:
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


def _name_identifiers(config: CSVConfig, columns: Mapping[str, NDArray[np.float64]]) -> None:
    """Print the features that seem to identify the rows: whole numbers, all distinct, which count or are named so. A
    single feature, such as a time, is meant.
    """
    found = [
        name
        for name, values in columns.items()
        if len(np.unique(values)) == len(values) > 2
        and not (values % 1).any()
        and (np.ptp(values) == len(values) - 1 or IDENTIFIER.search(name))
    ]
    if found and not config.features and len(columns) > 1:
        announce(
            f"warning: dataset.path={config.path}: features that seem to number the rows: {', '.join(found)}; hint: "
            "choose the other columns with dataset.features=[...]"
        )


def _refuse_missing(path: str, columns: Mapping[str, Sequence[str]], numbers: Sequence[int]) -> None:
    marks = {name: MISSING - {"-"} if "+" in cells else MISSING for name, cells in columns.items()}
    if all(marks[name].isdisjoint(cells) for name, cells in columns.items()):
        return
    missing = [
        (number, name, cell)
        for name, cells in columns.items()
        for number, cell in zip(numbers, cells, strict=True)
        if cell in marks[name]
    ]
    number, name, cell = min(missing)
    raise ConfigError(
        f"dataset.path={path} line {number}, column {name}: {cell!r} is a missing value, the first of {len(missing)}; "
        "allowed: a value in every cell; hint: fill them in, remove their lines, or choose other columns with "
        "dataset.features=[...]; if it is a class, rename it"
    )


def _numbers(path: str, name: str, cells: Sequence[str], numbers: Sequence[int]) -> NDArray[np.float64]:
    parsed = [parse_number(cell) for cell in cells]
    values = np.array(parsed, dtype=np.float64)  # None becomes nan
    is_bad = ~(np.abs(values) <= LARGEST)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise ConfigError(
            f"dataset.path={path} line {numbers[row]}, column {name}: {cells[row]!r} is not a number; allowed: finite "
            "numbers (float32), such as 4623.5 or -1e3; hint: choose columns of numbers with dataset.features=[...]; "
            "a target may be a class with dataset.task=classification"
        )
    inexact = {value for value in parsed if isinstance(value, int)} if np.abs(values).max() >= 2**53 else {}
    if len(set(map(float, inexact))) < len(inexact):
        raise ConfigError(
            f"dataset.path={path} column {name} has whole numbers beyond 2^53 that are equal in float64; "
            "allowed: numbers that float64 tells apart; hint: choose columns with dataset.features=[...]"
        )
    return values


def _classes(path: str, name: str, cells: Sequence[str]) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Return class numbers (row,) and names. Numbers of equal value, such as 1 and 1.0, are one class, and so are two
    spellings of one Unicode text.
    """
    values = {cell: parse_number(cell) for cell in sorted(set(cells), key=lambda cell: (len(cell), cell))}
    are_numbers = all(value is not None and abs(value) < inf for value in values.values())
    keys = values if are_numbers else {cell: normalize("NFC", cell) for cell in values}
    names: dict[object, str] = {}
    for cell, key in keys.items():
        names.setdefault(key, cell if are_numbers else normalize("NFC", cell))
    labels = sorted(names.values())
    places = {label: place for place, label in enumerate(labels)}
    where = f"dataset.path={path} column {name}"
    if len(labels) < 2:
        raise ConfigError(f"{where} holds one class, {labels[0]}; allowed: two or more")
    if are_numbers and 2 * len(labels) > len(cells) and not all(float(label).is_integer() for label in labels):
        raise ConfigError(
            f"{where} holds {len(labels)} distinct numbers in {len(cells)} rows; allowed: classes; hint: "
            "dataset.task=regression"
        )
    folded = Counter(label.casefold() for label in labels)
    if alike := [label for label in labels if folded[label.casefold()] > 1]:
        announce(f"{where}: classes that differ only in their case: {', '.join(alike[:5])}")
    return np.array([places[names[keys[cell]]] for cell in cells]), labels


@DATASETS.register("csv", CSVConfig, kinds={"features"}, tasks={"regression", "classification", "multi_output"})
def csv_file(config: CSVConfig, data_dir: Path, seed: int) -> Data:
    """Rows of a CSV file; features are numbers, targets are numbers or class names.

    Raises:
        ConfigError: naming line and column, if the file is missing, empty, ragged or not numeric.
    """
    (_, header), *lines = everything = _read(config.path)
    check_header(config.path, everything, config.features)
    numbers, places = [number for number, _ in lines], {name: place for place, name in enumerate(header)}

    def column(name: str) -> list[str]:
        place = places[name]
        return [cells[place] for _, cells in lines]

    def is_class(name: str) -> bool:
        if config.task == "multi_output":
            return any(parse_number(cell) is None for cell in column(name))
        return config.task == "classification"

    class_names = [name for name in config.targets if name in places and is_class(name)]
    number_names = [name for name in _without_index(config, header, lines) if name not in class_names]
    features = choose_columns(config, number_names, class_names)
    columns = {name: column(name) for name in [*features, *config.targets]}
    _refuse_missing(config.path, columns, numbers)
    needed = [name for name in columns if name not in class_names]
    table = Table(
        numbers={name: _numbers(config.path, name, columns[name], numbers) for name in needed},
        classes={name: _classes(config.path, name, columns[name]) for name in class_names},
    )
    _name_identifiers(config, {name: table.numbers[name] for name in features})
    return table_data(config, table, seed)
