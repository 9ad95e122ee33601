"""Totals add up exactly, and metrics agree with scikit-learn and torch."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sk
from torch import Tensor

from dl_lab.data.spec import DataSpec, Head, higher_is_better, main_metric, value_range
from dl_lab.data.splits import PADDING
from dl_lab.training.tasks.task import Task
from dl_lab.training.tasks.totals import add_up, detached

RANDOM = np.random.default_rng(0)
CLOSE = {"rel": 1e-12}  # float64: sums of a few hundred terms, and r2 a difference of two of them


def regression(targets: int = 1, offset: float = 0.0, scale: float = 1.0) -> Head:
    names = tuple(f"y{number}" for number in range(targets))
    units = tuple(scale * 2**number for number in range(targets))
    return Head(name="value", task="regression", labels=names, offset=(offset,) * targets, scale=units)


CLASSES = Head(name="kind", task="classification", labels=("a", "b", "c", "d"))
LABELS = Head(name="tags", task="multilabel", labels=("a", "b", "c", "d", "never"))
TOKENS = Head(name="token", task="language_modelling", labels=tuple("abcdefg"), token_bytes=(1, 4, 2, 1, 3, 9, 5))


def spec(*heads: Head) -> DataSpec:
    return DataSpec(kind="features", input_shape=(5,), heads=heads)


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets, reduction="sum")


def bits(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="sum")


def nats(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum", ignore_index=PADDING)


def task_of(*heads: Head) -> Task:
    losses = {"regression": squares, "classification": nats, "multilabel": bits, "language_modelling": nats}
    return Task(spec(*heads), losses)


def normal(*shape: int) -> Tensor:
    return torch.from_numpy(RANDOM.normal(size=shape))


def classes(count: int, *shape: int) -> Tensor:
    return torch.from_numpy(RANDOM.integers(count, size=shape))


def labels(count: int) -> Tensor:
    """The last label is never true."""
    return (normal(count, 5) > torch.tensor([0, 1, -1, 0.5, 99])).double()


TEXT = classes(7, 37, 6)
TEXT[::3, 4:] = PADDING
TABLE = torch.cat([normal(37, 2), classes(4, 37, 1).double()], dim=1)
EXAMPLES: dict[str, tuple[tuple[Head, ...], Tensor, Tensor]] = {
    "one target": ((regression(),), normal(37, 1), normal(37, 1)),
    "three targets": ((regression(3, 5.0, 2.0),), normal(37, 3), normal(37, 3)),
    "classes": ((CLASSES,), normal(37, 4), classes(4, 37)),
    "tokens": ((TOKENS,), normal(37, 6, 7), TEXT),
    "labels": ((LABELS,), normal(37, 5), labels(37)),
    "labels and a class": ((LABELS, CLASSES), normal(37, 9), torch.cat([labels(37), TABLE[:, 2:]], dim=1)),
    "numbers and a class": ((regression(2), CLASSES), normal(37, 6), TABLE),
}


def metrics_of(case: str, *sizes: int) -> dict[str, float]:
    """The metrics of a case in an evaluation, from totals over batches of these sizes."""
    heads, outputs, targets = EXAMPLES[case]
    task = task_of(*heads)
    pairs = zip(outputs.split(list(sizes)), targets.split(list(sizes)), strict=True)
    totals = add_up([task.totals(some, of, evaluating=True) for some, of in pairs])
    return task.metrics(totals, evaluating=True) | task.gathered_metrics(outputs, targets)


@pytest.mark.parametrize("case", EXAMPLES)
@pytest.mark.parametrize("sizes", [(16, 16, 5), (1, 35, 1), (1,) * 37])
def test_totals_over_ragged_batches_add_up_exactly(case, sizes):
    assert metrics_of(case, *sizes) == pytest.approx(metrics_of(case, 37), nan_ok=True, **CLOSE)


@pytest.mark.parametrize("case", EXAMPLES)
def test_metrics_have_the_declared_names_with_loss_first(case):
    heads, _, _ = EXAMPLES[case]
    metrics = metrics_of(case, 37)
    assert task_of(*heads).metric_names[0] == "loss"
    assert set(metrics) == set(task_of(*heads).metric_names)
    assert {type(value) for value in metrics.values()} == {float}  # a checkpoint holds plain numbers only


@pytest.mark.parametrize("case", EXAMPLES)
def test_the_objective_is_the_loss_and_adds_up_over_parts_of_a_batch(case):
    heads, outputs, targets = EXAMPLES[case]
    task, leaf = task_of(*heads), outputs.clone().requires_grad_()
    whole = task.objective(task.totals(leaf, targets), task.counts(targets))
    (gradient,) = torch.autograd.grad(whole, leaf)
    assert whole.item() == pytest.approx(metrics_of(case, 37)["loss"], **CLOSE)
    pieces = [
        task.objective(task.totals(some, of), task.counts(targets))
        for some, of in zip(leaf.split([30, 7]), targets.split([30, 7]), strict=True)
    ]
    torch.testing.assert_close(torch.autograd.grad(sum(pieces, torch.zeros(())), leaf)[0], gradient)


@pytest.mark.parametrize("case", EXAMPLES)
def test_only_losses_carry_a_gradient(case):
    heads, outputs, targets = EXAMPLES[case]
    totals = task_of(*heads).totals(outputs.clone().requires_grad_(), targets)
    carrying = {name for name, value in totals.items() if isinstance(value, Tensor) and value.requires_grad}
    assert carrying == {name for name in totals if name.endswith("loss")}
    assert add_up([detached(totals)]) == add_up([task_of(*heads).totals(outputs, targets)])


@pytest.mark.parametrize("is_weighted", [False, True])
def test_metrics_of_labels_agree_with_scikit_learn(is_weighted):
    outputs, true, weights = normal(200, 5) - torch.tensor([0, 1, 0, 0, 9]), labels(200), normal(200).abs()
    predicted, own = (outputs > 0).numpy(), {"sample_weight": weights.numpy() if is_weighted else None}
    f1 = {"y_true": true, "y_pred": predicted, "zero_division": 0.0, **own}
    losses = F.binary_cross_entropy_with_logits(outputs, true, reduction="none").numpy()
    expected = {
        "loss": np.average(losses.mean(1), weights=own["sample_weight"]),
        "accuracy": 1 - sk.hamming_loss(true, predicted, **own),
        "subset_accuracy": sk.accuracy_score(true, predicted, **own),
        **{f"f1_{average}": sk.f1_score(average=average, **f1) for average in ("micro", "macro", "weighted")},
    }
    weighted = Task(
        DataSpec(kind="features", input_shape=(5,), heads=(LABELS,), is_weighted=is_weighted),
        {
            "multilabel": lambda outputs, targets, weights=None: (
                F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").T
                * (1 if weights is None else weights)
            ).sum()
        },
    )
    targets = torch.cat([true, weights[:, None]], dim=1) if is_weighted else true
    parts = zip(outputs.split(64), targets.split(64), strict=True)
    assert weighted.metrics(add_up([weighted.totals(*part) for part in parts])) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (150.0, 77.0), (-3e4, 1e-3)])
def test_regression_metrics_agree_with_scikit_learn_in_the_unit_of_the_target(targets, offset, scale):
    head = regression(targets, offset, scale)
    true, predicted = normal(200, targets), normal(200, targets)
    metrics = task_of(head).metrics(add_up([task_of(head).totals(predicted, true)]))
    own = [(tensor * torch.tensor(head.scale) + torch.tensor(head.offset)).numpy() for tensor in (true, predicted)]
    # Taking an offset of 1e7 scales back off again costs a relative 1e-16 * 1e7.
    tolerance = 1e-12 + 1e-14 * abs(offset) / scale
    assert metrics["mse"] == pytest.approx(sk.mean_squared_error(*own), rel=tolerance)
    assert metrics["mae"] == pytest.approx(sk.mean_absolute_error(*own), rel=tolerance)
    assert metrics["r2"] == pytest.approx(sk.r2_score(*own), rel=tolerance)
    assert metrics["loss"] == pytest.approx(sk.mean_squared_error(true, predicted), **CLOSE)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, -1e6])
@pytest.mark.parametrize("error", [0.0, 0.5])
def test_r2_of_a_constant_target_agrees_with_scikit_learn(constant, error):
    true = torch.full((30, 1), constant, dtype=torch.float64)
    task = task_of(regression())
    totals = [task.totals(part + error, part) for part in true.split(7)]
    expected = 1.0 if error == 0 else 0.0
    assert task.metrics(add_up(totals))["r2"] == expected
    if constant != 0.1:  # its mean rounds, and scikit-learn divides by 1e-32
        assert sk.r2_score(true, true + error) == expected


def test_r2_of_one_constant_target_among_others_agrees_with_scikit_learn():
    true, predicted = normal(50, 3), normal(50, 3)
    true[:, 1] = 2.5
    task = task_of(regression(3))
    metrics = task.metrics(add_up([task.totals(predicted, true)]))
    assert metrics["r2"] == pytest.approx(sk.r2_score(true, predicted), **CLOSE)


EXTREME = {
    "far": 1e9 + normal(500, 2),
    "tiny": 1e-150 * normal(500, 2),
    "huge": 1e120 * normal(500, 2),
    "nearly constant": 5 + 1e-9 * torch.arange(1000, dtype=torch.float64).view(500, 2),
    "outlier": torch.cat([normal(499, 2), torch.full((1, 2), 999_999_999.0)]),
    "growing": torch.logspace(-8, 12, 1000, dtype=torch.float64).view(500, 2),
    "two": torch.tensor([[1e9, 1.0], [1e9 + 1, 1.0 + 1e-9]], dtype=torch.float64),
}


@pytest.mark.parametrize("size", [1, 64, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", EXTREME)
def test_r2_of_extreme_targets_agrees_with_scikit_learn(case, dtype, size):
    """In parts that are added up in two stages, as between two validations."""
    true, task = EXTREME[case], task_of(regression(2))
    predicted = (true * (1 + 0.3 * normal(*true.shape))).to(dtype)
    if not predicted.double().square().sum().isfinite() or predicted.double().square().sum() == 0:
        pytest.skip("not numbers of float32")
    totals = [task.totals(some, of) for some, of in zip(predicted.split(size), true.split(size), strict=True)]
    metrics = task.metrics(add_up([add_up(totals[:3]), *([add_up(totals[3:])] if totals[3:] else [])]))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5  # float32 rounds an output by 1e-7 of it
    assert metrics["r2"] == pytest.approx(sk.r2_score(true, predicted.double()), rel=tolerance)


@pytest.mark.parametrize("size", [1, 7, 30])
@pytest.mark.parametrize("steps", [1, 3, 100, 10_000])
@pytest.mark.parametrize("base", [0.1, 1.0, -3.7e5, 1e15])
def test_r2_of_targets_that_differ_in_their_last_digits_is_exact(base: float, steps: int, size: int) -> None:
    """scikit-learn rounds their mean, and returns up to .52 instead of -3.3 for one step of float64."""
    true = base + np.spacing(abs(base)) * np.round(RANDOM.uniform(0, steps, 30))
    predicted = true + 2 * (true.max() - true.min())
    exact, shifted = [[Fraction(value) for value in values] for values in (true.tolist(), predicted.tolist())]
    mean = sum(exact) / Fraction(30)
    error = sum((one - other) ** 2 for one, other in zip(exact, shifted, strict=True))
    task, pairs = task_of(regression()), [torch.tensor(values)[:, None].split(size) for values in (predicted, true)]
    metrics = task.metrics(add_up([task.totals(some, of) for some, of in zip(*pairs, strict=True)]))
    assert metrics["r2"] == pytest.approx(float(1 - error / sum((value - mean) ** 2 for value in exact)), **CLOSE)


def test_r2_of_one_example_is_undefined():
    metrics = task_of(regression()).metrics(add_up([task_of(regression()).totals(normal(1, 1), normal(1, 1))]))
    assert math.isnan(metrics["r2"])
    assert math.isfinite(metrics["mse"])


def test_regression_in_float32_is_summed_in_float64():
    """float32 could sum 100,000 errors of about 1 to four digits only."""
    true, predicted = (1 + normal(100_000, 1)).float(), normal(100_000, 1).float()
    task = task_of(regression())
    metrics = task.metrics(add_up([task.totals(predicted, true)]))
    assert metrics["r2"] == pytest.approx(sk.r2_score(true.double(), predicted.double()), rel=1e-6)
    errors = (predicted - true).double()  # the model computes in float32, and so does the difference
    assert metrics["mae"] == pytest.approx(errors.abs().mean().item(), **CLOSE)
    assert metrics["mse"] == pytest.approx(errors.square().mean().item(), **CLOSE)


def test_classification_metrics_agree_with_scikit_learn():
    metrics, (_, logits, true) = metrics_of("classes", 20, 17), EXAMPLES["classes"]
    assert metrics["accuracy"] == sk.accuracy_score(true, logits.argmax(dim=1))
    assert metrics["loss"] == pytest.approx(sk.log_loss(true, logits.softmax(dim=1), labels=range(4)), **CLOSE)


def test_language_modelling_metrics_agree_with_torch_and_ignore_padding():
    metrics, (_, logits, true) = metrics_of("tokens", 20, 17), EXAMPLES["tokens"]
    counted = true != PADDING
    assert not counted.all()
    mean = F.cross_entropy(logits[counted], true[counted]).item()
    assert metrics["loss"] == metrics["nats"] == pytest.approx(mean, **CLOSE)
    assert metrics["perplexity"] == pytest.approx(math.exp(mean), **CLOSE)
    assert metrics["bits_per_character"] == pytest.approx(mean * math.log2(math.e), **CLOSE)
    assert metrics["accuracy"] == sk.accuracy_score(true[counted], logits.argmax(dim=2)[counted])
    text_bytes = sum(TOKENS.token_bytes[token] for token in true[counted].tolist())
    assert metrics["bits_per_byte"] == pytest.approx(mean * counted.sum().item() / math.log(2) / text_bytes, **CLOSE)
    assert "bits_per_byte" not in task_of(replace(TOKENS, token_bytes=())).metric_names


def test_nats_do_not_depend_on_label_smoothing():
    def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="sum", ignore_index=PADDING, label_smoothing=0.3)

    _, logits, true = EXAMPLES["tokens"]
    task = Task(spec(TOKENS), {"language_modelling": smoothed})
    metrics = task.metrics(add_up([task.totals(logits, true)]))
    assert metrics["nats"] == pytest.approx(metrics_of("tokens", 37)["nats"], **CLOSE)
    assert metrics["loss"] == pytest.approx(
        F.cross_entropy(logits.flatten(0, 1), true.flatten(), ignore_index=PADDING, label_smoothing=0.3).item(), **CLOSE
    )


def test_the_perplexity_of_a_confident_error_is_finite():
    task, logits = task_of(TOKENS), torch.zeros(1, 1, 7, dtype=torch.float64)
    logits[..., 0] = 1e4
    metrics = task.metrics(add_up([task.totals(logits, torch.tensor([[1]]))]))
    assert metrics["nats"] == pytest.approx(1e4)
    assert math.isfinite(metrics["perplexity"])


@pytest.mark.parametrize("names", [("kind", "value", "size"), ("a/loss", "a", "loss"), ("regression", "val", "a/b/")])
def test_heads_take_outputs_and_target_columns_in_order(names):
    parts = (CLASSES, regression(2, 10.0, 3.0), Head(name="size", task="classification", labels=("small", "large")))
    heads = tuple(replace(head, name=name) for head, name in zip(parts, names, strict=True))
    outputs, numbers = normal(60, 8), normal(60, 2)
    kinds, sizes = classes(4, 60), classes(2, 60)
    targets = torch.cat([kinds[:, None].double(), numbers, sizes[:, None].double()], dim=1)
    task = task_of(*heads)
    metrics = task.metrics(add_up([task.totals(outputs, targets)]))
    alone = {
        names[0]: (task_of(heads[0]), outputs[:, :4], kinds),
        names[1]: (task_of(heads[1]), outputs[:, 4:6], numbers),
        names[2]: (task_of(heads[2]), outputs[:, 6:], sizes),
    }
    expected: dict[str, Any] = {"loss": 0.0}
    for name, (single, some, of) in alone.items():
        of_head = single.metrics(add_up([single.totals(some, of)]))
        expected["loss"] += of_head["loss"]
        expected |= {f"{name}/{metric}": value for metric, value in of_head.items()}
    assert metrics == pytest.approx(expected, **CLOSE)


def test_higher_is_better_only_for_scores():
    names = {name for heads, _, _ in EXAMPLES.values() for name in task_of(*heads).metric_names}
    better = {name for name in names if higher_is_better(name)}
    scores = ("accuracy", "f1_micro", "f1_macro", "f1_weighted", "auroc", "average_precision", "r2")
    assert better == {name for name in names if name.endswith(scores)}
    at_most_one = {name for name in names if value_range(name)[1] == 1}
    assert at_most_one == {name for name in names if name.endswith((*scores, "ece"))}


@pytest.mark.parametrize(
    ("heads", "main"),
    [
        ((CLASSES,), "accuracy"),
        ((LABELS,), "accuracy"),
        ((regression(3),), "r2"),
        ((TOKENS,), "nats"),
        ((CLASSES, regression()), "loss"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_main_metric_is_that_of_the_only_head(heads, main):
    assert main_metric(task_of(*heads).metric_names) == main
