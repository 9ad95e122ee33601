"""Figures about the predictions of each head, on the first examples of a split."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from dl_lab.data.dataset import Data
from dl_lab.data.spec import Head
from dl_lab.data.splits import Split
from dl_lab.training.tasks.scores import Classes, Floats, calibration, confusion
from dl_lab.training.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 1000  # of a split, that figures are based on


def some(data: Data, split: Split, number: int = EXAMPLES) -> tuple[Tensor, Tensor]:
    """Prepared inputs and targets of the first examples."""
    inputs, targets = next(iter(split.everything(number)))
    return data.prepare(inputs), targets


def figures_of_heads(model: nn.Module, data: Data, task: Task) -> "dict[str, Figure]":
    """Figures by tag: of classes the confusion matrix, precision and recall, and the reliability diagram; of labels
    precision and recall; of numbers the residuals, and predicted against actual values of the training split.
    """
    figures: dict[str, Figure] = {}
    for prefix, head, outputs, true, weights in _predictions(model, data, task, data.validation):
        if head.task == "classification":
            drawn = _classes(head, outputs, true, weights)
        elif head.task == "multilabel":
            drawn = _labels(head, outputs, true, weights)
        else:
            drawn = {"residuals": _numbers(head, outputs, true, is_fit=False)}
        figures |= {prefix + tag: figure for tag, figure in drawn.items()}
    if any(head.task == "regression" for head in task.heads):
        for prefix, head, outputs, true, _ in _predictions(model, data, task, data.train):
            if head.task == "regression":
                figures[f"{prefix}fit"] = _numbers(head, outputs, true, is_fit=True)
    return figures


def _predictions(
    model: nn.Module, data: Data, task: Task, split: Split
) -> Iterator[tuple[str, Head, Tensor, Tensor, Floats]]:
    """For each head its prefix, itself, outputs, targets and weights (example,)."""
    inputs, targets = some(data, split)
    parts, weights = task.by_head(model(inputs).double().cpu(), targets.cpu())
    weight = np.ones(len(targets)) if weights is None else weights.double().numpy()
    for prefix, head, (outputs, true) in zip(task.prefixes, task.heads, parts, strict=True):
        yield prefix, head, outputs, true, weight


def _classes(head: Head, outputs: Tensor, true: Tensor, weights: Floats) -> "dict[str, Figure]":
    from dl_lab.plotting import predictions

    classes: Classes = true.numpy()
    probabilities: Floats = outputs.softmax(1).numpy()
    counts = confusion(classes, probabilities.argmax(1), weights, head.size)
    bins = calibration(probabilities, classes, weights)
    ece = bins[0] @ np.abs(bins[2] - bins[1])
    about = f"{len(classes)} validation examples"
    return {
        "confusion": predictions.confusion(counts, head.labels, f"Confusion, {about}"),
        "classes": _shares(head, np.diag(counts), counts.sum(0), counts.sum(1), f"Classes, {about}"),
        "reliability": predictions.reliability(*bins, f"Reliability, {about}: ECE {ece:.3g}"),
    }


def _labels(head: Head, outputs: Tensor, true: Tensor, weights: Floats) -> "dict[str, Figure]":
    chosen, positive = (outputs > 0).numpy(), true.numpy() > 0.5
    hits, predicted, actual = (weights @ each for each in (chosen & positive, chosen, positive))
    return {"labels": _shares(head, hits, predicted, actual, f"Labels, {len(true)} validation examples")}


def _shares(head: Head, hits: Floats, predicted: Floats, actual: Floats, title: str) -> "Figure":
    """Precision and recall by class or label, named with the number of its examples."""
    from dl_lab.plotting.predictions import bars

    tiny = np.finfo(float).tiny
    shares = {"precision": hits / np.maximum(predicted, tiny), "recall": hits / np.maximum(actual, tiny)}
    names = [f"{name} ({count:.4g})" for name, count in zip(head.labels, actual, strict=True)]
    return bars(shares, names, title, "name (examples)")


def _numbers(head: Head, outputs: Tensor, targets: Tensor, is_fit: bool) -> "Figure":
    """Residuals, or predicted against actual values (`is_fit`), in the units of the targets."""
    from dl_lab.plotting.predictions import scatters

    predicted, actual = (in_units(head, each.double().numpy()) for each in (outputs, targets))
    columns = zip(head.labels, predicted.T, actual.T, strict=True)
    if is_fit:
        fits = {name: (true, mine) for name, mine, true in columns}
        return scatters(fits, "Predicted against actual, training split", "actual", "predicted", diagonal=True)
    errors = {name: (mine, mine - true) for name, mine, true in columns}
    return scatters(errors, "Residuals, validation split", "predicted", "predicted - actual")


def in_units(head: Head, values: NDArray[Any]) -> Floats:
    """Numbers (example, target), as trained on, in the units of the targets."""
    scaled: Floats = values * np.array(head.scale or 1.0) + np.array(head.offset or 0.0)
    return scaled
