"""New files that differ from the training data: written otherwise, incomplete, or with other cells."""

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from shutil import copytree

import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from support.commands import Ended, command
from support.models import rows, table_model, write_csv
from support.models import trained as trained_with

from dl_lab import evaluate, predict
from dl_lab.data.tables import parts
from dl_lab.inference import predictions, tables, writing
from dl_lab.inference.labelled import evaluate_on
from dl_lab.inference.trained import Trained
from dl_lab.runs import checkpoint

FEATURES = ("age", "city", "since", "active", "size")
TEXT = "\n".join([",".join(FEATURES), *(",".join(str(row[name]) for name in FEATURES) for row in rows(30, 3))]) + "\n"
CELLS = [line.split(",") for line in TEXT.splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return table_model(tmp_path_factory.mktemp("model"), ["kind", "cost"])[0]


def predicted(trained: Trained, folder: Path, content: str | bytes, *arguments: str, name: str = "new.csv") -> Ended:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return command(predict.main, folder, f"run={trained.folder}", f"path={name}", "device=cpu", *arguments)


def joined(cells: list[list[str]], separator: str = ",") -> str:
    return "\n".join(map(separator.join, cells)) + "\n"


def column(name: str, change: Callable[[str], str]) -> str:
    """The table with other cells in a column."""
    place = FEATURES.index(name)
    header, *body = CELLS
    return joined([header, *([*row[:place], change(row[place]), *row[place + 1 :]] for row in body)])


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def zipped(text: str) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("new.csv", text)
    return buffer.getvalue()


TYPED = pl.read_csv(TEXT.encode(), try_parse_dates=True)
SAME: dict[str, str | bytes] = {
    "byte-order mark": "\ufeff" + TEXT,
    "semicolons": TEXT.replace(",", ";"),
    "semicolons and decimal commas": TEXT.replace(",", ";").replace(".", ","),
    "tabs and decimal commas": TEXT.replace(",", "\t").replace(".", ","),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16 without a mark": TEXT.encode("utf-16-be"),
    "lines above": f"# by me\n{TEXT}",
    "windows": TEXT.replace("\n", "\r\n"),
    "old mac": TEXT.replace("\n", "\r"),
    "blank lines": TEXT.replace("\n", "\n\n"),
    "blanks": TEXT.replace(",", " , "),
    "gzip": gzip.compress(TEXT.encode()),
    "bzip2": bz2.compress(TEXT.encode()),
    "xz": lzma.compress(TEXT.encode()),
    "zip": zipped(TEXT),
    "reversed": joined([row[::-1] for row in CELLS]),
    "an index": joined([[str(number or ""), *row] for number, row in enumerate(CELLS)]),
    "quoted line breaks": joined([[*row, '"a, ""b""\nc"'] for row in CELLS]).replace('"a, ""b""\nc"', "note", 1),
    "quotes in cells": joined([[*row, '5" pipe'] for row in CELLS]).replace('5" pipe', "note", 1),
    "floats": column("age", lambda cell: cell and f"{cell}.0"),
    "marks of missing values": column("age", lambda cell: cell or "NA"),
    "parquet": parquet(TYPED),
    "parquet of categories": parquet(TYPED.with_columns(pl.col("city").cast(pl.Categorical))),
    "parquet of text": parquet(pl.read_csv(TEXT.encode(), infer_schema=False)),
}


@pytest.mark.parametrize("block", [5, 1 << 24])
@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
def test_a_table_that_is_written_otherwise_has_the_same_predictions(trained, tmp_path, monkeypatch, content, block):
    predicted(trained, tmp_path, TEXT)
    expected = (tmp_path / "predictions.csv").read_text()
    monkeypatch.setattr(parts, "BLOCK", block)
    assert predicted(trained, tmp_path, content).err == ""
    assert (tmp_path / "predictions.csv").read_text() == expected


def test_rows_are_predicted_alone_and_without_a_header_as_they_are_together(tmp_path):
    table = rows(60, 1)
    lines = [",".join(str(row[name]) for name in ("kind", *FEATURES)) for row in table]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    data = ("dataset=table", "dataset.path=train.csv", "dataset.targets=[column_1]", "dataset.header=false")
    model = trained_with(tmp_path, *data)
    together = predictions.predict(model, tmp_path / "train.csv")
    (tmp_path / "one.csv").write_text(lines[7].partition(",")[2])  # without the target, which was before the others
    (alone,) = predictions.predict(model, tmp_path / "one.csv").rows()
    assert alone[1] == together.row(7)[1]
    assert alone[2:] == pytest.approx(together.row(7)[2:], rel=1e-6)


def test_numbers_are_read_as_the_keys_of_the_training_say(tmp_path):
    for name, seed in (("train", 1), ("test", 2)):
        table = rows(40, seed)
        for row in table:
            row["size"], row["cost"] = (
                f"{row['size']}%".replace(".", ","),
                f"1.{str(row['cost']).replace('.', '')[:3]},5",
            )
        write_csv(tmp_path / f"{name}.csv", table, "\t")
    data = ("dataset=table", "dataset.path=train.csv", "dataset.test_path=test.csv", "dataset.targets=[cost]")
    keys = ("dataset.decimal=','", "dataset.thousands='.'", "dataset.percent=true")
    model = trained_with(tmp_path, *data, *keys)
    measured = evaluate.evaluate([f"run={model.folder}", "device=cpu"])
    assert evaluate_on(model, tmp_path / "test.csv") == pytest.approx(measured, rel=1e-6)


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "no rows": (joined(CELLS[:1]), "has no rows"),
    "empty": ("", "is empty"),
    "no header": (joined(CELLS[1:]), "hint: line 1 seems to be a row; add a header line, such as age,city,"),
    "lacks": (joined([row[2:] for row in CELLS]), "lacks 2 columns that the model needs: age, city;"),
    "near": (TEXT.replace("size", "Size", 1).replace("city", "citi", 1), "city (nearest: citi), size (nearest: Size)"),
    "dates": (column("since", lambda cell: cell.replace("-", "/")), "is not a date (%Y-%m-%d), nor is any other"),
    "percent": (column("size", lambda cell: f"{cell}%"), "column size: .* hint: dataset.percent=true reads them"),
    "thousands": (joined([[*row[:4], row[4].replace(".", ",")[:5]] for row in CELLS], "\t"), "dataset.decimal=','"),
    "infinite": (column("size", lambda cell: "inf"), "row 1, column size: 'inf' is not a number"),
    "ragged": (TEXT + "1,2\n", "line 32 has 2 cells; allowed: 5"),
    "cut": (gzip.compress(TEXT.encode())[:-9], "cannot be read"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "it looks like a picture"),
    "json": ('[{"age": 3}]', "seems to be a JSON file"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(trained, tmp_path, content, message):
    ended = predicted(trained, tmp_path, content)
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: path=new.csv ")
    for part in message.split(".* "):
        assert part in ended.err
    assert not (tmp_path / "predictions.csv").exists()


def test_cells_and_columns_that_the_model_cannot_use_are_counted(trained, tmp_path):
    body = [[*row[:2], "soon" if place == 4 else row[2], *row[3:], "x"] for place, row in enumerate(CELLS)]
    body[0][-1] = "note"
    ended = predicted(trained, tmp_path, joined(body).replace("Oslo", "Paris"))
    ages, cities = (sum(row[place] == "" for row in CELLS) for place in (0, 1))
    paris = sum(row[1] == "Oslo" for row in CELLS)
    assert ended.out.splitlines()[:4] == [
        "new.csv: 1 column not used: 'note'",
        "new.csv row 4, column since: 'soon' is not a date (%Y-%m-%d), and missing",
        f"new.csv: missing values, replaced as in training: age {ages}, city {cities}",
        f"new.csv column city: {paris} cells with a category that is not in the training data: 'Paris'",
    ]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("out.csv", pl.read_csv),
        ("out.tsv", lambda path: pl.read_csv(path, separator="\t")),
        ("out.jsonl", pl.read_ndjson),
        ("out.parquet", pl.read_parquet),
    ],
)
def test_predictions_are_written_in_the_format_of_the_name_in_parts(trained, tmp_path, monkeypatch, name, read):
    path = write_csv(tmp_path / "new.csv", rows(50, 4))
    expected = predictions.predict(trained, pl.read_csv(path))
    monkeypatch.setattr(tables, "CELLS", 50)  # ten rows at a time
    monkeypatch.setattr(writing, "CELLS", 90)
    predictions.predict_file(trained, path, tmp_path / name)
    assert_frame_equal(read(tmp_path / name), expected)  # other batches round differently
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.csv", name]


def test_only_earlier_predictions_are_replaced_unless_out_is_given(trained, tmp_path):
    assert predicted(trained, tmp_path, TEXT).status == predicted(trained, tmp_path, TEXT).status == 0
    (tmp_path / "predictions.csv").write_text("Id,answer\n1,2\n")
    ended = predicted(trained, tmp_path, TEXT)
    assert ended.err.startswith("error: predictions.csv exists, and seems to have no predictions; allowed: ")
    assert (tmp_path / "predictions.csv").read_text() == "Id,answer\n1,2\n"
    assert predicted(trained, tmp_path, TEXT, "out=predictions.csv").status == 0
    assert predicted(trained, tmp_path, TEXT, "out=new.csv").err == (
        "error: out=new.csv is also path=new.csv; allowed: another file\n"
    )


def test_a_folder_that_is_no_run_is_refused_with_the_nearest_one(trained, tmp_path):
    (tmp_path / "new.csv").write_text(TEXT)
    copytree(trained.folder, tmp_path / "sweep/3")
    (tmp_path / "sweep/sweep.json").write_text("{}")
    for folder, hint in (("sweep", "run=sweep/3"), ("sweep/3/checkpoints", "run=sweep/3"), ("none", "give the folder")):
        ended = command(predict.main, tmp_path, f"run={folder}", "path=new.csv")
        assert ended.status == 2
        assert f"allowed: the folder of a run; hint: {hint}" in ended.err
    (tmp_path / "sweep/3/checkpoints/best.pt").unlink()
    assert "hint: checkpoint=last" in command(predict.main, tmp_path, "run=sweep/3", "path=new.csv").err
    assert command(predict.main, tmp_path, "run=sweep/3", "path=new.csv", "checkpoint=last").status == 0


DAMAGE: dict[str, dict[str, object]] = {
    "age": {"kind": "spline"},
    "size": {"fill": float("nan")},
    "since": {"features": ["total_seconds", "month", "weekday"]},
    "active": {"words": ["yes", "yes"]},
    "city": {"labels": ["Oslo"]},
}


@pytest.mark.parametrize(("name", "change"), [*DAMAGE.items(), ("separator", "two"), ("header", "perhaps")])
def test_a_damaged_preprocessing_is_refused_in_one_line(trained, tmp_path, name, change):
    copytree(trained.folder, tmp_path / "run")
    path = tmp_path / "run/checkpoints/best.pt"
    saved = checkpoint.load(path, torch.device("cpu"))
    known = saved["preprocessing"]
    if name in known["reading"]:
        known["reading"][name] = change
    known["columns"] = [{**each, **change} if each["name"] == name else each for each in known["columns"]]
    checkpoint.save(path, saved)
    ended = predicted(replace(trained, folder=Path("run")), tmp_path, TEXT)
    assert ended.status == 2
    assert ended.err.startswith("error: run: ")
    assert ended.err.endswith("; hint: use another checkpoint\n")
    assert len(ended.err) < 250


def test_a_missing_path_is_named_with_what_it_can_be(trained, tmp_path):
    ended = command(predict.main, tmp_path, f"run={trained.folder}")
    assert ended.err.startswith("error: path is missing; allowed: path=NEW, a table, a folder of pictures or a text")
