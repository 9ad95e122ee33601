"""predict.py reads tables as dl_lab does, however they are written, and every kind of model is exported."""

import random

import numpy as np
import polars as pl
import pytest
from support.exports import Found, by_script, exported
from support.models import MODELS, trained

from dl_lab.inference.predictions import predict

FAULTS = pytest.mark.faults  # each takes seconds
DRAW = random.Random(0)
GERMAN = [
    ";".join(
        [
            DRAW.choice([f"1.{DRAW.randint(100, 999)},{DRAW.randint(10, 99)}", "-999", "", "n/a"]),
            f"{DRAW.randint(1, 99)} %",
            DRAW.choice(["Köln", "-", "None", "Ulm"]),
            DRAW.choice(["3", "3,0", "03", "4", ""]),
            DRAW.choice(["ja", "JA", "nein"]) if row else "ja",
            f"{DRAW.randint(1, 28)}.{DRAW.randint(1, 12)}.{DRAW.randint(60, 75)}",
            f"2020-02-{DRAW.randint(10, 28)}T11:30:{DRAW.randint(10, 59)}.{DRAW.randint(1, 9)}+02:00",
            f"{DRAW.random():.3f}".replace(".", ","),
        ]
    )
    for row in range(60)
]
TABLES = {
    "german": (
        ["größe;anteil;ort;zimmer;neu;am;um;y", *GERMAN],
        ("dataset.thousands='.'", "dataset.percent=true", "dataset.missing=[-999]", "dataset.categories=[zimmer]"),
    ),
    "headerless": (
        [f"{row % 7}\t{'abcdef'[row % 6]}\t{row / 9}" for row in range(60)],
        ("dataset.header=false", "dataset.max_categories=3", "dataset.targets=[column_3]"),
    ),
    "large": (
        ["time,number,y", *(f"{1.7e9 + row / 8:.3f},{2**40 + row % 5},{1e6 + row / 99:.6f}" for row in range(60))],
        (),
    ),
    "not standardized": (
        ["on,y", *(f"{'' if row % 9 == 0 else f'2001-02-{row % 28 + 1:02d}'},{row}" for row in range(60))],
        ("dataset.standardize=false", "optimizer.lr=1e-6"),
    ),
}


def assert_values(found: Found, expected: pl.DataFrame, name: str) -> None:
    values = [next(iter(row[name].values())) for row in found]
    assert values == pytest.approx(expected[name].to_list(), rel=1e-6)  # float32


@pytest.mark.parametrize("written", [name if name == "german" else pytest.param(name, marks=FAULTS) for name in TABLES])
def test_the_script_reads_a_table_as_dl_lab_does(tmp_path, written):
    lines, arguments = TABLES[written]
    (tmp_path / "table.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    target = next((each for each in arguments if "targets" in each), "dataset.targets=[y]")
    table = ("dataset=table", "dataset.path=table.csv", "dataset.validation=9", "dataset.test=9", target)
    model = trained(tmp_path, *table, *arguments)
    folder = exported(model.folder, "safetensors")
    readme = (folder / "README.md").read_text(encoding="utf-8").replace("\\", "")
    assert all(f"- {column['name']}: " in readme for column in model.preprocessing.columns)
    found = by_script(folder, tmp_path / "table.csv")
    assert_values(found, predict(model, tmp_path / "table.csv"), model.spec.heads[0].name)


@FAULTS
@pytest.mark.parametrize("to", ["onnx", "torch", "safetensors"])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_exported(tmp_path, name, to):
    model, test = MODELS[name](tmp_path)
    expected, arguments = predict(model, test), [test]
    if model.spec.kind == "image":
        arguments = [
            (test if test.is_dir() else test.parent) / each for each in expected.get_column("file", default=[])
        ]
    if model.spec.kind == "image" and not arguments:
        pixels = pl.read_csv(test).drop("label").to_numpy().reshape(-1, *model.spec.input_shape)
        arguments = [tmp_path / "pixels.npy"]
        np.save(arguments[0], pixels)
    folder = exported(model.folder, to)
    if model.spec.kind == "tokens":  # the script takes one text
        texts = pl.read_csv(test, infer_schema=False)[model.preprocessing.columns[0]["name"]][:3]
        found, expected = [by_script(folder, text)[0] for text in texts], expected[:3]
    else:
        found = by_script(folder, *arguments)
    for head in model.spec.heads:
        names = [f"{head.name}/{label}" for label in head.labels]
        if head.task != "classification":
            names = [f"{label}/probability" if head.task == "multilabel" else label for label in head.labels]
        values = np.array([list(row[head.name].values()) for row in found])
        scale = np.array(head.scale or 1.0)
        assert np.abs((values - expected.select(names).to_numpy()) / scale).max() < 1e-5  # float32
