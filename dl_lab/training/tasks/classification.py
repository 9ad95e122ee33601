"""Classification: one of several classes."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.devices import widest_dtype
from dl_lab.core.progress import announce
from dl_lab.data.spec import Head
from dl_lab.training.checks import Loss, sum_of
from dl_lab.training.intervals import Interval, proportion_interval
from dl_lab.training.tasks.head_task import HeadTask
from dl_lab.training.tasks.scores import TOP, Floats, auroc_and_precision, calibration, log_loss, top_accuracy
from dl_lab.training.tasks.totals import Numbers, Totals, never_zero, ratio, sum_over, sums_in


class Classification(HeadTask):
    """One of several classes; logits (batch, class), class numbers (batch,)."""

    def __init__(self, head: Head, loss: Loss):
        super().__init__(head, loss)
        self.class_weights: Tensor | None = None  # (class,), in the loss only
        if head.size <= TOP:
            self.gathered_names = tuple(name for name in self.gathered_names if name != "top5_accuracy")

    def count(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        return len(targets) if weights is None else weights.sum()

    def divisor(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        """The number of examples, or the sum of their weights, times those of their classes."""
        if self.class_weights is not None:
            of_class = self.class_weights.gather(0, targets)
            return never_zero(sum_over(of_class, weights))
        return super().divisor(targets, weights)

    def sizes(self, targets: Tensor, weights: Tensor | None) -> Totals:
        return {"count": self.count(targets, weights)}

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, evaluating: bool = False) -> Totals:
        predicted = outputs.detach().argmax(dim=1)
        correct = predicted == targets
        totals: Totals = {
            **self._loss(outputs, targets, weights),
            **self.sizes(targets, weights),
            "correct": sum_over(correct, weights),
        }
        if evaluating:
            ones = torch.ones_like(targets, dtype=widest_dtype(targets.device))
            weight, classes = ones if weights is None else weights, outputs.shape[1]
            totals["by_true"] = sums_in(targets, classes, weight, weight * correct)
            totals["by_predicted"] = sums_in(predicted, classes, weight)
            if weights is not None:  # a class counts in f1_macro even if all its weights are 0
                totals["seen"] = sums_in(targets, classes, ones) + sums_in(predicted, classes, ones)
        return totals

    def _loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Totals:
        if self.class_weights is None:
            return {"loss": sum_of(self.loss, outputs, targets, weights)}
        weighted = partial(self.loss, class_weights=self.class_weights)
        return {
            "loss": sum_of(weighted, outputs, targets, weights),
            "loss_count": sum_over(self.class_weights.gather(0, targets), weights),
        }

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss in nats, and the fraction of examples whose largest logit is that of the true class."""
        count = totals["count"][0]
        loss_count = totals.get("loss_count", totals["count"])[0]
        return {"loss": ratio(totals["loss"][0], loss_count), "accuracy": ratio(totals["correct"][0], count)}

    def further_metrics(self, totals: Numbers) -> dict[str, float]:
        """As in scikit-learn, balanced_accuracy is a mean over the classes that occur, and f1_macro one over those that
        occur or are predicted.
        """
        classes, predicted = len(self.labels), totals["by_predicted"]  # lists: for few classes, NumPy is slower
        true, correct = totals["by_true"][:classes], totals["by_true"][classes:]
        recalls = [hits / of for hits, of in zip(correct, true, strict=True) if of]
        either = [of + taken for of, taken in zip(true, predicted, strict=True)]
        f1 = [2 * hits / both if both else 0.0 for hits, both in zip(correct, either, strict=True)]
        seen = sum(count > 0 for count in totals.get("seen", either))
        return {
            "balanced_accuracy": ratio(sum(recalls), len(recalls)),
            "f1_macro": ratio(sum(f1), seen),
            "f1_weighted": ratio(sum(score * of for score, of in zip(f1, true, strict=True)), sum(true)),
        }

    def gathered_metrics(self, outputs: Tensor, targets: Tensor, weights: Floats | None) -> dict[str, float]:
        """log_loss in nats; the expected calibration error; auroc and average_precision of the second of two classes,
        otherwise the mean over one-vs-rest.
        """
        logits, classes = outputs.double(), targets.numpy()
        probabilities = logits.softmax(1).numpy()
        weight = np.ones(len(classes)) if weights is None else weights
        if (reason := self.undefined("auroc", targets)) is not None:
            announce(f"auroc is not defined on a split where {reason}, and recorded as null")
        chosen = [1] if len(self.labels) == 2 else range(len(self.labels))
        pairs = [auroc_and_precision(probabilities[:, each], classes == each, weight) for each in chosen]
        share, confidence, accuracy = calibration(probabilities, classes, weight)
        metrics = {
            "log_loss": log_loss(probabilities, classes, weight),
            "top5_accuracy": top_accuracy(logits.numpy(), classes, weight),
            "ece": float(share @ np.abs(accuracy - confidence)),
            **dict(zip(("auroc", "average_precision"), map(float, np.mean(pairs, axis=0)), strict=True)),
        }
        return {name: metrics[name] for name in self.gathered_names}

    def interval_rows(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Whether the class is right."""
        return (outputs.argmax(dim=1) == targets)[:, None]

    def intervals(self, rows: Floats, weights: Floats | None) -> dict[str, Interval | None]:
        return {"accuracy": proportion_interval(rows[:, 0], weights)}

    def undefined(self, metric: str, targets: Tensor) -> str | None:
        if metric != "auroc":
            return None
        counts = torch.bincount(targets, minlength=len(self.labels))
        missing = [label for label, count in zip(self.labels, counts.tolist(), strict=True) if not count]
        return f"no example is of class {missing[0]!r}" if missing else None
