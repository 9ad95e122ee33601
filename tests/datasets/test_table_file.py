"""dataset=table: one command trains on any table; tasks, messages and the printed columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import train
from support.configs import parsed
from support.tables import written

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.data.tables import report
from dl_lab.datasets.table_config import TableFileConfig
from dl_lab.training.setup import build_data
from dl_lab.vectorized import autotune

ROWS = 60
RANDOM = np.random.default_rng(0)
COLUMNS = {
    "size": [f"{number:.2f}" if row % 7 else "" for row, number in enumerate(RANDOM.normal(size=ROWS))],
    "city": [["Rome", "Oslo", "NA"][number] for number in RANDOM.integers(0, 3, ROWS)],
    "sold": [["yes", "no"][number] for number in RANDOM.integers(0, 2, ROWS)],
    "when": [f"2020-0{number}-03" for number in RANDOM.integers(1, 9, ROWS)],
    "price": [f"{number:.3f}" for number in RANDOM.normal(size=ROWS)],
    "count": [str(number) for number in RANDOM.integers(0, 9, ROWS)],
    "kind": [[*"abc"][number] for number in RANDOM.integers(0, 3, ROWS)],
    "left": [str(number) for number in RANDOM.integers(0, 2, ROWS)],
    "right": [["f", "t"][number] for number in RANDOM.integers(0, 2, ROWS)],
}
LABELS = "{left: multilabel, right: multilabel}"
TINY = "train.steps=3", "model.hidden_sizes=[4]", "train.batch_size=8"


def built(folder: Path, targets: str, *overrides: str, **columns: list[str]) -> Data:
    path = written(folder / "table.csv", {**COLUMNS, **columns})
    return build_data(parsed("dataset=table", f"dataset.path={path}", f"dataset.targets={targets}", *overrides))


@pytest.mark.parametrize(
    ("targets", "task", "heads"),
    [
        ("[price]", "auto", [("price", "regression")]),
        ("[count]", "auto", [("count", "regression")]),
        ("[count]", "classification", [("count", "classification")]),
        ("[kind]", "auto", [("kind", "classification")]),
        ("[sold]", "auto", [("sold", "classification")]),
        ("[left]", "auto", [("left", "classification")]),
        ("[left]", "regression", [("left", "regression")]),
        ("[left,right]", "multilabel", [("labels", "multilabel")]),
        ("[left,right,kind]", LABELS, [("kind", "classification"), ("labels", "multilabel")]),
        ("[price,count,kind]", "auto", [("regression", "regression"), ("kind", "classification")]),
        ("[price,left,kind]", "multi_output", [("regression", "regression"), ("kind", "classification")]),
        ("[price,left]", "{left: regression}", [("regression", "regression")]),
    ],
)  # fmt: skip
def test_every_target_has_a_task(tmp_path: Path, targets: str, task: str, heads: list[tuple[str, str]]) -> None:
    data = built(tmp_path, targets, f"dataset.task={task}")
    assert [(head.name, head.task) for head in data.spec.heads] == heads
    ended = train(
        tmp_path, "dataset=table", "dataset.path=table.csv", f"dataset.targets={targets}", f"dataset.task={task}", *TINY
    )
    assert ended.status == 0, ended.err


def test_targets_of_several_tasks_are_those_of_the_file(tmp_path: Path) -> None:
    given = "dataset.shuffle=false", "dataset.standardize=false", "dataset.validation=0", "dataset.test=0"
    tasks = f"dataset.task={LABELS}"
    targets = built(tmp_path, "[left,price,kind,right]", tasks, *given).train.targets.numpy()
    assert targets[:, 0].tolist() == [float(cell) for cell in COLUMNS["price"]]
    assert targets[:, 1].tolist() == ["abc".index(cell) for cell in COLUMNS["kind"]]
    assert targets[:, 2].tolist() == [float(cell) for cell in COLUMNS["left"]]
    assert targets[:, 3].tolist() == ["ft".index(cell) for cell in COLUMNS["right"]]


@pytest.mark.parametrize("name", ["table", "csv"])
def test_members_of_a_stack_train_as_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(autotune, "seconds_of", lambda step: 1.0)  # a stack is faster
    written(tmp_path / "table.csv", COLUMNS)
    given = f"dataset={name}", f"dataset.path={tmp_path / 'table.csv'}", "dataset.targets=[kind]", *TINY
    stacked = train(tmp_path / "stack", "-m", "hydra/launcher=vectorized", "seed=0,1", *given)
    assert stacked.status == 0, stacked.err
    assert "alone:" not in stacked.out
    alone = train(tmp_path / "alone", "-m", "seed=0,1", *given)
    for ours, theirs in zip(sorted(stacked.runs), sorted(alone.runs), strict=True):
        best, expected = (json.loads((run / "summary.json").read_text())["best"] for run in (ours, theirs))
        assert best["loss"] == pytest.approx(expected["loss"], rel=1e-5)  # float32


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset.drop=[prise]"], "dataset.drop=prise is not known (nearest: price); allowed: city, "),
        (["dataset.categories=[towns]"], "dataset.categories=towns is not known"),
        (["dataset.drop=[kind]"], "dataset.drop=kind is not allowed; allowed: columns that are neither targets"),
        (["dataset.drop=[size]", "dataset.features=[size]"], "dataset.drop=size is not allowed"),
        (["dataset.numbers=[count]", "dataset.categories=[count]"], "=count is not allowed; allowed: one type"),
        (["dataset.numbers=[city]"], "dataset.numbers=city has no number in the training split, but "),
        (["dataset.dates=[city]"], "dataset.dates=city has no date in the training split, but "),
        (["dataset.task={size: regression}"], "dataset.task=size is not known"),
        (["dataset.task={kind: regresion}"], "dataset.task=regresion is not known (nearest: regression)"),
        (["dataset.task=multilabel"], ", and is a label; allowed: 0 and 1"),
        (["dataset.task=regression"], " is not a number; allowed: "),
        (["dataset.max_categories=1"], "dataset.max_categories=1 is not allowed; allowed: a whole number, 2 or more"),
        (["loss=mse"], "loss=mse does not fit dataset=table (features, classification); allowed: "),
        (["train.best=r2"], "train.best=r2 is not known"),
        (["model=transformer"], "model=transformer does not fit dataset=table (features, any task); allowed: "),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(tmp_path, "[kind]", *overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "task", "said"),
    [
        ({5: "two"}, "auto", "line 7, column price: 'two' is not a number"),
        ({5: "two"}, "regression", "line 7, column price: 'two' is not a number"),
        ({59: "two"}, "auto", "line 61, column price: 'two' is not a number"),
        ({7: "1e39"}, "auto", "line 9, column price: '1e39' is not a number"),
        (dict.fromkeys(range(60), "3.5"), "classification", "column price holds one class, 3.5"),
        (dict.fromkeys(range(60), ""), "auto", "60 of 60 rows without price; allowed: rows with a target"),
    ],
)
def test_wrong_targets_are_named(tmp_path: Path, changed: dict[int, str], task: str, said: str) -> None:
    price = [changed.get(row, cell) for row, cell in enumerate(COLUMNS["price"])]
    with pytest.raises(ConfigError) as caught:
        built(tmp_path, "[price]", f"dataset.task={task}", "dataset.shuffle=false", price=price)
    assert said in str(caught.value)


def printed(folder: Path, capsys: Any, targets: str, *overrides: str, **columns: list[str]) -> list[str]:
    announce.cache_clear()
    report.announced.clear()
    built(folder, targets, *overrides, **columns)
    lines: list[str] = capsys.readouterr().out.splitlines()
    return lines


def test_the_columns_are_printed_once(tmp_path: Path, capsys: Any) -> None:
    lines = printed(tmp_path, capsys, "[kind]", "dataset.drop=[left]")
    start = next(number for number, line in enumerate(lines) if line.endswith("table.csv: 60 rows"))
    names, *rows = lines[start + 1 :][: len(COLUMNS) + 1]
    assert names.split() == ["column", "type", "missing", "distinct", "example"]
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert cells["size"][:3] == ["number", "9", str(len({*COLUMNS["size"]} - {""}))]
    assert cells["city"] == [
        "category",
        str(COLUMNS["city"].count("NA")),
        "2",
        next(c for c in COLUMNS["city"] if c != "NA"),
    ]
    assert (cells["sold"][0], cells["when"][0]) == ("boolean", "date")
    assert (cells["kind"][:2], cells["left"][:2]) == (["target,", "classification"], ["left", "out"])
    assert not any(line.startswith(str(tmp_path)) for line in printed_again(tmp_path, capsys))


@pytest.mark.parametrize(
    "override", ["seed=0", "dataset.drop=[x]", "dataset.features=[z]", "dataset.categories=[x]", "dataset.time=x"]
)
def test_how_numbers_are_written_is_kept_where_it_matters(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    """A long table is the same with and without the numbers that are read at once."""
    cells = ["1.50", "1.5", "-0.125", "07.0"] * 500
    columns = {"x": cells, "id": [f"{row}.0" for row in range(2000)], "z": ["2.750", *cells[1:]], "y": cells[::-1]}
    found = []
    for _ in range(2):
        path = written(tmp_path / "table.csv", columns)
        announce.cache_clear()
        report.announced.clear()
        data = build_data(parsed("dataset=table", f"dataset.path={path}", "dataset.targets=[y]", override))
        found.append((data.train.inputs.tolist(), data.preprocessing, capsys.readouterr().out))
        monkeypatch.setattr(TableFileConfig, "is_feature", lambda config, name: False)
    assert found[0] == found[1]
    assert override == "dataset.features=[z]" or "1.50" in found[0][-1]


def printed_again(folder: Path, capsys: Any) -> list[str]:
    built(folder, "[kind]", "dataset.drop=[left]", "seed=1")
    lines: list[str] = capsys.readouterr().out.splitlines()
    return lines


def test_long_reports_are_shortened(tmp_path: Path, capsys: Any) -> None:
    wide = {
        f"column{number}": ["x" * 200 if number == 3 else str(row * number) for row in range(ROWS)]
        for number in range(100)
    }
    lines = printed(tmp_path, capsys, "[kind]", **wide)
    assert sum(line.startswith("column") for line in lines) < 45
    assert any(line == f"... {100 + len(COLUMNS) - 30} more columns ..." for line in lines)
    assert all(len(line) < 120 for line in lines if line.startswith("column"))


@pytest.mark.parametrize(
    ("name", "cells", "warning"),
    [
        ("name", [f"person {row}" for row in range(ROWS)], "features whose values are nearly all distinct: name;"),
        ("code", [str(row * 7) for row in range(ROWS)], None),
        ("CustomerID", [str(row * 7) for row in range(ROWS)], "features that seem to number the rows: CustomerID;"),
        ("same", ["3"] * ROWS, "features with one value in the training split: same;"),
        ("again", [cell.upper() * 2 for cell in COLUMNS["kind"]], "repeat the target kind: again;"),
        ("coded", [str("abc".index(cell) * 3 + 1) for cell in COLUMNS["kind"]], "repeat the target kind: coded;"),
        ("scaled", [str(-3.5 * float(cell) + 1) for cell in COLUMNS["price"]], "repeat the target price: scaled;"),
        ("close", [str(float(cell) + 0.01 * (row % 3)) for row, cell in enumerate(COLUMNS["price"])], None),
        ("dates", [f"20{10 + row}-01-01" for row in range(ROWS)], None),
    ],
)  # fmt: skip
def test_columns_that_may_be_mistakes_are_named(tmp_path: Path, capsys: Any, name, cells, warning) -> None:
    lines = printed(tmp_path, capsys, "[kind,price]", **{name: cells})
    warnings = [line for line in lines if line.startswith("warning: ")]
    assert len(warnings) == (warning is not None), warnings
    assert all(warning in line for line in warnings)
    chosen = printed(tmp_path, capsys, "[kind,price]", f"dataset.features=[{name},size]", **{name: cells})
    assert not [line for line in chosen if line.startswith("warning: ")]


def test_rows_of_unknown_classes_are_left_out(tmp_path: Path, capsys: Any) -> None:
    kind = [*COLUMNS["kind"][:-3], *"xyx"]
    lines = printed(tmp_path, capsys, "[kind]", "dataset.shuffle=false", kind=kind)
    assert "dataset.targets=kind: 3 rows of the test split left out, as the class is not in the training split" in lines


def test_values_of_parquet_files_that_python_has_not(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    moments = pl.Series("when", [2**62, 0, 86_400_000_000, None] * 5).cast(pl.Datetime("us"))
    frame = pl.DataFrame([moments, pl.Series("code", [1e19, 2.0, None, 3.0] * 5), pl.Series("y", range(20))])
    frame.write_parquet(tmp_path / "t.parquet")
    given = "dataset=table", f"dataset.path={tmp_path}/t.parquet", "dataset.targets=[y]"
    data = build_data(parsed(*given, "dataset.shuffle=false", "dataset.categories=[code]"))
    assert data.preprocessing is not None
    assert [column["name"] for column in data.preprocessing.columns] == ["when", "code"]
    assert len(data.preprocessing.columns[1]["labels"]) == 3
    for name in ("when", "code"):
        assert build_data(parsed(*given, f"dataset.targets=[{name}]", "dataset.task=auto")).spec.num_outputs > 0
