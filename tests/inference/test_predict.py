"""Predictions have the metrics that `evaluate` measures on the same rows, by scikit-learn, also without the data."""

from pathlib import Path
from shutil import rmtree

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as sk
from support.models import MODELS

from dl_lab import evaluate
from dl_lab.data.tables import parts
from dl_lab.inference.labelled import evaluate_on
from dl_lab.inference.predictions import predict_file
from dl_lab.inference.trained import Trained

Model = tuple[str, Trained, Path]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return request.param, *MODELS[request.param](tmp_path_factory.mktemp("model"))


def predicted(trained: Trained, path: Path, out: str = "predictions.parquet") -> pl.DataFrame:
    predict_file(trained, path, trained.folder / out)
    return pl.read_parquet(trained.folder / out)


def truth(test: Path, found: pl.DataFrame) -> pl.DataFrame:
    if test.is_dir():
        return found.select(pl.col("file").str.split("/").list.first().alias("class"))
    return pl.read_csv(test, infer_schema=False)


def is_true(row: dict[str, str], label: str) -> bool:
    return row.get(label) in ("1", "yes") or label in row.get("tags", "").split(";")


def test_the_predictions_have_the_metrics_of_evaluate(model):
    _, trained, test = model
    found, measured = predicted(trained, test), evaluate.evaluate([f"run={trained.folder}", "device=cpu"])
    true = truth(test, found)
    weights = true["weight"].cast(float) if trained.spec.is_weighted else None
    for head in trained.spec.heads:
        prefix = f"{head.name}/" if len(trained.spec.heads) > 1 else ""
        if head.task == "regression":
            for name in head.labels:
                score = sk.mean_absolute_error(true[name].cast(float), found[name], sample_weight=weights)
                several = f"{name}/" if len(head.labels) > 1 else prefix
                assert score == pytest.approx(measured[f"{several}mae"], rel=1e-6)
        elif head.task == "classification":
            score = sk.accuracy_score(true[head.name], found[head.name], sample_weight=weights)
            assert score == pytest.approx(measured[f"{prefix}accuracy"], rel=1e-6)
            probabilities = found.select(f"{head.name}/{label}" for label in head.labels).to_numpy()
            places = [head.labels.index(label) for label in true[head.name]]
            loss = sk.log_loss(places, probabilities, labels=range(head.size), sample_weight=weights)
            assert loss == pytest.approx(measured[f"{prefix}log_loss"], rel=1e-6)
        else:
            yes = np.array([[is_true(row, label) for label in head.labels] for row in true.to_dicts()])
            score = sk.f1_score(yes, found.select(head.labels).to_numpy(), average="micro")
            assert score == pytest.approx(measured[f"{prefix}f1_micro"], rel=1e-6)
            probabilities = found.select(f"{label}/probability" for label in head.labels).to_numpy()
            assert sk.roc_auc_score(yes, probabilities) == pytest.approx(measured[f"{prefix}auroc"], rel=1e-6)


def test_evaluating_the_test_file_is_evaluating_the_test_split(model):
    _, trained, test = model
    measured = evaluate.evaluate([f"run={trained.folder}", "device=cpu"])
    assert evaluate_on(trained, test) == pytest.approx(measured, rel=1e-6)


def test_predictions_need_no_training_data_and_do_not_depend_on_blocks(model, monkeypatch):
    _, trained, test = model
    before = predicted(trained, test)
    for path in trained.folder.parents:
        if (path / "train.csv").exists():
            (path / "train.csv").unlink()
        if (path / "pictures/train").exists():
            rmtree(path / "pictures/train")
    monkeypatch.setattr(parts, "BLOCK", 7)
    assert predicted(trained, test).equals(before)
