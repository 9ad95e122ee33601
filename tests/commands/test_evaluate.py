"""Evaluating a trained run: the same metrics, one-line errors, and no code from a checkpoint is executed."""

import os
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report
from support.commands import TINY, Ended, command, train

from dl_lab import evaluate
from dl_lab.core.formatting import format_metrics


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return train(tmp_path_factory.mktemp("trained"), *TINY, "train.steps=40", "train.validate_every=10")


def metrics(run: Path, *arguments: str) -> dict[str, float]:
    return evaluate.evaluate([f"run={run}", *arguments])


def test_the_test_metrics_are_equal_to_the_summary(trained):
    assert metrics(trained.run) == trained.summary["test"]


def test_the_validation_metrics_are_the_best_ones_of_the_run(trained):
    best = {name: value for name, value in trained.summary["best"].items() if name not in ("step", "epoch")}
    assert {"loss", "f1_macro", "auroc"} < best.keys()
    assert metrics(trained.run, "split=validation") == best


def test_the_last_checkpoint_has_the_last_validation_metrics(trained):
    found = metrics(trained.run, "split=validation", "checkpoint=last")
    assert trained.summary["last"].items() < found.items()


def test_split_train_evaluates_the_examples_of_training(trained, tmp_path):
    ended = train(
        tmp_path, "dataset=iris", "train.batch_size=full", "train.steps=1", "optimizer=sgd", "optimizer.lr=1e-30"
    )
    (line,) = ended.lines("train")  # the batch is the whole split, and lr=1e-30 changes no weight
    assert metrics(ended.run, "split=train", "checkpoint=last")["loss"] == pytest.approx(line["loss"], rel=1e-6)


def test_the_command_prints_the_metrics_and_the_report_of_scikit_learn(trained, tmp_path):
    ended = command(evaluate.main, tmp_path, f"run={trained.run}", "device=cpu")
    assert ended.status == 0
    assert ended.err == ""
    first, *report = ended.out.rstrip().splitlines()
    tested, step = trained.summary["test"], trained.summary["best"]["step"]
    shown = format_metrics(tested, trained.summary["test_intervals"])
    assert first == f"test  {shown}  (best checkpoint, step {step})"
    columns = classification_report([0, 1], [0, 1]).splitlines()[0].split()
    assert report[0].split() == columns
    assert [line.split()[0] for line in report[2:5]] == ["setosa", "versicolor", "virginica"]
    accuracy = next(line for line in report if line.split()[:1] == ["accuracy"])
    assert float(accuracy.split()[1]) == pytest.approx(tested["accuracy"], abs=5e-4)
    assert int(accuracy.split()[2]) == 30  # a fifth of 150 flowers


def test_help_names_every_key(tmp_path):
    ended = command(evaluate.main, tmp_path, "--help")
    assert ended.status == 0
    for key in evaluate.EvaluateConfig.__dataclass_fields__:
        assert f"  {key}" in ended.out


def error_line(folder: Path, *arguments: str) -> str:
    """The one-line error of an evaluation with a mistake."""
    ended = command(evaluate.main, folder, *arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: ")
    assert "allowed: " in ended.err or "hint: " in ended.err
    return ended.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ("run", "missing")),
        (["run=nowhere"], ("nowhere/checkpoints/best.pt",)),
        (["run=empty"], ("empty/checkpoints/best.pt", "the folder of a run")),
        (["RUN", "split=tset"], ("split=tset", "nearest: test)")),
        (["RUN", "checkpoint=worst"], ("checkpoint=worst", "best, last")),
        (["RUN", "device=nonsense"], ("device=nonsense", "cpu")),
        (["RUN", "splits=test"], ("splits", "nearest: split)")),
        (["RUN", "imports=[no_such_module]"], ("imports=no_such_module",)),
        (["RUN", "imports=mine"], ("imports=mine", "a list, each text")),
        (["RUN", "test"], ("test", "key=value")),
        (["RUN", "split=test", "path=new.csv"], ("split=test", "allowed: one of them")),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_a_mistake_is_a_one_line_error(trained, tmp_path, arguments, parts):
    (tmp_path / "empty").mkdir()
    line = error_line(tmp_path, *(f"run={trained.run}" if argument == "RUN" else argument for argument in arguments))
    for part in parts:
        assert part in line


def test_a_split_that_the_dataset_does_not_have_is_an_error(tmp_path):
    ended = train(tmp_path, *TINY, "dataset.test=0")
    assert ended.summary["test"] is None
    assert "split=test" in error_line(tmp_path, f"run={ended.run}")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"no checkpoint at all")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    torch.save([1, 2, 3], path)


@pytest.mark.parametrize("damage", [cut, overwrite, empty, other])
def test_a_damaged_checkpoint_is_an_error(trained, tmp_path, damage: Callable[[Path], None]):
    copytree(trained.run, tmp_path / "run")
    damage(tmp_path / "run" / "checkpoints" / "best.pt")
    message = error_line(tmp_path, "run=run")
    assert "run/checkpoints/best.pt is " in message
    assert "hint: " in message


class Trap:
    """An object that creates a folder when its pickle is loaded."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_with_code_is_rejected_and_the_code_does_not_run(trained, tmp_path):
    copytree(trained.run, tmp_path / "run")
    path, sprung = tmp_path / "run" / "checkpoints" / "best.pt", tmp_path / "sprung"
    contents = torch.load(path, weights_only=True)
    torch.save({**contents, "extra": Trap(sprung)}, path)
    assert "is not a checkpoint of dl_lab" in error_line(tmp_path, "run=run")
    assert not sprung.exists()
    torch.load(path, weights_only=False)  # without weights_only the code runs
    assert sprung.exists()


def test_every_head_has_its_tables(tmp_path):
    targets = "dataset.targets=[species,petal_width,petal_length]"
    ended = train(tmp_path, "dataset=iris", targets, "train.steps=4", "train.batch_size=8")
    printed = command(evaluate.main, tmp_path, f"run={ended.run}", "device=cpu").out
    matrix = printed.partition("predicted ones in columns\n")[2].splitlines()[1:4]
    counts = np.array([[int(count) for count in row.split()[1:]] for row in matrix])
    tested = ended.summary["test"]
    assert np.trace(counts) / counts.sum() == pytest.approx(tested["species/accuracy"])
    assert np.mean(np.diag(counts) / counts.sum(1)) == pytest.approx(tested["species/balanced_accuracy"])
    assert f"calibration: ece {tested['species/ece']:.4g}\n" in printed
    first, second = printed.partition("residuals: quantiles of prediction - target\n")[2].splitlines()[1:3]
    assert [first.split()[0], second.split()[0]] == ["petal_width", "petal_length"]
