"""Multi-label classification: any number of labels at once."""

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.devices import widest
from dl_lab.core.progress import announce
from dl_lab.data.spec import Head
from dl_lab.training.checks import Loss, sum_of
from dl_lab.training.intervals import Interval, mean_interval, proportion_interval
from dl_lab.training.tasks.head_task import HeadTask
from dl_lab.training.tasks.scores import Floats, auroc_and_precision
from dl_lab.training.tasks.totals import Numbers, Totals, ratio, sum_over


class Multilabel(HeadTask):
    """Labels that are true or not; logits (batch, label), targets (batch, label) of 0 and 1. A logit above 0, which is
    a probability above .5, predicts the label.
    """

    def __init__(self, head: Head, loss: Loss):
        super().__init__(head, loss)
        self.interval_columns = 2

    def sizes(self, targets: Tensor, weights: Tensor | None) -> Totals:
        return {
            "count": self.count(targets, weights),
            "examples": len(targets) if weights is None else weights.sum(),
        }

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, evaluating: bool = False) -> Totals:
        predicted, true = outputs.detach() > 0, targets > 0.5
        correct = predicted == true
        return {
            "loss": sum_of(self.loss, outputs, targets.to(outputs.dtype), weights),
            **self.sizes(targets, weights),
            "correct": sum_over(correct, weights).sum(),
            "all_correct": sum_over(correct.all(dim=1), weights),
            "true": sum_over(true, weights),
            "predicted": sum_over(predicted, weights),
            "hits": sum_over(true & predicted, weights),
        }

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss and accuracy are means over examples and labels, subset_accuracy is the fraction of examples with every
        label right. F1 scores are those of scikit-learn, 0 for a label that is neither true nor predicted.
        """
        true, predicted, hits = (np.array(totals[name]) for name in ("true", "predicted", "hits"))
        either = true + predicted
        f1 = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
        return {
            "loss": ratio(totals["loss"][0], totals["count"][0]),
            "accuracy": ratio(totals["correct"][0], totals["count"][0]),
            "subset_accuracy": ratio(totals["all_correct"][0], totals["examples"][0]),
            "f1_micro": float(2 * hits.sum() / either.sum()) if either.any() else 0.0,
            "f1_macro": float(f1.mean()),
            "f1_weighted": float(f1 @ true / true.sum()) if true.any() else 0.0,
        }

    def gathered_metrics(self, outputs: Tensor, targets: Tensor, weights: Floats | None) -> dict[str, float]:
        """auroc and average_precision, means over labels."""
        scores, true = outputs.double().sigmoid().numpy(), targets.numpy() > 0.5
        weight = np.ones(len(true)) if weights is None else weights
        if (reason := self.undefined("auroc", targets)) is not None:
            announce(f"auroc is not defined on a split where {reason}, and recorded as null")
        pairs = [auroc_and_precision(scores[:, label], true[:, label], weight) for label in range(len(self.labels))]
        return dict(zip(self.gathered_names, map(float, np.mean(pairs, axis=0)), strict=True))

    def interval_rows(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The share of the labels that are right, and whether all are."""
        correct = (outputs > 0) == (targets > 0.5)
        return torch.stack([widest(correct).mean(dim=1), widest(correct.all(dim=1))], dim=1)

    def intervals(self, rows: Floats, weights: Floats | None) -> dict[str, Interval | None]:
        """Those of the labels of one example depend on each other, so that accuracy is no proportion."""
        weight = np.ones(len(rows)) if weights is None else weights
        accuracy = mean_interval(rows[:, 0] * weight, weight)
        return {"accuracy": accuracy, "subset_accuracy": proportion_interval(rows[:, 1], weights)}

    def undefined(self, metric: str, targets: Tensor) -> str | None:
        if metric != "auroc":
            return None
        constant = (targets == targets[:1]).all(0).tolist()
        labels = [label for label, is_constant in zip(self.labels, constant, strict=True) if is_constant]
        return f"the label {labels[0]!r} is the same in all examples" if labels else None
