"""Classification: one of several classes."""

from functools import partial

from torch import Tensor

from dl_lab.data.spec import METRICS, Head
from dl_lab.training.checks import Loss, sum_of
from dl_lab.training.tasks.totals import Numbers, Totals, never_zero, ratio, sum_over


class Classification:
    """One of several classes; logits (batch, class), class numbers (batch,)."""

    names = METRICS["classification"]

    def __init__(self, head: Head, loss: Loss):
        self.loss = loss
        self.class_weights: Tensor | None = None  # (class,), in the loss only

    def count(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        return len(targets) if weights is None else weights.sum()

    def divisor(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        """The number of examples, or the sum of their weights, times those of their classes."""
        if self.class_weights is not None:
            of_class = self.class_weights.gather(0, targets)
            return never_zero(sum_over(of_class, weights))
        return len(targets) if weights is None else never_zero(weights.sum())

    def sizes(self, targets: Tensor, weights: Tensor | None) -> Totals:
        return {"count": self.count(targets, weights)}

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Totals:
        return {
            **self._loss(outputs, targets, weights),
            **self.sizes(targets, weights),
            "correct": sum_over(outputs.detach().argmax(dim=1) == targets, weights),
        }

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
