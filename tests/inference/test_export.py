"""An exported model computes what the run computes, in a program without dl_lab, from raw inputs."""

import numpy as np
import polars as pl
import pytest
from support.exports import Found, by_script, exported, run_script
from support.models import MODELS, texts_model

from dl_lab.data.spec import Head
from dl_lab.inference.predictions import predict
from dl_lab.inference.trained import Trained


def columns(head: Head) -> list[str]:
    """The columns of predict that have the values of a head."""
    if head.task == "classification":
        return [f"{head.name}/{label}" for label in head.labels]
    return [f"{label}/probability" for label in head.labels] if head.task == "multilabel" else list(head.labels)


def assert_same(trained: Trained, found: Found, expected: pl.DataFrame) -> None:
    assert len(found) == len(expected)
    for head in trained.spec.heads:
        values = np.array([[row[head.name][label] for label in head.labels] for row in found])
        # float32: 1e-5 of probabilities and of standard deviations
        atol = 1e-5 * np.array(head.scale or 1.0)
        assert (np.abs(values - expected.select(columns(head)).to_numpy()) <= atol).all()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return MODELS["heads"](tmp_path_factory.mktemp("table"))


@pytest.mark.parametrize(
    "to", ["onnx", *(pytest.param(to, marks=pytest.mark.faults) for to in ("torch", "safetensors"))]
)
def test_a_table_with_all_types_and_tasks_is_predicted_without_dl_lab(table, to, tmp_path):
    trained, test = table
    folder = exported(trained.folder, to)
    assert_same(trained, by_script(folder, test), predict(trained, test))
    (tmp_path / "other.csv").write_text("other\n1\n")
    ended = run_script(folder, tmp_path / "other.csv")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "lacks the columns" in ended.stderr


@pytest.mark.parametrize(
    ("tokenizer", "to"),
    [
        ("bpe", "onnx"),
        *(
            pytest.param(*each, marks=pytest.mark.faults)  # they take seconds
            for each in (("characters", "safetensors"), ("bytes", "torch"), ("bpe", "safetensors"))
        ),
    ],
)
def test_a_text_is_classified_without_dl_lab(tmp_path, tokenizer, to):
    trained, _ = texts_model(tmp_path, tokenizer)
    folder = exported(trained.folder, to)
    for text in ("red old 東京", "old\r\nsüß " * 20, "red \u2603", ""):
        assert_same(trained, by_script(folder, text), predict(trained, pl.DataFrame({"say": [text]})))
