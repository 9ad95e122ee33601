"""dataset=table: the keys that decide in which split a row is, from the file to the splits."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.configs import parsed

from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.training.setup import build_data

ROWS = 60
RANDOM = np.random.default_rng(0)
FRAME = pl.DataFrame({
    "row": np.arange(ROWS) + 0.5,  # tells which rows are in a split
    "patient": RANDOM.integers(0, 20, ROWS),
    "word": RANDOM.choice(["a", "b"], ROWS),
    "day": pl.Series(RANDOM.permutation(ROWS)).cast(pl.Int32).cast(pl.Date),
    "part": ["train", "Valid", "TEST"] * (ROWS // 3),
    "y": RANDOM.choice(["no", "yes"], ROWS, p=[0.8, 0.2]),
})  # fmt: skip


def build(folder: Path, *keys: str, **files: pl.DataFrame) -> Data:
    for key, frame in files.items():
        frame.write_csv(folder / f"{key}.csv")
    paths = [f"dataset.{key}={folder / key}.csv" for key in files]
    return build_data(parsed("dataset=table", "dataset.targets=[y]", "dataset.standardize=false", *paths, *keys))


def rows_of(data: Data) -> list[list[int]]:
    return [sorted(part.inputs[:, 0].int().tolist()) for part in (data.train, data.validation, data.test)]


def test_rows_are_in_the_split_of_their_file_and_change_nothing_learned(tmp_path: Path) -> None:
    keys = ("dataset.features=[row,patient,word,day]",)
    files = {"path": FRAME[:40], "validation_path": FRAME[40:50].select(FRAME.columns[::-1]), "test_path": FRAME[50:]}
    data = build(tmp_path, *keys, **files)
    assert rows_of(data) == [list(range(40)), list(range(40, 50)), list(range(50, 60))]
    wild = FRAME[50:].with_columns(row=pl.lit("?!"), patient=pl.lit(1e9), word=pl.lit("new"), day=pl.lit("soon"))
    other = build(tmp_path, *keys, **files | {"validation_path": wild, "test_path": wild[:3]})
    assert other.preprocessing == data.preprocessing
    np.testing.assert_array_equal(other.train.inputs, data.train.inputs)
    assert other.fingerprint != data.fingerprint


def test_test_rows_of_a_file_do_not_change_how_the_others_are_divided(tmp_path: Path) -> None:
    data = build(tmp_path, path=FRAME[:50], test_path=FRAME[50:])
    other = build(
        tmp_path, path=FRAME[:50], test_path=FRAME[50:].with_columns(y=pl.lit("never seen")).vstack(FRAME[50:])
    )
    np.testing.assert_array_equal(other.train.inputs, data.train.inputs)
    np.testing.assert_array_equal(other.validation.inputs, data.validation.inputs)
    assert data.validation.targets.sum() == 1  # of 50 rows, 10 in 50 are yes: stratified


MARKS = {  # training cells, and others
    "decimal": (["1,5", "2", "-", "3,25"], ["1.5", "1,5", "word", "-"]),
    "number": (["1", "-", "None", "4"], ["+", "word", "None", ""]),
    "boolean": (["yes", "None", "no", "-"], ["+", "yes", "-", "maybe"]),
    "sign": (["+", "-", "+", "-"], ["-", "1", "+", "word"]),
    "word": (["mild", "None", "None", "-"], ["1", "None", "mild", "-"]),
}


@pytest.mark.parametrize(("target", "labels"), [("sign", ("+", "-")), ("word", ("-", "None", "mild"))])
def test_marks_and_decimal_signs_are_those_of_the_training_rows(tmp_path: Path, target: str, labels: object) -> None:
    def data(held: int) -> Data:
        frame = pl.DataFrame({name: cells[0] + 2 * cells[held] for name, cells in MARKS.items()})
        frame.write_csv(tmp_path / "x.csv", separator=";")
        sizes = ["dataset.validation=4", "dataset.test=4", "dataset.shuffle=false"]
        return build_data(
            parsed("dataset=table", f"dataset.path={tmp_path}/x.csv", f"dataset.targets=[{target}]", *sizes)
        )

    alike, other = data(0), data(1)
    assert other.preprocessing == alike.preprocessing
    np.testing.assert_array_equal(other.train.inputs, alike.train.inputs)
    assert alike.spec.heads[0].labels == labels
    columns = {column["name"]: column for column in alike.preprocessing.columns}
    kinds = {name: (column["kind"], column["indicator"]) for name, column in columns.items()}
    expected = {"decimal": ("number", True), "number": ("number", True), "boolean": ("boolean", True)}
    assert kinds == expected | {({*MARKS} - {*expected, target}).pop(): ("category", False)}
    assert columns["decimal"]["fill"] == 2


def test_dashes_are_missing_in_a_target_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x,y\n" + "".join(f"{row},{row}.5\n{row},-\n" for row in range(10)))
    data = build_data(parsed("dataset=table", f"dataset.path={tmp_path}/x.csv", "dataset.targets=[y]"))
    assert sum(map(len, rows_of(data))) == 10


def test_columns_name_the_split_the_group_and_the_time(tmp_path: Path) -> None:
    assert rows_of(build(tmp_path, "dataset.split=part", path=FRAME)) == [list(range(n, ROWS, 3)) for n in range(3)]
    patients = FRAME["patient"].to_numpy()
    parts = [set(patients[part]) for part in rows_of(build(tmp_path, "dataset.group=patient", path=FRAME))]
    assert sum(map(len, parts)) == len(set(patients))
    days = FRAME["day"].to_numpy()
    train, validation, test = rows_of(build(tmp_path, "dataset.time=day", path=FRAME))
    assert days[train].max() < days[validation].min() <= days[validation].max() < days[test].min()


def test_every_row_is_validated_once_over_the_folds(tmp_path: Path) -> None:
    keys = ("dataset.folds=4", "dataset.test=12")
    found = [build(tmp_path, *keys, f"dataset.fold={fold}", path=FRAME) for fold in range(4)]
    assert sorted(sum((rows_of(data)[1] for data in found), rows_of(found[0])[2])) == list(range(ROWS))
    yes = [int(data.validation.targets.sum()) for data in found]
    assert max(yes) - min(yes) <= 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["dataset.group=gap"], "dataset.group=gap has 1 row without a value, such as row 4"),
        (["dataset.time=gap"], "dataset.time=gap has 1 row without a value, such as row 4"),
        (["dataset.split=gap"], "dataset.split=gap has 1 row without a value, such as row 4"),
        (["dataset.split=word"], "dataset.split=word row 1="),
        (["dataset.time=word"], "dataset.time=word is no column of dates or numbers; allowed"),
        (["dataset.group=pacient"], "dataset.group=pacient is not known (nearest: patient)"),
        (
            ["dataset.split=part", "dataset.test_path=x.csv"],
            "dataset.test_path=x.csv is not allowed; allowed: null with",
        ),
    ],
)
def test_mistakes_are_refused_in_one_line(tmp_path: Path, keys: list[str], message: str) -> None:
    gap: list[Any] = [None if row == 3 else row for row in range(ROWS)]
    with pytest.raises(ConfigError) as error:
        build(tmp_path, *keys, path=FRAME.with_columns(gap=pl.Series(gap)))
    assert message in str(error.value)
    assert "allowed:" in str(error.value)
