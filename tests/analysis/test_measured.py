"""Runs that are measured differently form separate tables, by the main metric of each."""

from pathlib import Path
from typing import Any

import pytest

from dl_lab.analysis.measured import compare_tables, default_metric, divide, full_name
from dl_lab.core.errors import ConfigError
from dl_lab.runs.identity import hyperparameters
from dl_lab.runs.reader import Run

COMMON = {
    "dataset": "digits",
    "dataset.validation": 0.2,
    "dataset.standardize": True,
    "dataset.tokenizer": "bytes",
    "loss": "cross_entropy",
    "loss.label_smoothing": 0.0,
    "train.one_batch": False,
    "train.best": "loss",
    "train.validate_every": "None",
    "model": "mlp",
}
CHANGES = {
    "dataset": "iris",
    "dataset.validation": 0.1,
    "dataset.standardize": False,
    "dataset.tokenizer": "characters",
    "loss": "binary_cross_entropy",
    "loss.label_smoothing": 0.1,
    "train.one_batch": True,
    "train.best": "accuracy",
    "train.validate_every": 7,
    "data": "1234abcd",
}


def run(name: str, best: Any = None, status: str = "completed", **values: Any) -> Run:
    metrics = {"loss": 0.5, "accuracy": 0.9} if best is None else best
    summary = {"best": metrics, "test": metrics, "last": metrics, "seconds": 1.0}
    return Run(
        folder=Path(name), status=status, values={**COMMON, **values.pop("changes", {}), **values}, summary=summary
    )


@pytest.mark.parametrize("key", CHANGES)
def test_runs_that_are_measured_differently_are_in_separate_tables(key):
    one, two = run("1"), run("2", changes={key: CHANGES[key], "model": "cnn"})
    before, after = (
        {"None": "null", "True": "true", "False": "false"}.get(str(each), each)
        for each in (COMMON.get(key, "None"), CHANGES[key])
    )
    assert [(name, [each.folder.name for each in runs]) for name, runs in divide([one, two])] == sorted(
        [(f"{key}={before}", ["1"]), (f"{key}={after}", ["2"])]
    )


def test_a_table_is_named_by_as_many_keys_as_tell_it_from_the_others():
    changes: list[dict[str, Any]] = [
        {"data": "1"},
        {"dataset": "iris"},
        {"dataset": "iris", "loss.label_smoothing": 0.1, "data": "2"},
        {"dataset": "iris", "loss.label_smoothing": 0.1, "data": "3"},
    ]
    assert [name for name, _ in divide([run(str(number), changes=each) for number, each in enumerate(changes)])] == [
        "dataset=digits",
        "dataset=iris, loss.label_smoothing=0.0",
        "dataset=iris, loss.label_smoothing=0.1, data=2",
        "dataset=iris, loss.label_smoothing=0.1, data=3",
    ]


@pytest.mark.parametrize("key", ["model", "optimizer.lr", "train.batch_size", "seed", "dataset.fold", "name"])
def test_runs_that_differ_in_anything_else_share_a_table(key):
    assert [name for name, _ in divide([run("1"), run("2", changes={key: 3})])] == [""]


@pytest.mark.parametrize(
    ("metric", "keys"),
    [
        ("best/accuracy", {"loss", "loss.label_smoothing", "dataset.standardize"}),
        ("best/loss", set()),
        (
            "last/accuracy",
            {"loss", "loss.label_smoothing", "dataset.standardize", "train.best", "train.validate_every"},
        ),
        ("last/loss", {"train.best", "train.validate_every"}),
        ("train/loss", {"train.best", "train.validate_every"}),
        ("test/bits_per_byte", {"loss", "loss.label_smoothing", "dataset.standardize", "dataset.tokenizer"}),
    ],
)
def test_a_chosen_metric_separates_only_what_changes_its_meaning(metric, keys):
    together = {
        key for key, value in CHANGES.items() if len(divide([run("1"), run("2", changes={key: value})], metric)) == 1
    }
    assert together == keys


def test_each_run_that_failed_early_is_in_the_table_that_its_known_keys_agree_with():
    known = [run(name, changes={"dataset.path": f"{name}.csv", "data": name}) for name in ("1", "2")]
    failed = run("3", status="failed", changes={"dataset.path": "2.csv"})
    early = Run(folder=Path("4"), status="failed", values={"dataset.path": "1.csv", "model": "cnn"})
    other = run("5", status="failed", changes={"dataset.path": "5.csv"})
    tables = divide([failed, early, other, *known])
    assert sorted([each.folder.name for each in runs] for _, runs in tables) == [["1", "4"], ["2", "3"], ["5"]]
    comparisons, lines, _ = compare_tables([failed, early, other, *known], None)
    assert len(comparisons) == 2
    assert len(lines) == 1
    assert lines[0].endswith(": no completed run has best/loss (1 failed)")


@pytest.mark.parametrize(
    ("best", "chosen", "metric"),
    [
        ({"loss": 1.0, "accuracy": 0.9}, "loss", "best/accuracy"),
        ({"loss": 1.0, "r2": 0.5, "mse": 3.0, "price/r2": 0.5}, "loss", "best/r2"),
        ({"loss": 1.0, "accuracy": 0.3, "nats": 1.0}, "loss", "best/nats"),
        ({"loss": 1.0, "kind/accuracy": 0.3, "price/r2": 1.0}, "loss", "best/loss"),
        ({"loss": 1.0, "r2": None}, "loss", "best/loss"),  # not defined
        ({"loss": 1.0, "accuracy": 0.9, "auroc": 0.8}, "auroc", "best/auroc"),
    ],
)
def test_the_default_is_the_main_metric_or_that_of_train_best(best, chosen, metric):
    damaged = run("2", {"step": 1}, changes={"train.best": chosen})
    assert default_metric([damaged, run("1", best, changes={"train.best": chosen})]) == metric


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("accuracy", "best/accuracy"),
        ("val/loss", "best/loss"),
        ("test/loss", "test/loss"),
        ("price/r2", "best/price/r2"),
        ("test/price/r2", "test/price/r2"),
        ("train/loss", "train/loss"),
        ("seconds", "seconds"),
    ],
)
def test_a_metric_without_a_split_is_that_of_the_best_validation(given, name):
    assert full_name(given) == name


def test_a_metric_that_no_run_has_is_refused_and_tables_without_it_are_listed():
    numbers = run("2", {"loss": 1.0, "r2": 0.5}, changes={"dataset": "diabetes"})
    (comparison,), lines, _ = compare_tables([run("1"), numbers], "accuracy")
    assert (comparison.name, comparison.metric) == ("dataset=digits", "best/accuracy")
    assert lines == ["dataset=diabetes: no completed run has best/accuracy (1 completed)"]
    with pytest.raises(
        ConfigError, match=r"^metric=acuracy is not known \(nearest: accuracy\); allowed: accuracy, loss, r2"
    ):
        compare_tables([run("1"), numbers], "acuracy")


def test_values_of_a_configuration_are_named_as_overrides():
    assert hyperparameters({"train": {"best": "loss", "validate_every": None}})["train.validate_every"] == "None"


def test_numbers_have_as_many_digits_as_tell_them_apart():
    runs = [run(str(lr), changes={"optimizer.lr": lr}) for lr in (0.012345678, 0.012347, 0.1)]
    (comparison,), *_ = compare_tables(runs, "accuracy")
    shown = {comparison.value(each, "optimizer.lr") for each in comparison.configurations}
    assert shown == {"0.012346", "0.012347", "0.1"}
