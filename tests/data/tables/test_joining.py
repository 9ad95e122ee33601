"""Rows of training, validation and test in files of their own."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.tables.joining import JoinedTable, read_tables
from dl_lab.data.tables.reading import Reading

READING = {"separator": "auto", "encoding": "auto", "header": True, "missing": []}
READING |= {"decimal": "auto", "thousands": None, "percent": False}
TRAIN = "a,b,name,y\n1,2,x,1\n2,3,z,0\n3,4,x,1\n"


def read(folder: Path, drop: tuple[str, ...] = (), **contents: str | bytes) -> Any:
    """The table of files with these contents, by key."""
    for key, content in contents.items():
        (folder / key).write_bytes(content if isinstance(content, bytes) else content.encode())
    paths = {key: str(folder / key) if key in contents else None for key in ("path", "validation_path", "test_path")}
    return read_tables(paths, Reading(**READING), [], ["y"], lambda name: name not in drop)


def test_columns_are_matched_by_name_in_any_order_and_format(tmp_path: Path, capsys: Any) -> None:
    announce.cache_clear()
    pl.DataFrame({"y": [0, 1], "b": [7, 8], "a": [5, 6], "name": ["q", None]}).write_parquet(tmp_path / "test.parquet")
    test = (tmp_path / "test.parquet").read_bytes()
    table = read(tmp_path, path=TRAIN, validation_path="y;extra;name;b;a\n1;9;x;5;4\n", test_path=test)
    assert isinstance(table, JoinedTable)
    assert table.frame.columns == ["a", "b", "name", "y"]
    assert table.frame["a"].to_list() == list("123456")
    assert table.frame["b"].to_list() == list("234578")
    assert table.frame["name"].to_list() == ["x", "z", "x", "x", "q", None]
    assert table.words == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert "columns that dataset.path does not have are left out: extra" in capsys.readouterr().out
    assert table.place(2, "a") == "line 4, column a"
    assert table.place(3, "a") == f"dataset.validation_path={tmp_path / 'validation_path'} line 2, column a"
    assert table.place(5, "a") == f"dataset.test_path={tmp_path / 'test_path'} row 2, column a"


def test_dates_and_numbers_of_one_column_become_text(tmp_path: Path) -> None:
    files = {}
    for key, column in (("path", pl.Series([0], dtype=pl.Int64).cast(pl.Date)), ("test_path", pl.Series([1]))):
        pl.DataFrame({"a": column, "n": [0.5], "y": [1]}).write_parquet(tmp_path / "some.parquet")
        files[key] = (tmp_path / "some.parquet").read_bytes()
    table = read(tmp_path, **files)
    assert table.frame["a"].to_list() == ["1970-01-01", "1"]
    assert table.frame["n"].to_list() == [0.5, 0.5]


def test_a_dropped_column_may_be_missing(tmp_path: Path) -> None:
    table = read(tmp_path, ("b",), path=TRAIN, test_path="a,name,y\n1,x,1\n")
    assert table.frame["b"].to_list() == ["2", "3", "4", None]


def test_one_file_is_read_as_always(tmp_path: Path) -> None:
    assert not isinstance(read(tmp_path, path=TRAIN), JoinedTable)


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("test_path", "a,b,name\n1,2,x\n", "has no column y, a target; allowed: the columns of dataset.path="),
        ("test_path", "a,B,name,y\n1,2,x,1\n", "has no column b; allowed: the columns of dataset.path="),
        ("validation_path", "a,b,names,y\n1,2,x,1\n", "has no column name (nearest: names); allowed"),
        ("validation_path", "", "validation_path={} is empty"),
        ("test_path", "a,b,name,y\n", "test_path={} has a header but no rows"),
    ],
)
def test_a_file_that_does_not_fit_is_named_by_its_key(tmp_path: Path, key: str, content: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, **{"path": TRAIN, key: content})
    assert message.format(tmp_path / key) in str(error.value)
    assert str(error.value).startswith(f"dataset.{key}={tmp_path / key}")


def test_the_training_file_is_no_test_file(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "again.csv").symlink_to("train.csv")
    paths = {"path": str(tmp_path / "train.csv"), "test_path": str(tmp_path / "again.csv")}
    with pytest.raises(ConfigError, match=r"test_path=.* is also dataset.path; allowed: a file of its own"):
        read_tables(paths, Reading(**READING), [], ["y"], lambda name: True)
