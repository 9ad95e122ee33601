"""Every model with every dataset and every task that it gives: refused in one line, or able to learn a batch by heart.

Over the registries, so that an entry is tested because it is there. What needs files is given small ones.
"""

import pickle
import struct
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from support.configs import container
from torchvision import datasets

from dl_lab.config.compose import CONF, defaults
from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import ConfigError
from dl_lab.data.batching import training_batches
from dl_lab.data.dataset import Data
from dl_lab.models.linear import Linear
from dl_lab.registry import DATASETS, MODELS
from dl_lab.training import loop, setup
from dl_lab.training.state import Plan, TrainState

# Small, by the name of the field; a model that has none of them is trained as its YAML says.
SMALL = {
    "validation": 0.1,
    "hidden_sizes": [32],
    "depth": 3,
    "width": 32,
    "channels": [8, 16],
    "head_sizes": [32],
    "num_layers": 1,
    "num_heads": 2,
    "embedding_size": 32,
    "context_length": 12,
    "size": 16,
    "num_workers": 0,
    "modulus": 11,
    "test": 0.1,
}
# Targets that make each task, where a dataset gives several.
TARGETS = {
    "csv": {"regression": ["b"], "classification": ["kind"]},
    "table": {"regression": ["b"], "classification": ["kind"]},
    "iris": {"regression": ["petal_width"], "multi_output": ["species", "petal_width"]},
    "wine": {"regression": ["alcohol", "hue"], "multi_output": ["cultivar", "alcohol"]},
    "breast_cancer": {"regression": ["mean_radius"], "multi_output": ["mean_radius", "diagnosis"]},
}
GIVEN = [
    (dataset, task)
    for dataset in DATASETS.names()
    if dataset != "memory"  # whose rows are those of a table
    for task in sorted(DATASETS[dataset].tasks)
    if task in TARGETS.get(dataset, {}) or dataset not in ("csv", "table")  # these need a file to know that it is mixed
]
NUMBER = 36  # examples in a file


def write_mnist(folder: Path, random: np.random.Generator) -> None:
    for part in ("train", "t10k"):
        images = random.integers(0, 256, (NUMBER, 28, 28), dtype=np.uint8)
        labels = np.arange(NUMBER, dtype=np.uint8) % 10
        for what, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
            (folder / f"{part}-{what}-ubyte").write_bytes(header + array.tobytes())


def write_cifar(
    folder: Path, files: list[str], meta: tuple[str, str], names: list[str], random: np.random.Generator
) -> None:
    folder.mkdir(parents=True)
    for file in files:
        labels = [number % len(names) for number in range(NUMBER)]
        images = random.integers(0, 256, (NUMBER, 3 * 32 * 32), dtype=np.uint8)
        content = {"data": images, "labels": labels, "fine_labels": labels}
        (folder / file).write_bytes(pickle.dumps(content))
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: names}))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small files for the datasets that read some: in the data folder, and for each field that names a file."""
    random, root = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    for name in ("MNIST", "FashionMNIST", "KMNIST"):
        (root / name / "raw").mkdir(parents=True)
        write_mnist(root / name / "raw", random)
    write_cifar(root / "cifar-10-batches-py", ["one", "two"], ("meta", "label_names"), list("abcdefghij"), random)
    names = [f"class {number}" for number in range(100)]
    write_cifar(root / "cifar-100-python", ["one", "two"], ("meta", "fine_label_names"), names, random)
    text = "".join(random.choice(list("etaoin shrdlu\n"), 1500))
    (root / "tiny_shakespeare").mkdir()
    (root / "tiny_shakespeare" / "input.txt").write_text(text)
    table = random.normal(size=(NUMBER, 4))
    rows = [",".join([*(f"{cell:.3f}" for cell in row), "xyz"[number % 3]]) for number, row in enumerate(table)]
    (root / "table.csv").write_text("\n".join(["a,b,c,d,kind", *rows]))
    for number in range(NUMBER):
        picture = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        (root / "pictures" / "abc"[number % 3]).mkdir(parents=True, exist_ok=True)
        picture.save(root / "pictures" / "abc"[number % 3] / f"{number}.png")
    return {
        "data_dir": str(root),
        "text": str(root / "tiny_shakespeare" / "input.txt"),
        "csv": str(root / "table.csv"),
        "table": str(root / "table.csv"),
        "image_folder": str(root / "pictures"),
    }


@pytest.fixture(autouse=True)
def what_lies_there_is_what_was_published(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """torchvision checks CIFAR's files by MD5 (None stands for any), and we check Shakespeare's by SHA-256."""
    digest = sha256(Path(files["text"]).read_bytes()).hexdigest()
    monkeypatch.setattr("dl_lab.datasets.text.SHAKESPEARE_SHA256", digest)
    for published, key in ((datasets.CIFAR10, "label_names"), (datasets.CIFAR100, "fine_label_names")):
        monkeypatch.setattr(published, "train_list", [["one", None]])
        monkeypatch.setattr(published, "test_list", [["two", None]])
        monkeypatch.setattr(published, "meta", {"filename": "meta", "key": key, "md5": None})


@cache
def base() -> dict[str, Any]:
    return container("train=overfit", "train.batch_size=16")


@cache
def choice(group: str, name: str) -> dict[str, Any]:
    """The values of a choice's YAML, small where there is a field for it."""
    return {key: SMALL.get(key, value) for key, value in defaults(CONF / group / f"{name}.yaml").items()}


def configured(model: str, dataset: str, task: str, files: Mapping[str, str]) -> RunConfig:
    """A run of this model on one batch of this dataset, checked; raises ConfigError for a pair that does not fit."""
    data = dict(choice("dataset", dataset))
    if "path" in data:
        data["path"] = files.get(dataset, "anywhere")
    if dataset in TARGETS:
        data["targets"] = TARGETS[dataset].get(task, data["targets"])
    if "task" in data:
        data["task"] = task
    if dataset in ("csv", "table"):
        data["features"] = ["a", "c", "d"]
    network = choice("model", model)
    optimizer = {**choice("optimizer", "adam"), "lr": 0.005 if "activation" in network else 0.1}
    values = {"data_dir": files.get("data_dir"), "model": network, "dataset": data, "optimizer": optimizer}
    return parse({**base(), **values})


@cache
def accepted(dataset: str, task: str) -> list[str]:
    """The models that a configuration with this dataset and task is not refused for."""

    def is_accepted(model: str) -> bool:
        try:
            return bool(configured(model, dataset, task, {}))
        except ConfigError:
            return False

    return [model for model in MODELS.names() if is_accepted(model)]


def best_linear_loss(data: Data) -> float:
    """The least loss that any linear map of the batch has: by least squares, or (all but) by logistic regression."""
    split = data.train
    inputs = data.prepare(split.inputs).flatten(1).double().numpy()
    targets = split.targets.reshape(len(split), -1).double().numpy()
    with_ones, total, column = np.column_stack([inputs, np.ones(len(inputs))]), 0.0, 0
    for head in data.spec.heads:
        part = targets[:, column : column + head.columns]
        column += head.columns
        if head.task == "regression":
            solution = np.linalg.lstsq(with_ones, part, rcond=None)[0]
            total += float(((with_ones @ solution - part) ** 2).mean())
        else:
            labels = part[:, 0].astype(int)
            fitted = LogisticRegression(C=100, max_iter=10_000).fit(inputs, labels)
            total += log_loss(labels, fitted.predict_proba(inputs), labels=fitted.classes_)
    return total


def learn(plan: Plan, state: TrainState) -> tuple[float, float]:
    """The loss on the batch before, and after 300 steps or as soon as it is a fifth of that."""
    inputs, targets = next(training_batches(plan.data.train, plan.seed, plan.batch_size, plan.device))
    before = after = loop.evaluate(state.model, plan, plan.data.train)["loss"]
    for state.step in range(300):
        loop.train_step(state, plan, inputs, targets)
        if state.step % 20 == 19 and (after := loop.evaluate(state.model, plan, plan.data.train)["loss"]) < before / 5:
            break
    return before, after


@pytest.mark.parametrize("model", MODELS.names())
@pytest.mark.parametrize(("dataset", "task"), GIVEN, ids=["-".join(given) for given in GIVEN])
def test_a_model_is_refused_in_one_line_or_learns_a_batch_by_heart(model, dataset, task, files):
    fitting = accepted(dataset, task)
    assert fitting
    if model not in fitting:
        about = rf"^model={model} does not fit dataset={dataset} \(\w+, {task}\); allowed: {', '.join(fitting)}$"
        with pytest.raises(ConfigError, match=about):
            configured(model, dataset, task, files)
        return
    run = configured(model, dataset, task, files)
    data = setup.build_data(run)
    assert data.spec.task == task
    plan, state = setup.build_run(run, data)
    before, after = learn(plan, state)
    bound = before / 5
    if isinstance(state.model, Linear):
        # no line parts a circle from the one around it: a linear map has to be as good as the best one, to 2 %
        bound = max(bound, 1.02 * best_linear_loss(plan.data))
    assert after <= bound
