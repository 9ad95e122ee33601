"""Tables about the predictions of a run, as text: per class and target, confusion, calibration and residuals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dl_lab.core.errors import printable
from dl_lab.data.spec import Head
from dl_lab.data.splits import Split
from dl_lab.training import loop
from dl_lab.training.state import Plan
from dl_lab.training.tasks.scores import BINS, Classes, Floats, calibration, confusion

MOST_CLASSES = 20  # of a confusion matrix that is shown whole
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@torch.no_grad()
def tables_of(plan: Plan, model: torch.nn.Module, split: Split) -> list[str]:
    """The tables of each head for classes or numbers on a split."""
    if not plan.task.gathered_names:
        return []
    pairs = [(outputs.cpu(), targets.cpu()) for outputs, targets in loop.predictions(model, plan, split)]
    outputs, targets = map(torch.cat, zip(*pairs, strict=True))
    parts, weights = plan.task.by_head(outputs, targets)
    weight = None if weights is None else weights.double().numpy()
    tables: list[str] = []
    for head, (own, true) in zip(plan.data.spec.heads, parts, strict=True):
        title = f"{printable(head.name)}\n" if len(parts) > 1 else ""
        if head.task == "classification":
            probabilities = own.double().softmax(1).numpy()
            found = _of_classes(head, probabilities, true.numpy(), weight)
        elif head.task == "multilabel":
            found = [_report(head, true.numpy(), (own > 0).numpy(), weight)]
        else:
            found = [residuals(head, (own - true.to(own.dtype)).double().numpy())]
        tables += [title + found[0], *found[1:]]
    return tables


def _report(head: Head, true: NDArray[Any], predicted: NDArray[Any], weight: Floats | None) -> str:
    """Precision, recall and F1 score of each class or label."""
    from sklearn.metrics import classification_report

    report: str = classification_report(
        true,
        predicted,
        labels=range(head.size),
        target_names=[printable(name) for name in head.labels],
        sample_weight=weight,
        digits=3,
        zero_division=0.0,
    )
    return report.rstrip()


def _of_classes(head: Head, probabilities: Floats, classes: Classes, weight: Floats | None) -> list[str]:
    predicted = probabilities.argmax(1)
    report = _report(head, classes, predicted, weight)
    each = np.ones(len(classes)) if weight is None else weight
    counts = confusion(classes, predicted, each, head.size)
    return [report, confusion_table(head.labels, counts), reliability(*calibration(probabilities, classes, each))]


def confusion_table(names: Sequence[str], counts: Floats) -> str:
    """The counts (true, predicted) as a matrix; of many classes only the most frequent mistakes."""
    if len(names) <= MOST_CLASSES:
        rows = [[name, *(f"{count:.6g}" for count in row)] for name, row in zip(names, counts, strict=True)]
        return "confusion: true classes in rows, predicted ones in columns\n" + _table(["", *names], rows)
    wrong = counts * (1 - np.eye(len(names)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CLASSES]
    places = [place for place in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[place]]
    rows = [[names[true], names[taken], f"{wrong[true, taken]:.6g}"] for true, taken in places]
    return "confusion: the most frequent mistakes\n" + _table(["true", "predicted", "count"], rows)


def reliability(share: Floats, confidence: Floats, accuracy: Floats) -> str:
    """Bins of a reliability diagram that hold examples, and the expected calibration error."""
    rows = [
        [f"{low / BINS:.2f} to {(low + 1) / BINS:.2f}", *(f"{part[low]:.3f}" for part in (share, confidence, accuracy))]
        for low in np.flatnonzero(share)
    ]
    header = ["probability of the predicted class", "share", "mean", "accuracy"]
    return f"calibration: ece {share @ np.abs(accuracy - confidence):.4g}\n" + _table(header, rows)


def residuals(head: Head, errors: NDArray[np.float64]) -> str:
    """Quantiles of prediction - target (example, target), in the units of the targets."""
    scaled = errors * np.array(head.scale or 1.0)
    rows = [
        [name, *(f"{value:.4g}" for value in np.quantile(column, QUANTILES))]
        for name, column in zip(head.labels, scaled.T, strict=True)
    ]
    header = ["", *(f"{quantile:.0%}" for quantile in QUANTILES)]
    return "residuals: quantiles of prediction - target\n" + _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells in right-aligned columns."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in cells)
