"""Predictions for pictures, texts and values in memory, and evaluation on other labelled data."""

import json
from math import exp
from pathlib import Path
from shutil import copy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_iris
from support.commands import Ended, command
from support.models import folder_model, listed_model, rows, table_model, trained, write_csv, write_pictures

from dl_lab import evaluate, predict
from dl_lab.core.errors import ConfigError
from dl_lab.inference.labelled import evaluate_on
from dl_lab.inference.predictions import predict as predict_raw
from dl_lab.inference.predictions import predict_file
from dl_lab.inference.trained import Trained


@pytest.fixture(scope="module")
def of_table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    return table_model(tmp_path_factory.mktemp("table"), ["kind", "cost"], "dataset.sample_weight=weight")


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    return folder_model(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def of_text(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("text")
    (folder / "hamlet.txt").write_text("to be or not to be, that is the question\n" * 30)
    return trained(folder, "dataset=text", "dataset.path=hamlet.txt", "dataset.context_length=8", "model=transformer")


def run(main, folder: Path, model: Trained, path: object, *arguments: str) -> Ended:
    return command(main, folder, f"run={model.folder}", f"path={path}", "device=cpu", *arguments)


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_predicted(of_pictures, tmp_path):
    model, test = of_pictures
    (tmp_path / "new/deep").mkdir(parents=True)
    copy(test / "cat/0.png", tmp_path / "new/deep/a.png")
    (tmp_path / "new/b.jpg").write_bytes(b"no picture")
    (tmp_path / "new/notes.txt").write_text("no picture either")
    ended = run(predict.main, tmp_path, model, "new")
    assert ended.out.startswith("no prediction: new/b.jpg is not a readable image (")
    found = pl.read_csv(tmp_path / "predictions.csv")
    assert found["file"].to_list() == ["b.jpg", "deep/a.png"]
    assert found.row(0)[1:] == (None, None, None)
    (single,) = predict_raw(model, [test / "cat/0.png"]).rows()
    assert found.row(1)[1] == single[1]
    assert found.row(1)[2:] == pytest.approx(single[2:])
    pixels = np.asarray(Image.open(test / "cat/0.png").resize((8, 8))).transpose(2, 0, 1)
    assert predict_raw(model, pixels).row(0)[2:] == pytest.approx(single[2:])
    with pytest.raises(ValueError, match="pixels are float64; allowed: whole numbers from 0 to 255; hint: "):
        predict_raw(model, pixels / 255)
    ended = run(predict.main, tmp_path, model, "new/b.jpg")
    assert ended.err.startswith("error: path=new/b.jpg has no input that can be read; allowed: a picture, ")


def test_classes_and_pictures_that_cannot_be_evaluated_are_named(of_pictures, tmp_path):
    model, _ = of_pictures
    write_pictures(tmp_path / "new", 3, 5, ("cat", "dog", "eel"))
    (tmp_path / "new/cat/bad.png").write_bytes(b"")
    ended = run(evaluate.main, tmp_path, model, "new")
    assert "new: classes that are not in the training data are left out: 'eel'" in ended.out
    assert "new: 1 picture left out: 'new/cat/bad.png is not a readable image (" in ended.out
    found = predict_raw(model, sorted((tmp_path / "new").glob("[cd][ao][tg]/?.png")))
    right = [name.split("/")[-2] == label for name, label, *_ in found.rows()]
    assert json.loads((tmp_path / "metrics.json").read_text())["accuracy"] == pytest.approx(np.mean(right))


def test_a_listed_picture_that_is_missing_has_no_prediction(tmp_path):
    model, test = listed_model(tmp_path)
    whole = predict_raw(model, test)
    test.write_text(test.read_text().replace("test/dog/0.png", "test/dog/nothing"))
    ended = run(predict.main, tmp_path, model, "test.csv")
    assert "no prediction: test.csv row 9, column file: test/dog/nothing is no picture below " in ended.out
    found = pl.read_csv(tmp_path / "predictions.csv")
    assert found.row(8)[2:] == (None, None, None)
    assert found.filter(pl.col("kind").is_not_null())["kind/cat"].to_list() == pytest.approx(
        [value for place, value in enumerate(whole["kind/cat"]) if place != 8]
    )


def test_each_line_of_a_text_has_the_nats_of_the_model(of_text, tmp_path):
    (tmp_path / "new.txt").write_text("to be\n\nx\nthat is the question, not to be\nt\n")
    ended = run(predict.main, tmp_path, of_text, "new.txt")
    assert ended.out.startswith("no prediction for 1 line: the text has characters that the model does not know: 'x'\n")
    found = {row["line"]: row for row in pl.read_csv(tmp_path / "predictions.csv").to_dicts()}
    assert [*found] == [1, 3, 4, 5]
    assert found[3]["next"] is found[5]["nats"] is None
    tokens = of_text.preprocessing.stored("to be")
    with torch.no_grad():
        probabilities = of_text.model(tokens[None])[0].double().softmax(-1)
    nats = -probabilities[:-1].gather(1, tokens[1:, None]).log().mean()
    assert found[1]["nats"] == pytest.approx(float(nats), rel=1e-6)
    assert found[1]["perplexity"] == pytest.approx(exp(float(nats)), rel=1e-6)
    assert found[1]["next/probability"] == pytest.approx(float(probabilities[-1].max()), rel=1e-6)
    assert found[1]["next"] == of_text.spec.heads[0].labels[int(probabilities[-1].argmax())]
    (tmp_path / "line.txt").write_text("that is the question, not to be")
    assert evaluate_on(of_text, tmp_path / "line.txt")["nats"] == pytest.approx(found[4]["nats"], rel=1e-6)
    assert predict_raw(of_text, "to be").row(0)[1:] == pytest.approx(tuple(found[1].values())[1:])


def test_tables_in_memory_are_predicted_as_files(of_table):
    model, test = of_table
    expected = predict_raw(model, test)
    frame = pd.read_csv(test)
    for raw in (pl.read_csv(test), frame, pd.read_csv(test, parse_dates=["since"]), frame.to_dict("records"), str(test),
                pl.read_csv(test).to_dicts(), frame.convert_dtypes().astype({"city": "category"})):  # fmt: skip
        assert predict_raw(model, raw).equals(expected)


@pytest.mark.parametrize(
    ("raw", "message"),
    [(np.zeros((3, 2)), "inputs (3, 2) do not fit the model; allowed: (row, 5), with the columns 'age'"),
     (pl.DataFrame({"age": [3]}), "data lacks 4 columns that the model needs: city, since, active, size"),
     (pl.DataFrame(schema=["age"]), "data has no rows"), (3, "x is a int ()"), ([], "inputs (0,) do not fit"),
     ("nowhere.csv", "path=nowhere.csv does not exist")],
)  # fmt: skip
def test_values_in_memory_that_do_not_fit_are_refused(of_table, raw, message):
    with pytest.raises(ValueError) as refused:
        predict_raw(of_table[0], raw)
    assert str(refused.value).startswith(message)


def test_columns_without_a_value_are_missing(of_table, tmp_path):
    model, test = of_table
    frame = pl.read_csv(test).with_columns(city=None, size=None)
    frame.write_csv(tmp_path / "none.csv")
    expected = predict_raw(model, str(tmp_path / "none.csv"))
    frame.write_parquet(tmp_path / "none.parquet")
    for raw in (frame, str(tmp_path / "none.parquet"), pd.read_csv(test).assign(city=None, size=None)):
        assert predict_raw(model, raw).equals(expected)


@pytest.mark.parametrize(
    ("raw", "message"),
    [(None, "x is a NoneType ()"), ({3}, "x is a set ()"), ([[1], [1, 2]], "x is no array"),
     (np.array(["a"]), "x is a ndarray of <U1"), (np.zeros((2, 3, 8, 8), bool), "pixels are bool; "),
     (np.full((2, 3, 8, 8), 256), "pixels are from 256 to 256; allowed: whole numbers from 0 to 255"),
     (np.full((2, 3, 8, 8), -1, dtype=np.int16), "pixels are from -1 to -1; "),
     ({"a": [1]}, "data has 1 column of inputs")],
)  # fmt: skip
def test_values_that_are_no_pixels_are_refused(of_pictures, raw, message):
    with pytest.raises(ConfigError) as refused:
        predict_raw(of_pictures[0], raw)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("raw", [None, 3, ["to be", None], [1, 2], pl.DataFrame({"text": ["to be"]})])
def test_values_that_are_no_texts_are_refused(of_text, raw):
    with pytest.raises(ConfigError, match=r"^x has a \w+; allowed: a text, a list of texts, or a Path$"):
        predict_raw(of_text, raw)


def test_rows_without_a_known_target_and_weights_are_left_out(of_table, tmp_path):
    model, _ = of_table
    table = rows(20, 6)
    table[0]["kind"], table[1]["cost"], table[2]["kind"] = "new", "", ""
    ended = run(evaluate.main, tmp_path, model, write_csv(tmp_path / "new.csv", table), "out=numbers.json")
    assert "new.csv: 2 rows without a target or a picture left out" in ended.out
    assert "rows of classes of kind that are not in the training data are left out: 'new'" in ended.out
    metrics = json.loads((tmp_path / "numbers.json").read_text())
    assert metrics == evaluate_on(model, write_csv(tmp_path / "rest.csv", table[3:]))
    for row in table:
        del row["weight"]
    found = predict_raw(model, table[3:])
    ended = run(evaluate.main, tmp_path, model, write_csv(tmp_path / "plain.csv", table), "out=numbers.json")
    assert "plain.csv has no column weight: metrics are not weighted" in ended.out
    errors = np.abs(found["cost"].to_numpy() - [float(row["cost"]) for row in table[3:]])
    assert json.loads((tmp_path / "numbers.json").read_text())["cost/mae"] == pytest.approx(errors.mean(), rel=1e-6)


def test_metrics_replace_only_metrics_unless_out_is_given(of_table, tmp_path):
    model, test = of_table
    (tmp_path / "metrics.json").write_text('{"mine": 1}')
    assert run(evaluate.main, tmp_path, model, test).err.startswith("error: metrics.json exists, and has no metrics; ")
    assert run(evaluate.main, tmp_path, model, test, "out=.").err.startswith("error: out=. is a folder; allowed: ")
    assert (tmp_path / "metrics.json").read_text() == '{"mine": 1}'
    for arguments in ("out=metrics.json", "checkpoint=best"):
        assert run(evaluate.main, tmp_path, model, test, arguments).status == 0
    split = command(evaluate.main, tmp_path, f"run={model.folder}", "out=split.json", "device=cpu")
    assert split.status == 0
    found, expected = (json.loads((tmp_path / name).read_text()) for name in ("metrics.json", "split.json"))
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [("weight", "-1", "row 1, column weight: not a weight; allowed: a number of 0 or more"),
     ("weight", "0", "column weight is 0 in all rows; allowed: a weight above 0"),
     ("cost", "much", "row 1, column cost: 'much' is not a number"),
     ("kind", "other", "has no row with a known target"), ("kind", "", "has no row with a known target")],
)  # fmt: skip
def test_targets_and_weights_that_cannot_be_used_are_refused(of_table, tmp_path, name, cell, message):
    table = [{**row, name: cell} for row in rows(5, 7)]
    ended = run(evaluate.main, tmp_path, of_table[0], write_csv(tmp_path / "new.csv", table))
    assert ended.status == 2
    assert ended.err.startswith(f"error: path={tmp_path / 'new.csv'} {message}")
    assert not (tmp_path / "metrics.json").exists()


def test_bundled_datasets_read_files_with_the_same_columns(tmp_path):
    iris = trained(tmp_path / "iris", "dataset=iris")
    flowers, _ = load_iris(return_X_y=True)
    names = [each["name"] for each in iris.preprocessing.columns]
    pl.DataFrame(flowers, schema=names).select(reversed(names)).write_csv(tmp_path / "flowers.csv")
    assert predict_raw(iris, str(tmp_path / "flowers.csv")).equals(predict_raw(iris, flowers))
    digits = trained(tmp_path / "digits", "dataset=digits")
    images, labels = load_digits(return_X_y=True)
    pl.DataFrame(images[:99].astype(int)).with_columns(pl.Series("class", labels[:99])).write_csv(tmp_path / "99.csv")
    found = predict_raw(digits, images[:99].reshape(-1, 1, 8, 8).astype(np.uint8))
    assert predict_raw(digits, str(tmp_path / "99.csv")).equals(found)
    accuracy = np.mean(found["class"].cast(int).to_numpy() == labels[:99])
    assert evaluate_on(digits, tmp_path / "99.csv")["accuracy"] == pytest.approx(accuracy)


def test_predicting_in_a_file_leaves_it_as_it_was_after_an_error(of_table, tmp_path):
    (tmp_path / "out.csv").write_text("before")
    (tmp_path / "new.csv").write_text("age\n1\n")
    with pytest.raises(ValueError, match="lacks 4 columns"):
        predict_file(of_table[0], tmp_path / "new.csv", tmp_path / "out.csv")
    assert [(path.name, path.read_text()) for path in sorted(tmp_path.iterdir())] == [
        ("new.csv", "age\n1\n"),
        ("out.csv", "before"),
    ]
