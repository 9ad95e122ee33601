"""Weights of classes and of examples, against scikit-learn and torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from support.commands import train
from support.configs import parsed
from support.pictures import write
from support.sweeps import assert_close, by_number, metrics
from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory
from dl_lab.training import setup
from dl_lab.training.checks import check_data
from dl_lab.training.class_weights import class_weights
from dl_lab.training.tasks.task import Task
from dl_lab.training.tasks.totals import add_up
from dl_lab.vectorized import autotune

CPU, RANDOM = torch.device("cpu"), np.random.default_rng(0)
CLOSE = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of dozens of terms
PRICE = Head(name="price", task="regression", labels=("a", "b"))
KIND = Head(name="kind", task="classification", labels=("x", "y", "z"))
SIZE = Head(name="size", task="classification", labels=("s", "l"))
TAGS = Head(name="tags", task="multilabel", labels=("l", "m"))
ROWS = 40


def normal(*shape: int) -> Tensor:
    return torch.from_numpy(RANDOM.normal(size=shape))


def table(*heads: Head, weights: Tensor | None = None) -> Tensor:
    """Targets of heads; the first class of each is twice as frequent as the others."""
    columns = [
        normal(ROWS, head.size)
        if head.task == "regression"
        else (normal(ROWS, head.size) > 0).double()
        if head.task == "multilabel"
        else torch.from_numpy(np.maximum(RANDOM.integers(-1, head.size, (ROWS, 1)), 0)).double()
        for head in heads
    ]
    return torch.cat([*columns, *([] if weights is None else [weights[:, None]])], dim=1)


def data_of(targets: Tensor, *heads: Head, is_weighted: bool = True) -> Data:
    split = InMemory(normal(len(targets), 4), targets)
    spec = DataSpec(kind="features", input_shape=(4,), heads=heads, is_weighted=is_weighted)
    return Data(spec=spec, train=split, validation=split, test=None)


def task_of(data: Data, *overrides: str) -> Task:
    dataset = "diabetes" if data.spec.task == "regression" else "wine"
    run = parsed(f"dataset={dataset}", *overrides)
    return setup.build_task(run, data.spec, class_weights(run.loss.config, data, CPU))


BALANCED = "loss.class_weights=balanced"
HEADS = {"regression": (PRICE,), "classes": (KIND,), "both": (PRICE, KIND, SIZE, TAGS)}
LOSSES = {
    "regression": (["loss=mse"], ["loss=l1"], ["loss=huber", "loss.delta=.7"]),
    "classes": (["loss=cross_entropy"], ["loss=cross_entropy", "loss.label_smoothing=.2", BALANCED]),
    "both": (["loss=auto"], ["loss=auto", BALANCED]),
}


@pytest.mark.parametrize(("case", "loss"), [(case, loss) for case in LOSSES for loss in LOSSES[case]])
def test_a_weight_of_k_counts_as_k_examples(case, loss):
    heads, times = HEADS[case], torch.from_numpy(RANDOM.integers(0, 4, ROWS))
    targets = table(*heads, weights=times.double())
    repeated = targets[:, :-1].repeat_interleave(times, 0)
    repeated = repeated[:, 0].long() if case == "classes" else repeated
    outputs = normal(ROWS, sum(head.size for head in heads)).requires_grad_()
    weighted, plain = (
        task_of(data_of(targets, *heads), *loss),
        task_of(data_of(repeated, *heads, is_weighted=False), *loss),
    )
    found, found_gradient = measured(weighted, outputs, targets)
    expected, gradient = measured(plain, outputs, repeated, times)
    assert found == pytest.approx(expected, rel=1e-11)
    torch.testing.assert_close(found_gradient, gradient, **CLOSE)
    pieces = [
        weighted.objective(weighted.totals(*each), weighted.counts(targets))
        for each in zip(outputs.split(13), targets.split(13), strict=True)
    ]
    torch.testing.assert_close(torch.autograd.grad(torch.stack(pieces).sum(), outputs)[0], gradient, **CLOSE)


def measured(task: Task, leaf: Tensor, targets: Tensor, times: Tensor | None = None) -> tuple[dict[str, float], Tensor]:
    """Metrics over ragged batches, and the gradient of the objective of all examples."""
    outputs = leaf if times is None else leaf.repeat_interleave(times, 0)
    totals = [task.totals(some.detach(), of) for some, of in zip(outputs.split(7), targets.split(7), strict=True)]
    objective = task.objective(task.totals(outputs, targets), task.counts(targets))
    return task.metrics(add_up(totals)), torch.autograd.grad(objective, leaf)[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_the_weight_of_torch_and_change_the_loss_only(smoothing):
    numbers, outputs = table(KIND)[:, 0].long(), normal(ROWS, 3)
    data = data_of(numbers, KIND, is_weighted=False)
    loss = ("loss=cross_entropy", f"loss.label_smoothing={smoothing}")
    found, _ = measured(task_of(data, *loss, "loss.class_weights=[3,0.5,2]"), outputs.requires_grad_(), numbers)
    weight = torch.tensor([3, 0.5, 2], dtype=torch.float64)
    expected = F.cross_entropy(outputs, numbers, weight=weight, label_smoothing=smoothing)
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-12)
    plain, _ = measured(task_of(data, *loss), outputs, numbers)
    assert {**found, "loss": plain["loss"]} == plain
    assert found["loss"] != plain["loss"]


@pytest.mark.parametrize("is_weighted", [False, True])
def test_balanced_weights_are_those_of_scikit_learn(is_weighted):
    weights = torch.from_numpy(RANDOM.random(ROWS)) if is_weighted else None
    targets = table(PRICE, KIND, SIZE, weights=weights)
    found = class_weights(
        parsed(BALANCED).loss.config,
        data_of(targets, PRICE, KIND, SIZE, is_weighted=is_weighted),
        CPU,
    )
    assert list(found) == ["kind", "size"]
    for name, column in (("kind", targets[:, 2].numpy()), ("size", targets[:, 3].numpy())):
        expected = compute_class_weight(
            "balanced",
            classes=np.unique(column),
            y=column,
            sample_weight=weights if weights is None else weights.numpy(),
        )
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-12)


def test_a_class_without_training_examples_has_weight_0():
    data = data_of(torch.tensor([0, 0, 0, 2]), KIND, is_weighted=False)
    found = class_weights(parsed(BALANCED).loss.config, data, CPU)
    assert found["kind"].tolist() == [4 / 6, 0, 2]


def test_a_batch_whose_weights_sum_to_0_changes_nothing():
    targets = table(PRICE, KIND, weights=torch.zeros(ROWS, dtype=torch.float64))
    task, leaf = task_of(data_of(targets, PRICE, KIND), "loss=auto"), normal(ROWS, 5).requires_grad_()
    totals = task.totals(leaf, targets)
    (gradient,) = torch.autograd.grad(task.objective(totals, task.counts(targets)), leaf)
    assert not gradient.any()
    more = table(PRICE, KIND, weights=torch.ones(ROWS, dtype=torch.float64))
    alone, outputs = task.totals(leaf.detach(), more), leaf.detach()
    empty = task.totals(outputs, targets)
    assert task.metrics(add_up([empty, alone])) == pytest.approx(task.metrics(add_up([alone])), rel=1e-12)
    assert all(np.isnan(value) for name, value in task.metrics(add_up([empty])).items() if name.endswith("loss"))


@pytest.mark.parametrize(
    ("given", "heads", "message"),
    [
        ("[1,2]", (KIND,), r"=\[1.0, 2.0\] has 2 numbers; allowed: 3 numbers, for the classes x, y, z"),
        ("[0,0,0]", (KIND,), "is 0 for every example of the training split; allowed: numbers above 0 for x, y, z"),
        ("[1,2,3]", (KIND, SIZE), r"which of 2 heads it is for; allowed: \{kind: \[...\], size: \[...\]\}"),
        ("{kinds: balanced}", (KIND, SIZE), r"loss.class_weights=kinds is not known \(nearest: kind\)"),
        ("{price: balanced}", (PRICE, SIZE), r"loss.class_weights=price is not known.*; allowed: size"),
        ("balanced", (PRICE,), "loss.class_weights=balanced needs classes, and the dataset has regression"),
    ],
)  # fmt: skip
def test_class_weights_that_do_not_fit_are_refused(given, heads, message):
    data = data_of(table(*heads, weights=torch.ones(ROWS, dtype=torch.float64)), *heads)
    with pytest.raises(ConfigError, match=message):
        task_of(data, f"loss.class_weights={given}")


@pytest.mark.parametrize(
    ("weight", "message"), [(-1.0, "weight = -1.0; allowed: 0 or"), (0.0, "all others have weight 0")]
)
def test_weights_that_are_negative_or_all_0_are_refused(weight, message):
    with pytest.raises(ConfigError, match=message):
        check_data(data_of(table(KIND, weights=torch.full((ROWS,), weight)), KIND), "mine")


OWN = """
import torch
from pathlib import Path
from dl_lab.core.schema import Schema
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory
from dl_lab.registry import DATASETS, LOSSES

class Weighted(Schema):
    is_weighted: bool

@DATASETS.register("weighted", Weighted, kinds={"features"}, tasks={"multi_output"})
def weighted(config, data_dir, seed):
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(60, 4, generator=draw, dtype=torch.float64)
    kinds = (inputs[:, 0] > .5).double() + (inputs[:, 1] > 1).double()
    weights = torch.randint(0, 3, (60,), generator=draw).double()
    targets = torch.stack([inputs.sum(1), kinds, *[weights] * config.is_weighted], 1)
    price = Head(name="price", task="regression", labels=("price",))
    kind = Head(name="kind", task="classification", labels=("x", "y", "z"))
    tags = Head(name="tags", task="multilabel", labels=("l", "m"))
    targets = torch.cat([(inputs[:, 2:] > 0).double(), targets], 1)
    parts = [InMemory(inputs[part], targets[part]) for part in torch.arange(60).split(30)]
    spec = DataSpec(kind="features", input_shape=(4,), heads=(tags, price, kind), is_weighted=config.is_weighted)
    return Data(spec=spec, train=parts[0], validation=parts[1], test=parts[1])

class Plain(Schema):
    pass

@LOSSES.register("two_arguments", Plain)
def two_arguments(config, task):
    if task == "regression":
        return lambda outputs, targets: (outputs - targets).square().sum()
    if task == "multilabel":
        return torch.nn.BCEWithLogitsLoss(reduction="sum")
    return lambda outputs, targets: torch.nn.functional.cross_entropy(outputs, targets, reduction="sum")
"""
SHORT = ("dataset=weighted", "train.steps=8", "train.validate_every=4", "train.log_every=4", "train.batch_size=2")
SHORT += ("optimizer=sgd", "optimizer.lr=0.01", "precision=float64")


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_weights.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    for path, text in (("dataset/weighted.yaml", "is_weighted: true"), ("loss/two_arguments.yaml", "")):
        (tmp_path / "conf" / path).parent.mkdir(parents=True)
        (tmp_path / "conf" / path).write_text(f"name: {(tmp_path / path).stem}\n{text}\n")
    return ("--config-dir", str(tmp_path / "conf"), "imports=[own_weights]", *SHORT)


def test_members_of_a_stack_have_their_own_weights(tmp_path, monkeypatch, own):
    """In a batch of 2 all weights may be 0."""
    monkeypatch.setattr(autotune, "seconds_of", lambda step: 1.0)  # a stack is faster
    chosen = (*own, "-m", "seed=range(3)", "loss.class_weights={kind: balanced}")
    stacked = train(tmp_path / "stack", *chosen, "hydra/launcher=vectorized", "hydra.launcher.processes=1")
    alone = train(tmp_path / "alone", *chosen)
    assert (stacked.status, alone.status) == (0, 0)
    assert "alone:" not in stacked.out
    for ours, theirs in zip(by_number(stacked), by_number(alone), strict=True):
        assert_close(metrics(ours), metrics(theirs))


def test_accumulation_changes_nothing(tmp_path, own):
    whole, pieces = (
        train(tmp_path / str(pieces), *own, "train.batch_size=10", f"train.accumulate={pieces}") for pieces in (1, 3)
    )
    assert_close(whole.lines("val"), pieces.lines("val"))


def test_a_loss_of_two_arguments_is_refused_if_examples_have_weights(tmp_path, own):
    ended = train(tmp_path / "a", *own, "loss=two_arguments")
    assert ended.status == 2
    assert ended.err == (
        "error: loss=two_arguments takes no weights; allowed: a function of outputs, targets and weights; "
        "hint: def loss(outputs, targets, weights=None)\n"
    )
    assert train(tmp_path / "b", *own, "loss=two_arguments", "dataset.is_weighted=false").status == 0


def test_balanced_weights_of_pictures_and_a_resumed_run(tmp_path):
    write(tmp_path / "pictures", {"cat": 20, "dog": 8})
    own = ("dataset=image_folder", "dataset.path=pictures", "dataset.num_workers=0", "dataset.size=6", BALANCED)
    steps = ("model=cnn", "train.steps=8", "train.validate_every=4", "train.log_every=4", "train.batch_size=4")
    whole = train(tmp_path, *own, *steps, "hydra.run.dir=whole")
    assert whole.status == 0, whole.err
    run = parsed(*own[:1], f"dataset.path={tmp_path / 'pictures'}", *own[2:])
    data = setup.build_data(run)
    numbers = [number for _, batch in data.train.everything(7) for number in batch.tolist()]
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=numbers)
    assert list(whole.summary["class_weights"]["class"].values()) == pytest.approx(expected.tolist())
    assert train(tmp_path, *own, *steps, "train.steps=4", "hydra.run.dir=half").status == 0
    assert train(tmp_path, "resume=half", "train.steps=8").status == 0
    points = [[point for point in metrics(tmp_path / run) if point["split"] != "test"] for run in ("whole", "half")]
    assert points[0] == points[1]
