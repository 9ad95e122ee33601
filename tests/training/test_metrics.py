"""The metrics of evaluations agree with scikit-learn: weighted or not, with ties and classes that do not occur."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.preprocessing import label_binarize
from support.commands import train
from torch import Tensor

from dl_lab.data.spec import DataSpec, Head
from dl_lab.runs import checkpoint
from dl_lab.training.tasks.task import Task
from dl_lab.training.tasks.totals import add_up

CLOSE = {"rel": 1e-12, "abs": 1e-15}  # float64: sums of a few hundred terms


def losses(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """A loss for all heads."""
    each = F.cross_entropy(outputs, targets, reduction="none") if targets.ndim == 1 else (outputs - targets).square()
    return (each if weights is None else each * weights.view(-1, *[1] * (each.ndim - 1))).sum()


def evaluated(heads: tuple[Head, ...], outputs: Tensor, targets: Tensor, weighted: bool, size: int) -> dict[str, float]:
    """The metrics of an evaluation in batches of `size`. Weights are the last column of the targets."""
    spec = DataSpec(kind="features", input_shape=(2,), heads=heads, is_weighted=weighted)
    task = Task(spec, dict.fromkeys(("classification", "regression", "multilabel"), losses))
    pairs = zip(outputs.split(size), targets.split(size), strict=True)
    totals = add_up([task.totals(some, of, evaluating=True) for some, of in pairs])
    metrics = task.metrics(totals, evaluating=True) | task.gathered_metrics(outputs, targets)
    assert set(metrics) == set(task.metric_names)
    return metrics


def classification(true: Any, logits: Tensor, weight: Any, labels: range) -> dict[str, float]:
    """What scikit-learn returns for the same predictions."""
    probabilities, given = logits.softmax(1).numpy(), {"sample_weight": weight}
    predicted, binary = logits.numpy().argmax(1), len(labels) == 2
    hot = (true == 1) if binary else label_binarize(true, classes=labels)
    scores = probabilities[:, 1] if binary else probabilities
    expected = {
        "accuracy": sk.accuracy_score(true, predicted, **given),
        "balanced_accuracy": sk.balanced_accuracy_score(true, predicted, **given),
        "f1_macro": sk.f1_score(true, predicted, average="macro", **given),
        "f1_weighted": sk.f1_score(true, predicted, average="weighted", **given),
        "log_loss": sk.log_loss(true, probabilities, labels=labels, **given),
        "auroc": sk.roc_auc_score(true, scores, multi_class="ovr", labels=labels, **given),
        "average_precision": sk.average_precision_score(hot, scores, **given),
    }
    if len(labels) > 5:
        expected["top5_accuracy"] = sk.top_k_accuracy_score(true, logits.numpy(), k=5, labels=labels, **given)
    return expected


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", ["plain", "ties", "constant", "absent", "one class", "sure"])
@pytest.mark.parametrize("number", [2, 3, 9])
def test_classification_metrics_agree_with_scikit_learn(number, case, weighted, size):
    random = np.random.default_rng(0)
    true, logits = random.integers(number, size=300), 2 * random.normal(size=(300, number))
    weight = random.choice([0.0, 0.5, 1.0, 3.7], 300) if weighted else None
    if case in ("ties", "constant"):
        logits = np.round(logits) if case == "ties" else np.zeros_like(logits)
    if case in ("absent", "one class"):
        true = true.clip(max=number - 2) if case == "absent" else np.ones_like(true)
    if case == "sure":  # probabilities of 0 and 1
        logits *= 1e3
    targets = torch.from_numpy(true) if weight is None else torch.from_numpy(np.column_stack([true, weight]))
    head = Head(name="kind", task="classification", labels=tuple(map(str, range(number))))
    metrics = evaluated((head,), torch.from_numpy(logits), targets, weighted, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metrics that are not defined
        expected = classification(true, torch.from_numpy(logits), weight, range(number))
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, nan_ok=True, **CLOSE)
    assert ("top5_accuracy" in metrics) == (number > 5)
    assert math.isnan(metrics["auroc"]) == (case in ("absent", "one class"))


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", ["plain", "ties", "absent", "every"])
def test_multilabel_metrics_agree_with_scikit_learn(case, weighted, size):
    random = np.random.default_rng(0)
    true, logits = random.random((300, 3)) < [0.5, 0.1, 0.9], 2 * random.normal(size=(300, 3))
    weight = random.choice([0.0, 0.5, 1.0, 3.7], 300) if weighted else None
    logits = np.round(logits) if case == "ties" else logits
    true[:, 1] = true[:, 1] if case in ("plain", "ties") else case == "every"
    targets = torch.from_numpy((true if weight is None else np.column_stack([true, weight])).astype(float))
    head = Head(name="tags", task="multilabel", labels=("a", "b", "c"))
    metrics = evaluated((head,), torch.from_numpy(logits), targets, weighted, size)
    scores, given = 1 / (1 + np.exp(-logits)), {"sample_weight": weight}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metrics that are not defined
        expected = {
            "subset_accuracy": sk.accuracy_score(true, logits > 0, **given),
            "f1_micro": sk.f1_score(true, logits > 0, average="micro", **given),
            "f1_macro": sk.f1_score(true, logits > 0, average="macro", **given),
            "f1_weighted": sk.f1_score(true, logits > 0, average="weighted", **given),
            "auroc": np.mean([sk.roc_auc_score(true[:, label], scores[:, label], **given) for label in range(3)]),
            "average_precision": sk.average_precision_score(true, scores, **given),
        }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, nan_ok=True, **CLOSE)


def test_the_calibration_error_is_the_area_of_the_reliability_diagram_of_scikit_learn():
    random = torch.Generator().manual_seed(0)
    logits, true = torch.randn(500, 4, generator=random).double(), torch.randint(4, (500,), generator=random)
    head = Head(name="kind", task="classification", labels=("a", "b", "c", "d"))
    confidence, predicted = logits.softmax(1).max(1)
    accuracy, mean = calibration_curve(predicted == true, confidence, n_bins=15)
    counts = np.histogram(confidence, np.arange(16) / 15)[0]
    expected = np.abs(accuracy - mean) @ counts[counts > 0] / 500
    assert evaluated((head,), logits, true, False, 64)["ece"] == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("number", [1, 3])
def test_regression_metrics_agree_with_scikit_learn_in_total_and_for_each_target(number, weighted, size):
    random = np.random.default_rng(0)
    scales = np.array([1.0, 250.0, 1e-3])[:number]
    true, predicted = random.normal(size=(2, 300, number))
    weight = random.choice([0.0, 0.5, 1.0, 3.7], 300) if weighted else None
    targets = torch.from_numpy(true if weight is None else np.column_stack([true, weight]))
    labels = ("price", "per m/s", "c")[:number]
    head = Head(name="y", task="regression", labels=labels, offset=(0.0,) * number, scale=tuple(scales.tolist()))
    metrics = evaluated((head,), torch.from_numpy(predicted), targets, weighted, size)
    functions = {
        "rmse": sk.root_mean_squared_error,
        "mae": sk.mean_absolute_error,
        "median_absolute_error": sk.median_absolute_error,
        "r2": sk.r2_score,
    }
    for name, function in functions.items():
        own, theirs = true * scales, predicted * scales
        assert metrics[name] == pytest.approx(function(own, theirs, sample_weight=weight), **CLOSE)
        each = function(own, theirs, sample_weight=weight, multioutput="raw_values")
        of_targets = {f"{label}/{name}": value for label, value in zip(labels, each, strict=True)} if number > 1 else {}
        assert {label: metrics[label] for label in of_targets} == pytest.approx(of_targets, **CLOSE)
        assert {label for label in metrics if label.endswith(f"/{name}")} == set(of_targets)


@pytest.mark.parametrize("values", [[1.0], [2.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 5.0, 7.0]])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0, 0.0], [0.1, 0.2, 0.3, 0.0, 0.6]])
def test_a_weighted_median_agrees_with_scikit_learn(values, weights):
    from dl_lab.training.tasks.scores import median

    zeros, weight = np.zeros(len(values)), np.array(weights[: len(values)])
    expected = sk.median_absolute_error(values, zeros, sample_weight=weight)
    assert median(np.array(values), weight) == pytest.approx(expected, **CLOSE)


def test_the_metrics_of_a_target_are_named_after_it_and_after_its_head_where_two_would_be_the_same():
    def names(*labels: tuple[str, ...]) -> list[str]:
        heads = tuple(Head(name=f"h{n}", task="regression", labels=each) for n, each in enumerate(labels))
        spec = DataSpec(kind="features", input_shape=(2,), heads=heads)
        return [name for name in Task(spec, {"regression": losses}).metric_names if name.endswith("rmse")]

    assert names(("a", "b")) == ["rmse", "a/rmse", "b/rmse"]
    assert names(("a", "b"), ("c",)) == ["h0/rmse", "a/rmse", "b/rmse", "h1/rmse"]
    assert names(("a", "h1"), ("a", "c")) == ["h0/rmse", "h0/a/rmse", "h0/h1/rmse", "h1/rmse", "h1/a/rmse", "c/rmse"]


def test_a_gathered_metric_can_choose_the_checkpoint_and_is_then_computed_at_each_validation(tmp_path):
    common = ("dataset=breast_cancer", "model=mlp", "train.steps=12", "train.validate_every=2", "train.best=auroc")
    ended = train(tmp_path, *common)
    curve = [line["auroc"] for line in ended.lines("val")]
    assert ended.summary["best"]["step"] == 2 * (1 + curve.index(max(curve)))
    assert ended.lines("best") == []
    (line,) = [line for line in ended.out.splitlines() if line.startswith("val ")]
    assert f"auroc {max(curve):.4g}" in line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("dataset=iris", "train.best=top5_accuracy"), ("train.best=top5_accuracy", "auroc")),
        (("dataset=iris", "train.best=rmse"), ("train.best=rmse is not known", "f1_macro")),
        (("dataset=diabetes", "train.best=auroc"), ("train.best=auroc is not known", "median_absolute_error")),
        (("dataset=linnerud", "train.best=wiast/rmse"), ("train.best=wiast/rmse", "nearest: waist/rmse")),
        (
            ("dataset=iris", "dataset.validation=.02", "train.best=auroc"),
            ("train.best=auroc", "no example is of class"),
        ),
        (("dataset=linnerud", "dataset.validation=.05", "train.best=waist/r2"), ("train.best=waist/r2", "one example")),
    ],
)
def test_a_metric_that_the_validation_split_does_not_have_is_refused(tmp_path, arguments, parts):
    ended = train(tmp_path, *arguments, "train.steps=1", "train.batch_size=4")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "allowed: " in ended.err
    for part in parts:
        assert part in ended.err
    assert ended.runs == []


def test_a_class_without_test_examples_is_named_once_and_its_metric_is_null(tmp_path):
    ended = train(tmp_path, "dataset=iris", "dataset.test=.02", "train.steps=2", "train.batch_size=4")
    assert ended.summary["test"]["auroc"] is None
    assert ended.lines("test")[0]["auroc"] is None
    assert ended.out.count("auroc is not defined on a split where no example is of class '") == 1


def test_a_checkpoint_without_the_newer_metrics_can_be_resumed(tmp_path):
    run = train(tmp_path, "dataset=iris", "train.steps=4", "train.batch_size=8", "train.validate_every=2").run
    for path in (run / "checkpoints").iterdir():
        saved = checkpoint.load(path, torch.device("cpu"))
        older = ("loss", "accuracy", "step", "epoch")
        for part in ("best", "last"):
            saved[part] = {name: value for name, value in saved[part].items() if name in older}
        checkpoint.save(path, saved)
    ended = train(tmp_path, f"resume={run}", "train.steps=6")
    assert ended.status == 0, ended.err
    assert {"f1_macro", "auroc"} <= ended.summary["best"].keys()
