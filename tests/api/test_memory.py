"""Examples in memory: dl_lab.run(data=(X, y)) trains as on a table, and the checkpoint needs neither."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from support.commands import command, train

import dl_lab
from dl_lab import evaluate as evaluate_command

SHORT = ("train.steps=6", "train.validate_every=3", "train.log_every=2", "train.batch_size=10")
ROWS = 60


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def columns() -> dict[str, list[Any]]:
    """Rows with columns of all types, and missing values."""
    random = np.random.default_rng(0)
    area = [None if row % 7 == 0 else float(row) for row in range(ROWS)]
    city = [None if row % 11 == 0 else "abc"[row % 3] for row in range(ROWS)]
    pet = ["cat" if row % 3 else "dog" for row in range(ROWS)]
    price = random.normal(size=ROWS).round(3).tolist()
    return {"area": area, "city": city, "new": [row % 2 == 0 for row in range(ROWS)], "pet": pet, "price": price}


def pandas_frame() -> pd.DataFrame:
    frame = pd.DataFrame(columns())
    frame["city"] = frame["city"].astype("category")
    frame["area"] = frame["area"].astype("Float64")
    return frame


FRAMES: dict[str, Callable[[], Any]] = {
    "polars": lambda: pl.DataFrame(columns()),
    "lazy": lambda: pl.LazyFrame(columns()),
    "categorical": lambda: pl.DataFrame(columns()).with_columns(pl.col("city").cast(pl.Categorical)),
    "pandas": pandas_frame,
    "columns": columns,
    "rows": lambda: pl.DataFrame(columns()).to_dicts(),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_in_memory_trains_as_the_same_table_in_a_file(kind, folder):
    pl.DataFrame(columns()).write_parquet(folder / "rows.parquet")
    run = dl_lab.run(*SHORT, data=(FRAMES[kind](), ["pet", "price"]))
    ended = train(
        folder / "command",
        *SHORT,
        f"dataset.path={folder}/rows.parquet",
        "dataset=table",
        "dataset.targets=[pet,price]",
    )
    assert (run.folder / "metrics.jsonl").read_bytes() == (ended.run / "metrics.jsonl").read_bytes()
    mine, theirs = (torch.load(each / "checkpoints" / "best.pt")["preprocessing"] for each in (run.folder, ended.run))
    assert {**mine, "reading": 0} == {**theirs, "reading": 0}
    again = dl_lab.load(run.folder)
    with pytest.raises(dl_lab.ConfigError, match=r"^data has no row with a known target; "):
        again.evaluate(data=(columns() | {"pet": ["new"] * ROWS}, ["pet", "price"]))
    frame = FRAMES[kind]()
    assert again.predict(frame).equals(dl_lab.load(ended.run).predict(folder / "rows.parquet"))
    assert again.evaluate(data=(frame, ["pet", "price"])) == pytest.approx(again.evaluate(path="rows.parquet"))


ARRAYS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "numpy": lambda array: array,
    "torch": torch.from_numpy,
    "with gradient": lambda array: torch.tensor(array, requires_grad=True),
    "masked": np.ma.masked_invalid,
    "sparse": csr_matrix,
    "list": lambda array: array.tolist(),
    "pandas": lambda array: pd.DataFrame(array, columns=[f"column_{place + 1}" for place in range(array.shape[1])]),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("y", ["classes", "numbers", "several", "series"])
def test_arrays_of_all_libraries_train_the_same(kind, y, folder):
    random = np.random.default_rng(1)
    x = random.normal(size=(ROWS, 3))
    x[::9, 1] = np.nan
    given = {
        "classes": np.array(["up", "down"])[(x[:, 0] > 0).astype(int)],
        "numbers": x[:, 0] + 1,
        "several": np.column_stack([x[:, 0], x[:, 2]]),
        "series": pd.Series(x[:, 0], name="first", index=range(100, 100 + ROWS)),
    }[y]
    names = {"several": ["target_1", "target_2"], "series": ["first"]}.get(y, ["target"])
    frame = pl.DataFrame({f"column_{place + 1}": x[:, place] for place in range(3)}).fill_nan(None)
    targets = np.asarray(given).reshape(ROWS, -1)
    frame = frame.with_columns(pl.Series(name, targets[:, place].tolist()) for place, name in enumerate(names))
    frame.write_parquet(folder / "rows.parquet")
    run = dl_lab.run(*SHORT, data=(ARRAYS[kind](x), given))
    listed = ",".join(names)
    ended = train(
        folder / "command",
        *SHORT,
        f"dataset.path={folder}/rows.parquet",
        "dataset=table",
        f"dataset.targets=[{listed}]",
    )
    assert (run.folder / "metrics.jsonl").read_bytes() == (ended.run / "metrics.jsonl").read_bytes()
    assert run.evaluate() == dl_lab.load(ended.run).evaluate()
    assert run.predict(ARRAYS[kind](x)).equals(run.predict(frame))
    assert run.evaluate(data=(x, given)) == pytest.approx(run.evaluate(path="rows.parquet"))


@pytest.mark.parametrize("shape", [(ROWS, 8, 8), (ROWS, 1, 8, 8), (ROWS, 3, 8, 6)])
def test_images_are_standardized_by_their_training_split(shape, folder):
    random = np.random.default_rng(2)
    x, y = random.integers(0, 256, shape, dtype=np.uint8), random.integers(0, 3, ROWS)
    run = dl_lab.run("model=cnn", *SHORT, "dataset.task=classification", data=(x, y))
    assert run.config["dataset"]["image_shape"] == list(shape[1:] if len(shape) == 4 else (1, *shape[1:]))
    saved = torch.load(run.folder / "checkpoints" / "best.pt")["preprocessing"]
    assert np.shape(saved["mean"]) == (shape[1] if len(shape) == 4 else 1, 1, 1)
    predicted = dl_lab.load(run.folder).predict(x)
    with torch.no_grad():
        stored = torch.from_numpy(x).view(ROWS, *run.trained.spec.input_shape)
        mean, std = (torch.tensor(saved[name]) for name in ("mean", "std"))
        outputs = run.model((stored - mean) / std)
    assert predicted["target"].to_list() == [str(each) for each in outputs.argmax(1).tolist()]
    accuracy = float((outputs.argmax(1).numpy() == y).mean())
    assert run.evaluate(data=(torch.from_numpy(x), y))["accuracy"] == pytest.approx(accuracy)


MISTAKES = [
    (3, r"data is a int; allowed: data=\(X, y\).*"),
    ((np.zeros((4, 2)), np.zeros(3)), r"data: X has 4 rows and y has 3; allowed: .*"),
    ((pl.DataFrame(columns()), "prise"), "y=prise is no column of X; allowed: area, city, new, pet, price"),
    ((pl.DataFrame(columns()), pd.Series([1.0] * ROWS, name="price")), "data: X and y both have a column price; .*"),
    ((np.zeros((4, 8, 8)), np.zeros(4)), r"data: X are images \(4, 8, 8\) of float64; allowed: bytes .*; hint: .*"),
    ((np.zeros((4, 32, 32, 3), dtype=np.uint8), np.zeros(4)), "data: X .* channels last; .* hint: X.transpose.*"),
    ((pd.DataFrame([[1, 2]] * 4, columns=["a", "a"]), np.zeros(4)), "data: column 'a' appears twice; .*"),
    (([[1, 2], [3]], [1, 2]), "data: X is no array .*"),
    (({"a": [1, 2], "b": [1]}, [1, 2]), "data: .* height .*; allowed: columns of equal length, .*"),
    (({"a": [1, "b"]}, [1, 2]), "data: .*; allowed: columns of equal length, each of one type"),
    ((np.zeros((4, 2), dtype=complex), np.zeros(4)), "data: X is a ndarray .* of complex128; allowed: .*"),
    ((np.zeros((0, 2)), np.zeros(0)), "data: there are no rows; .*"),
    ((np.full((9, 2), np.inf), np.arange(9.0)), "data.* 'inf' is not a number; .*"),
    ((np.zeros((9, 2)), np.full(9, np.nan)), "data: 9 of 9 rows without target; .*"),
]


@pytest.mark.parametrize(("data", "line"), MISTAKES, ids=[line[:30] for _, line in MISTAKES])
def test_a_mistake_in_the_data_is_one_line(data, line, folder):
    with pytest.raises(dl_lab.ConfigError, match=f"^{line}$"):
        dl_lab.run(*SHORT, data=data)
    assert list(folder.rglob("config.yaml")) == []


def test_a_dataset_or_a_path_and_data_exclude_each_other():
    with pytest.raises(
        dl_lab.ConfigError, match=r"^dataset=iris and data=\(X, y\) are both given; allowed: one of them$"
    ):
        dl_lab.run("dataset=iris", data=(np.zeros((4, 2)), np.zeros(4)))
    with pytest.raises(
        dl_lab.ConfigError, match=r"^path=new.csv and data=\(X, y\) are both given; allowed: one of them$"
    ):
        dl_lab.Run(Path("any")).evaluate(data=(np.zeros((4, 2)), np.zeros(4)), path="new.csv")


def test_a_run_in_memory_is_continued_and_repeated_with_its_data_only(folder):
    x, y = np.random.default_rng(3).normal(size=(2, ROWS, 2))
    run = dl_lab.run(*SHORT, data=(x, y))
    assert run.config["dataset"]["name"] == "memory"
    for mistaken, line in (
        (None, "dataset=memory: the examples were in the memory"),
        ((x + 1, y), "are other examples than"),
    ):
        for how in ("resume", "rerun"):
            longer = ["train.steps=9"] if how == "resume" else []
            with pytest.raises(dl_lab.ConfigError, match=line):
                dl_lab.run(*longer, data=mistaken, **{how: run.folder})
    for arguments in ([f"rerun={run.folder}"], [f"resume={run.folder}", "train.steps=9"], ["dataset=memory"]):
        ended = train(folder / "command", *arguments)
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert "hint: dl_lab.run(..., data=(X, y))" in ended.err
    assert "Run.evaluate(data=(X, y))" in command(evaluate_command.main, folder, f"run={run.folder}").err
    with pytest.raises(dl_lab.ConfigError, match=r"Run\.evaluate"):
        dl_lab.load(run.folder).evaluate()
    assert dl_lab.run(rerun=run.folder, data=(torch.from_numpy(x), y)).metrics.equals(run.metrics)
    longer_run = dl_lab.run("train.steps=9", resume=run.folder, data=(x, y))
    straight = dl_lab.run(*SHORT[1:], "train.steps=9", data=(x, y))
    weights = [torch.load(each.folder / "checkpoints" / "last.pt")["model"] for each in (longer_run, straight)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_data_are_not_changed(folder):
    frame = pandas_frame()
    before = frame.copy(deep=True)
    dl_lab.run(*SHORT, data=(frame, "pet"))
    assert frame.equals(before)
    assert (frame.dtypes == before.dtypes).all()


def test_one_feature_is_an_array_of_one_dimension(folder):
    x = np.arange(ROWS, dtype=float)
    run = dl_lab.run("model=linear", *SHORT, data=(x, 2 * x))
    assert run.predict(x).equals(run.predict(pl.DataFrame({"column_1": x})))


def test_columns_of_other_objects_are_left_out_with_a_line(folder, capsys):
    frame = pl.DataFrame({"x": range(ROWS), "list": [[1]] * ROWS})
    run = dl_lab.run(*SHORT, data=(frame, np.arange(ROWS) / 2))
    assert "data: columns of lists, objects and the like are left out: list" in capsys.readouterr().out
    assert run.trained.spec.input_shape == (1,)


@pytest.mark.parametrize(
    ("y", "overrides", "task"),
    [
        (np.arange(ROWS) % 3, (), "classification"),
        (torch.arange(ROWS) % 3, (), "classification"),
        (np.arange(ROWS) % 3, ("dataset.task=regression",), "regression"),
        (np.arange(ROWS) % 3 + 1, (), "regression"),  # counts or grades
        (np.array([-5, 0, 2])[np.arange(ROWS) % 3], (), "regression"),
        (np.arange(ROWS) % 3 * 1.0, (), "regression"),
        (np.arange(ROWS), (), "regression"),
    ],
)
def test_whole_numbers_from_0_are_classes(y, overrides, task):
    run = dl_lab.run(*SHORT, *overrides, data=(np.arange(2.0 * ROWS).reshape(ROWS, 2), y))
    assert run.trained.spec.task == task
