"""A user's mistakes: one line that names the key, what was given and what is allowed; status 2; no trace on disk."""

from pathlib import Path

import pytest
import torch
from support.commands import TINY, Ended, train
from torchvision import datasets

from dl_lab.datasets import text

CLOSED = "http://127.0.0.1:9/"  # nothing listens on the port called "discard"
MODELS_FOR_FEATURES = "deep_nn, linear, logistic, mlp"


def assert_told(ended: Ended, *parts: str) -> str:
    """The one line of a run that was refused, after it was checked."""
    assert ended.status == 2, ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    assert "allowed: " in ended.err or "hint: " in ended.err
    for part in parts:
        assert part in ended.err
    return ended.err


def assert_refused(folder: Path, *arguments: str, parts: tuple[str, ...]) -> None:
    """Run a command that is a mistake, and hold what it tells and leaves behind against the contract."""
    assert_told(train(folder, *arguments), *parts)
    assert not (folder / "outputs").exists()


CHOICES_AND_KEYS = [
    (["model=cnnn"], ("model=cnnn", "nearest: cnn)", "cnn, deep_nn, linear, logistic, mlp, transformer")),
    (["optimizer=zzz"], ("optimizer=zzz", "adam, ", "sgd")),
    (["train=long"], ("train=long", "default, overfit, quick")),
    (["modle=cnn"], ("modle", "nearest: model)", "optimizer")),
    (["lr=0.1"], ("lr", "optimizer, ", "hint: optimizer.lr=0.1\n")),
    (["++lr=0.1"], ("lr", "hint: optimizer.lr=0.1\n")),
    (["dropout.p=0.5"], ("dropout.p", "hint: dropout=dropout dropout.p=0.5 (also a key of spatial, alpha_dropout)")),
    (["+optimizer.momentum=0.9"], ("hint: optimizer=sgd optimizer.momentum=0.9 (also a key of muon, rmsprop)",)),
    (["++optimizer.momentum=0.9"], ("hint: optimizer=sgd optimizer.momentum=0.9 (also a key of muon, rmsprop)",)),
    (["-m", "optimizer=sgd", "momentum=0.1,0.2"], ("hint: optimizer.momentum=0.1,0.2\n",)),
    (["Model.hidden_sizes=[3]"], ("Model", "hint: 'model.hidden_sizes=[3]'\n")),
    (["dataset=data/my.csv"], ("hint: dataset=table dataset.path=data/my.csv 'dataset.targets=[COLUMN]'\n",)),
    (["loss=mae"], ("loss=mae", "hint: loss=l1\n")),
    (["dataset.path=a,b.csv"], ("hint: \"dataset.path='a,b.csv'\" is one value with a comma; -m runs each\n",)),
    (["train.patience=None"], ("train.patience=None", "hint: train.patience=null\n")),
    (["model.hidden_size=3"], ("model.hidden_size", "nearest: hidden_sizes)", "activation")),
    (["train.step=3"], ("train.step", "nearest: steps)")),
    (["+colour=red"], ("colour", "optimizer, ")),
    (["+model.colour=red"], ("model.colour", "hidden_sizes")),
    (["+model.hidden_sizes2=[3]"], ("model.hidden_sizes2", "nearest: hidden_sizes)")),
    (["~optimizer"], ("optimizer", "missing")),
    (["~model.activation"], ("model.activation", "missing", "gelu")),
    (["model.name=linaer"], ("model.name=linaer", "nearest: linear)")),
    (["model=cnn,mlp"], ("model=cnn,mlp", "-m")),
    (["optimizer.lr=[0.1"], ("optimizer.lr=[0.1", "key=value")),
    (["optimizer"], ("optimizer", "key=value")),
    (["--config-dir", "nowhere"], ("--config-dir", "nowhere")),
    (["--config-name", "nothing"], ("--config-name=nothing",)),
    (["--experimental-rerun", "job.pickle"], ("--experimental-rerun", "can run code")),
    (["--exp=job.pickle"], ("--experimental-rerun", "can run code")),
    (["model=mlp", "--multirn", "seed=1"], ("--multirn", "nearest: --multirun")),
    (["imports=[no_such_module]"], ("imports=no_such_module", "module")),
]

VALUES = [
    (["optimizer.lr=fast"], ("optimizer.lr=fast", "a number")),
    (["model.hidden_sizes=64"], ("model.hidden_sizes=64", "a list, each a whole number")),
    (["train.steps=2.5"], ("train.steps=2.5", "a whole number")),
    (["seed=null"], ("seed=None", "a whole number")),
    (["seed=-1"], ("seed=-1", "2^63")),
    (["optimizer.lr=-1"], ("optimizer.lr=-1", "a number above 0")),
    (["optimizer.lr=0"], ("optimizer.lr=0", "a number above 0")),
    (["optimizer.lr=nan"], ("optimizer.lr=nan", "a number above 0")),
    (["optimizer.lr=inf"], ("optimizer.lr=inf", "a number above 0")),
    (["dropout=dropout", "dropout.p=1.5"], ("dropout.p=1.5", "a number from 0")),
    (["model=cnn", "model.kernel_size=4"], ("model.kernel_size=4", "odd")),
    (["model=cnn", "model.activation=rleu"], ("model.activation=rleu", "nearest: relu)")),
    (["model=transformer", "model.num_heads=5"], ("model.num_heads=5", "model.embedding_size=128")),
    (["model=transformer", "model.patch_size=3"], ("model.patch_size=3", "8x8", "1, 2, 4, 8")),
    (["train.batch_size=0"], ("train.batch_size=0", "full")),
    (["train.batch_size=everything"], ("train.batch_size=everything", "full")),
    (["train.steps=0"], ("train.steps=0", "1 or more")),
    (["train.best=acuracy"], ("train.best=acuracy", "nearest: accuracy)", "loss")),
    (["dataset=iris", "train.batch_size=1000"], ("train.batch_size=1000", "at most 105", "full")),
    (["train.batch_size=4", "train.accumulate=5"], ("train.accumulate=5", "at most 4")),
    (["dataset.validation=0"], ("dataset.validation=0", "1,797")),
    (["dataset=iris", "dataset.validation=0.5", "dataset.test=0.5"], ("dataset.validation=0.5", "dataset.test=0.5")),
    (["dataset.examples=5000"], ("dataset.examples=5000", "at most 1258")),
    (["dataset=iris", "dataset.targets=[colour]"], ("dataset.targets=colour", "species")),
    (["dataset=iris", "dataset.features=[petal_widht]"], ("petal_widht", "nearest: petal_width)")),
    (["schedule=warmup_cosine", "train.steps=50"], ("schedule.warmup_steps=100", "less than the run's 50 steps")),
    (["precision=float16"], ("precision=float16", "bfloat16, float32, float64")),
    (["device=nonsense"], ("device=nonsense", "auto", "cpu")),
    pytest.param(
        ["device=cuda"],
        ("device=cuda", "auto", "cpu"),
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so this is no mistake"),
    ),
]

MISFITS = [
    (["model=cnn", "dataset=diabetes"], ("model=cnn", "dataset=diabetes", "allowed: deep_nn, linear, mlp\n")),
    (["model=transformer", "dataset=iris"], ("model=transformer", f"allowed: {MODELS_FOR_FEATURES}\n")),
    (["model=logistic", "dataset=diabetes"], ("model=logistic", "regression", "allowed: deep_nn, linear, mlp\n")),
    (["model=mlp", "dataset=sorting"], ("model=mlp", "tokens", "allowed: transformer\n")),
    (["loss=mse"], ("loss=mse", "dataset=digits", "allowed: auto, cross_entropy\n")),
    (["dataset=diabetes", "loss=cross_entropy"], ("loss=cross_entropy", "allowed: auto, huber, l1, mse\n")),
    (
        ["dataset=sorting", "model=transformer", "dropout=dropout", "dropout.input_p=0.1"],
        ("dropout.input_p=0.1", "dataset=sorting", "allowed: 0; hint: dropout.p"),
    ),
    (
        ["dataset=iris", "model=logistic", "dataset.targets=[species,petal_width]"],
        ("model=logistic", "multi_output", "allowed: deep_nn, linear, mlp\n"),
    ),
]

MISSING_DATA = [
    (["dataset=csv"], ("dataset.path", "missing")),
    (["dataset=csv", "dataset.path=x.csv"], ("dataset.targets", "missing")),
    (["dataset=csv", "dataset.path=no.csv", "dataset.targets=[y]"], ("dataset.path=no.csv", "No such file")),
    (["dataset=text", "model=transformer"], ("dataset.path", "missing")),
    (["dataset=text", "model=transformer", "dataset.path=no.txt"], ("dataset.path=no.txt", "No such file")),
    (["dataset=text", "model=transformer", "dataset.path=."], ("dataset.path=.", "directory")),
    (["dataset=image_folder", "model=cnn"], ("dataset.path", "missing")),
    (["dataset=image_folder", "model=cnn", "dataset.path=none"], ("dataset.path=none", "not a folder")),
    (["dataset=image_folder", "model=cnn", "dataset.path=bare"], ("dataset.path=bare", "one folder for each")),
]

BEYOND_ANY_MACHINE = [
    (["train.steps=100000000000000000000"], ("train.steps=1000", "whole number")),
    (["=3"], ("=3", "no key", "key=value")),
    (["model=3"], ("model=3", "cnn, deep_nn", "hint: model=mlp 'model.hidden_sizes=[3]'")),
    (["model.hidden_sizes=[100000000000]"], ("not enough memory", "model")),
]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    CHOICES_AND_KEYS + VALUES + MISFITS + MISSING_DATA + BEYOND_ANY_MACHINE,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_reported_in_one_line(tmp_path, arguments, parts):
    (tmp_path / "bare").mkdir()
    assert_refused(tmp_path, *arguments, parts=parts)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ("dataset.path=table.csv", "empty")),
        ("a,b\n1,2\n3,4,5\n", ("dataset.path=table.csv", "line 3", "3 cells", "allowed: 2")),
        ("a,b\n1,2\n3,four\n", ("dataset.path=table.csv", "line 3", "column b", "'four'")),
        ("a,b\n1,2\n3,4e300\n", ("dataset.path=table.csv", "line 3", "column b", "'4e300'")),
    ],
    ids=["empty", "ragged", "no number", "beyond float32"],
)
def test_a_mistake_in_a_csv_file_is_reported_with_line_and_column(tmp_path, content, parts):
    (tmp_path / "table.csv").write_text(content)
    assert_refused(tmp_path, "dataset=csv", "dataset.path=table.csv", "dataset.targets=[b]", parts=parts)


def test_a_text_shorter_than_a_window_and_an_empty_one_are_reported(tmp_path):
    (tmp_path / "short.txt").write_text("a few words")
    (tmp_path / "empty.txt").write_text("")
    model = ("dataset=text", "model=transformer")
    assert_refused(tmp_path, *model, "dataset.path=short.txt", parts=("dataset.context_length=64", "training part"))
    assert_refused(tmp_path, *model, "dataset.path=empty.txt", parts=("dataset.path=empty.txt", "empty"))


@pytest.mark.parametrize(
    ("name", "files"), [("MNIST", "MNIST/raw/train-images-idx3"), ("CIFAR10", "cifar-10-batches-py")]
)
def test_without_a_network_the_missing_files_and_their_folder_are_named(tmp_path, monkeypatch, name, files):
    published = getattr(datasets, name)
    monkeypatch.setattr(published, "mirrors", [CLOSED], raising=False)
    monkeypatch.setattr(published, "url", f"{CLOSED}archive.tar.gz", raising=False)
    arguments = (f"dataset={name.lower()}", "data_dir=kept")
    assert_refused(tmp_path, *arguments, parts=("data_dir=kept", files, "the download failed"))


def test_without_a_network_the_missing_text_and_its_folder_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "SHAKESPEARE_URL", f"{CLOSED}input.txt")
    arguments = ("dataset=tiny_shakespeare", "model=transformer", "data_dir=kept")
    assert_refused(tmp_path, *arguments, parts=("data_dir=kept", "tiny_shakespeare/input.txt", CLOSED, "refused"))
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert_told(train(tmp_path, *TINY, "hydra.run.dir=file/run"), "file", "hydra.run.dir")
    assert (tmp_path / "file").read_text() == "in the way"


def test_outputs_that_is_no_folder_is_reported(tmp_path):
    (tmp_path / "outputs").write_text("in the way")
    assert_told(train(tmp_path, *TINY), "outputs", "hydra.run.dir")


def test_a_folder_that_holds_a_run_is_left_as_it_is(tmp_path):
    train(tmp_path, *TINY, "hydra.run.dir=run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert len(before) == 8
    assert_told(train(tmp_path, *TINY, "seed=1", "hydra.run.dir=run"), "hydra.run.dir=", "already holds a run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
