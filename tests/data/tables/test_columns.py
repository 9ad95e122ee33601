"""The inputs of a table are those of a scikit-learn pipeline, and nothing is learned from held-out rows."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from support.configs import parsed
from support.tables import Columns, written

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.tables.columns import encoder_of
from dl_lab.data.tables.heads import in_float32
from dl_lab.training.setup import build_data

ROWS = 300


def mixed(seed: int) -> Columns:
    """Columns as text, "" where missing."""
    random = np.random.default_rng(seed)

    def with_gaps(cells: np.ndarray) -> list[str]:
        return [str(cell) if random.random() < 0.8 else "" for cell in cells]

    numbers = np.exp(random.normal(size=ROWS))
    days = [datetime.date(2019, 12, 1) + datetime.timedelta(int(day)) for day in random.integers(0, 900, ROWS)]
    return {
        "row": [str(row) for row in range(ROWS)],
        "full": [repr(float(number)) for number in numbers],
        "gaps": with_gaps(random.normal(100, 3, ROWS).round(1)),
        "few": with_gaps(random.choice([*"cab"], ROWS)),
        "many": with_gaps(random.choice([f"w{n}" for n in range(60)], ROWS, p=np.arange(1, 61) / 1830)),
        "flag": with_gaps(random.choice(["yes", "No"], ROWS)),
        "when": with_gaps(np.array(days)),
        "y": [repr(float(number)) for number in random.normal(size=ROWS)],
        "kind": [str(kind) for kind in random.choice([*"pq"], ROWS)],
    }


def built(folder: Path, columns: Columns, *overrides: str) -> Data:
    path = written(folder / "table.csv", columns)
    return build_data(parsed("dataset=table", f"dataset.path={path}", "dataset.targets=[y]", *overrides))


def matrix(data: Data) -> dict[str, np.ndarray]:
    """The inputs of all rows, by the names of the outputs; training, validation and test split one after the other."""
    assert data.preprocessing is not None
    names = [name for column in data.preprocessing.columns for name in encoder_of(column).outputs]
    inputs = torch.cat([split.inputs for split in (data.train, data.validation, data.test) if split is not None])
    return dict(zip(names, inputs.numpy().T, strict=True))


def of_scikit_learn(cells: list[str], name: str, order: np.ndarray, train: int, largest: int) -> dict[str, np.ndarray]:
    """The outputs of a column for rows in this order, of which the first are for training, by our names."""
    if name in ("full", "gaps"):
        numbers = np.array([float(cell or "nan") for cell in cells])[order, None]
        filled = SimpleImputer(strategy="median", add_indicator=True).fit(numbers[:train]).transform(numbers)
        scaled = StandardScaler().fit(filled[:train, :1]).transform(filled[:, :1])
        return dict(zip([name, f"missingindicator_{name}"], [scaled[:, 0], *filled.T[1:]], strict=False))
    words = np.array([cell.lower() if name == "flag" else cell for cell in cells], dtype=object)[order, None]
    encoder = make_pipeline(
        SimpleImputer(missing_values="", strategy="most_frequent"),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=largest,
            sparse_output=False,
            drop="if_binary" if name == "flag" else None,
        ),
    ).fit(words[:train])
    names = [each.replace("infrequent_sklearn", "other") for each in encoder[-1].get_feature_names_out([name])]
    is_missing = (words[:, 0] == "").astype(float)
    return {**dict(zip(names, encoder.transform(words).T, strict=True)), f"missingindicator_{name}": is_missing}


@pytest.mark.parametrize("largest", [4, 20, 60])
def test_the_inputs_are_those_of_scikit_learn(tmp_path: Path, largest: int) -> None:
    columns = mixed(largest)
    more = f"dataset.max_categories={largest}", "dataset.drop=[when,kind]", "dataset.numbers=[row]"
    data = built(tmp_path, columns, *more)
    found = matrix(data)
    order = np.round(matrix(built(tmp_path, columns, *more, "dataset.standardize=false"))["row"]).astype(int)
    assert sorted(order) == list(range(ROWS))
    expected: dict[str, np.ndarray] = {}
    for name in ("full", "gaps", "few", "many", "flag"):
        expected |= of_scikit_learn(columns[name], name, order, len(data.train), largest)
    assert [*found] == ["row", *expected]
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-12, err_msg=name)


def test_dates_become_numbers(tmp_path: Path) -> None:
    columns = mixed(0)
    noon = [
        f"{cell} 12:30" if cell and row % 2 else f"{cell} 06:00" if cell else ""
        for row, cell in enumerate(columns["when"])
    ]
    shown = {"when": columns["when"], "exact": noon, "y": columns["y"]}
    found = matrix(built(tmp_path, shown, "dataset.standardize=false", "dataset.shuffle=false"))
    for name, texts in (("when", shown["when"]), ("exact", noon)):
        known = [datetime.datetime.fromisoformat(text) if text else None for text in texts]
        train = sorted(date for date in known[:210] if date is not None)
        middle = len(train) // 2
        median = train[middle] if len(train) % 2 else train[middle - 1] + (train[middle] - train[middle - 1]) / 2
        dates = [date or median for date in known]
        features = {"year": [date.year for date in dates], "month": [date.month for date in dates]}
        features["weekday"] = [date.isoweekday() for date in dates]
        if name == "exact":
            features["hour"] = [date.hour for date in dates]
        features["days"] = [(date - train[0]) / datetime.timedelta(days=1) for date in dates]
        assert [each for each in found if each.startswith(name)] == [f"{name}_{feature}" for feature in features]
        for feature, values in features.items():
            np.testing.assert_allclose(found[f"{name}_{feature}"], values, atol=1e-9, err_msg=feature)


@pytest.mark.parametrize(
    "cells",
    [
        ["2020-01-31", "2020-12-01"],
        ["2020/01/31", "2020/12/01"],
        ["31.01.2020", "1.12.2020"],
        ["1/31/2020", "12/1/2020"],
        ["31/1/2020", "1/12/2020"],
        ["31-Jan-20", "01-Dec-20"],
        ["Jan 31 2020", "Dec 1 2020"],
        ["31 January 2020", "1 December 2020"],
        ["2020-01-31T00:00:00Z", "2020-12-01T00:00:00Z"],
        ["2020-01-31 02:00:00+02:00", "2020-12-01 02:00:00+02:00"],
        ["1/31/2020 12:00 AM", "12/1/2020 12:00 AM"],
    ],
)
def test_usual_formats_of_dates_are_found(tmp_path: Path, cells: list[str]) -> None:
    columns = {"when": cells * 10, "y": [str(row) for row in range(20)]}
    found = matrix(built(tmp_path, columns, "dataset.standardize=false", "dataset.shuffle=false"))
    assert found["when_month"].tolist() == [1, 12] * 10
    assert found["when_days"].tolist() == [0, 305] * 10


@pytest.mark.parametrize(
    ("override", "outputs"),
    [
        ("dataset.categories=[code]", ["code_7", "code_8"]),
        ("dataset.dates=[code]", []),
        ("dataset.numbers=[mark]", ["code", "mark", "missingindicator_mark"]),
        ("dataset.drop=[mark]", ["code"]),
        ("dataset.features=[mark]", ["mark_1", "mark_2", "mark_unknown"]),
    ],
)
def test_types_can_be_set(tmp_path: Path, override: str, outputs: list[str]) -> None:
    columns = {
        "code": ["07", "8", "8.0", "7"] * 5,
        "mark": ["1", "unknown", "2", "unknown"] * 5,
        "y": [*map(str, range(20))],
    }
    more = override, "dataset.shuffle=false"
    if outputs:
        assert [name for name in matrix(built(tmp_path, columns, *more)) if name in outputs] == outputs
    else:
        with pytest.raises(
            ConfigError, match=r"^dataset.dates=code has no date in the training split, but '07' in line 2"
        ):
            built(tmp_path, columns, *more)


def learned(data: Data) -> tuple[object, ...]:
    assert data.preprocessing is not None
    return data.spec, data.preprocessing, data.train.inputs.tolist(), data.train.targets.tolist()


@pytest.mark.parametrize("target", ["y", "kind"])
@pytest.mark.parametrize("way", ["order", "split", "shuffle"])
def test_nothing_is_learned_from_rows_that_are_held_out(tmp_path: Path, way: str, target: str) -> None:
    columns = mixed(0)
    columns["part"] = ["val" if row % 5 == 1 else "Test" if row % 5 == 2 else "train" for row in range(ROWS)]
    ways = {
        "order": ["dataset.shuffle=false", "dataset.drop=[part,row]"],
        "split": ["dataset.split=part", "dataset.drop=[row]"],
        "shuffle": ["dataset.stratify=false", "dataset.numbers=[row]", "dataset.drop=[part]"],
    }
    more = f"dataset.targets=[{target}]", "dataset.max_categories=20", *ways[way]
    data = built(tmp_path, columns, *more)
    if way == "shuffle":
        held_out = {*range(ROWS)} - {
            *map(int, columns_of_rows(built(tmp_path, columns, *more, "dataset.standardize=false")))
        }
    else:
        held_out = {*range(210, ROWS)} if way == "order" else {row for row in range(ROWS) if row % 5 in (1, 2)}
    random = np.random.default_rng(1)
    other = {name: [*cells] for name, cells in columns.items()}
    for row in held_out:
        for name in ("full", "gaps", "few", "many", "flag", "when", *["row"] * (way == "order")):
            other[name][row] = str(random.choice(["", "NA", "new", "1e30", "-7", "true", "1999-01-01", "a"]))
        if way != "shuffle":
            other["y"][row], other["kind"][row] = str(random.normal() * 1e6), str(random.choice(["p", "z", "7"]))
    assert learned(built(tmp_path, other, *more)) == learned(data)


def columns_of_rows(data: Data) -> list[float]:
    found = matrix(data)["row"]
    return [round(value) for value in found[: len(data.train)]]


def test_cells_that_the_training_rows_do_not_explain_are_counted(tmp_path: Path, capsys) -> None:
    announce.cache_clear()
    columns = {
        "x": [*map(str, range(0, 60, 3)), "two", "7"][-20:],
        "word": [*"abc" * 5, *"abdee"],
        "empty": [""] * 20,
        "y": ["", *map(str, range(19))],
    }
    data = built(tmp_path, columns, "dataset.shuffle=false", "dataset.standardize=false", "dataset.numbers=[x]")
    printed = capsys.readouterr().out
    for line in (
        "1 of 20 rows without y, left out",
        "columns without a value in the training split: empty",
        "line 20, column x: 'two' is not read as a number, and missing",
        "column word: 3 cells with a category that is not in the training split",
    ):
        assert line in printed
    assert matrix(data)["x"][-2] == np.median([float(cell) for cell in columns["x"][1:14]])


def test_what_was_learned_is_read_as_it_was_written(tmp_path: Path) -> None:
    preprocessing = built(tmp_path, mixed(0)).preprocessing
    assert preprocessing is not None
    again = Preprocessing.from_dict(json.loads(json.dumps(preprocessing.as_dict())))
    assert again == preprocessing
    assert {column["kind"] for column in again.columns} == {"number", "boolean", "category", "date"}


@pytest.mark.parametrize("largest", [1e39, -1e39])
def test_the_first_column_that_float32_cannot_hold_is_named(largest: float) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.features=b has a value of size 1e\+39"):
        in_float32("features", ["a", "b", "c"], np.array([[1, largest, 0], [0, 1, 2e40]]))
