"""Classification: one of several classes."""

from torch import Tensor

from dl_lab.data.spec import METRICS, Head
from dl_lab.training.checks import Loss, sum_of
from dl_lab.training.tasks.totals import Numbers, Totals, sum_over


class Classification:
    """One of several classes; logits (batch, class), class numbers (batch,)."""

    names = METRICS["classification"]

    def __init__(self, head: Head, loss: Loss):
        self.loss = loss

    def count(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        return len(targets) if weights is None else weights.sum()

    def sizes(self, targets: Tensor, weights: Tensor | None) -> Totals:
        return {"count": self.count(targets, weights)}

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Totals:
        return {
            "loss": sum_of(self.loss, outputs, targets, weights),
            **self.sizes(targets, weights),
            "correct": sum_over(outputs.detach().argmax(dim=1) == targets, weights),
        }

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss in nats, and the fraction of examples whose largest logit is that of the true class."""
        count = totals["count"][0]
        return {"loss": totals["loss"][0] / count, "accuracy": totals["correct"][0] / count}
