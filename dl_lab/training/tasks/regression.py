"""Regression: one or more numbers."""

from functools import partial
from math import nan, sqrt

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.devices import widest
from dl_lab.data.spec import Head, kind_of
from dl_lab.training.checks import Loss, sum_of
from dl_lab.training.intervals import Interval, r2_interval
from dl_lab.training.tasks.head_task import HeadTask
from dl_lab.training.tasks.scores import Floats, median
from dl_lab.training.tasks.totals import Numbers, Totals, never_zero, ratio, sum_over

OF_TARGETS = ("rmse", "mae", "r2")  # of evaluations, also for each of several targets


class Regression(HeadTask):
    """One or more real targets; outputs and targets (batch, target), standardized. Errors are in the targets' units."""

    def __init__(self, head: Head, loss: Loss):
        super().__init__(head, loss)
        if head.size > 1:
            self.further_names += tuple(f"{label}/{name}" for label in head.labels for name in OF_TARGETS)
            self.gathered_names += tuple(f"{label}/median_absolute_error" for label in head.labels)
            self.target_names = tuple(name for name in (*self.further_names, *self.gathered_names) if "/" in name)
        self.interval_columns = 2 * head.size
        self.scale = head.scale or (1.0,) * head.size

    def sizes(self, targets: Tensor, weights: Tensor | None) -> Totals:
        count, rows = self.count(targets, weights), len(targets)
        return {"count": count, "examples": rows if weights is None else weights.sum(), "rows": rows}

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, evaluating: bool = False) -> Totals:
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
        squared, absolute, r2 = self._of_targets(totals)
        return {
            "loss": ratio(totals["loss"][0], totals["count"][0]),
            "r2": _mean(r2),
            "mse": ratio(_mean(squared), totals["examples"][0]),
            "mae": ratio(_mean(absolute), totals["examples"][0]),
        }

    def _of_targets(self, totals: Numbers) -> tuple[list[float], list[float], list[float]]:
        """For each target the sums of squared and of absolute errors, in its unit, and r2."""
        rows = totals.get("rows", totals["examples"])[0]  # older checkpoints have no rows
        squared = [value * unit * unit for value, unit in zip(totals["squared"], self.scale, strict=True)]
        absolute = [value * unit for value, unit in zip(totals["absolute"], self.scale, strict=True)]
        return squared, absolute, list(map(partial(_r2, rows), totals["squared"], totals["target_spread"]))

    def further_metrics(self, totals: Numbers) -> dict[str, float]:
        """rmse, the mean over targets of the root of each mean squared error, and the metrics of each target."""
        squared, absolute, r2 = self._of_targets(totals)
        examples = totals["examples"][0]
        rmse, mae = [sqrt(value / examples) for value in squared], [value / examples for value in absolute]
        of_targets = [value for values in zip(rmse, mae, r2, strict=True) for value in values]
        return dict(zip(self.further_names, [_mean(rmse), *of_targets], strict=False))

    def gathered_metrics(self, outputs: Tensor, targets: Tensor, weights: Floats | None) -> dict[str, float]:
        """median_absolute_error: the mean over targets, and that of each target."""
        errors = (outputs - targets.to(outputs.dtype)).double().abs().numpy() * np.array(self.scale)
        medians = [median(errors[:, target], weights) for target in range(len(self.labels))]
        return dict(zip(self.gathered_names, [_mean(medians), *medians], strict=False))

    def interval_rows(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The error of each target, and the target."""
        return torch.cat([widest(outputs - targets.to(outputs.dtype)), widest(targets)], dim=1)

    def intervals(self, rows: Floats, weights: Floats | None) -> dict[str, Interval | None]:
        errors, targets = np.split(rows, 2, axis=1)
        return {"r2": r2_interval(errors, targets, np.ones(len(rows)) if weights is None else weights)}

    def undefined(self, metric: str, targets: Tensor) -> str | None:
        return "it has one example" if kind_of(metric) == "r2" and len(targets) < 2 else None


def _r2(rows: float, squared: float, spread: float) -> float:
    """1 - squared error / spread of the targets around their mean."""
    if rows < 2:
        return nan
    return 1 - squared / spread if spread else float(squared == 0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
