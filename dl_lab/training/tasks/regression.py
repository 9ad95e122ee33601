"""Regression: one or more numbers."""

from functools import partial
from math import nan

from torch import Tensor

from dl_lab.core.devices import widest
from dl_lab.data.spec import METRICS, Head
from dl_lab.training.checks import Loss, sum_of
from dl_lab.training.tasks.totals import Numbers, Totals, never_zero, ratio, sum_over


class Regression:
    """One or more real targets; outputs and targets (batch, target), standardized. Errors are in the targets' units."""

    names = METRICS["regression"]

    def __init__(self, head: Head, loss: Loss):
        self.loss = loss
        self.scale = head.scale or (1.0,) * head.size

    def count(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        return targets.numel() if weights is None else weights.sum() * targets.shape[1]

    def divisor(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        count = self.count(targets, weights)
        return never_zero(count) if isinstance(count, Tensor) else count

    def sizes(self, targets: Tensor, weights: Tensor | None) -> Totals:
        count, rows = self.count(targets, weights), len(targets)
        return {"count": count, "examples": rows if weights is None else weights.sum(), "rows": rows}

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Totals:
        rounded = targets.to(outputs.dtype)
        error = widest(outputs.detach() - rounded)
        exact = widest(targets)
        shifts = exact - exact[0]  # exact if the targets are far from 0 and close to each other, unlike their mean
        mean = shifts.mean(0) if weights is None else sum_over(shifts, weights) / never_zero(weights.sum())
        return {
            "loss": sum_of(self.loss, outputs, rounded, weights),
            **self.sizes(targets, weights),
            "absolute": sum_over(error.abs(), weights),
            "squared": sum_over(error * error, weights),
            "target_first": exact[0],
            "target_shift": mean,
            "target_spread": sum_over((shifts - mean).square(), weights),
        }

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss, mean squared and mean absolute error over all targets, and r2, averaged over targets. As in
        scikit-learn, r2 of a constant target is 1 if it is predicted exactly and 0 otherwise, and r2 of one example is
        undefined (nan).
        """
        examples = totals["examples"][0]
        rows = totals.get("rows", totals["examples"])[0]  # older checkpoints have no rows
        r2 = map(partial(_r2, rows), totals["squared"], totals["target_spread"])
        return {
            "loss": ratio(totals["loss"][0], totals["count"][0]),
            "r2": _mean(list(r2)),
            "mse": ratio(
                _mean([value * unit * unit for value, unit in zip(totals["squared"], self.scale, strict=True)]),
                examples,
            ),
            "mae": ratio(
                _mean([value * unit for value, unit in zip(totals["absolute"], self.scale, strict=True)]), examples
            ),
        }


def _r2(rows: float, squared: float, spread: float) -> float:
    """1 - squared error / spread of the targets around their mean."""
    if rows < 2:
        return nan
    return 1 - squared / spread if spread else float(squared == 0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
