"""Tasks define what the outputs of a model mean. They return totals, never means, which add up exactly over batches of
any size, accumulation steps and runs; metrics are computed from the totals at the end.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from math import exp, log, nan

import torch
from torch import Tensor

from dl_lab.core.devices import widest
from dl_lab.data.spec import METRICS, DataSpec, Head
from dl_lab.data.splits import PADDING
from dl_lab.nn import functional
from dl_lab.training.checks import check_targets, sum_of

Loss = Callable[[Tensor, Tensor], Tensor]
Total = Tensor | int | list[float]  # on the device; a size known without reading the device; or on the host
Totals = dict[str, Total]
Numbers = Mapping[str, list[float]]


class Regression:
    """One or more real targets; outputs and targets (batch, target), standardized. Errors are in the targets' units."""

    names = METRICS["regression"]

    def __init__(self, head: Head, loss: Loss):
        self.loss = loss
        self.scale = head.scale or (1.0,) * head.size

    def count(self, targets: Tensor) -> int:
        return targets.numel()

    def sizes(self, targets: Tensor) -> dict[str, int]:
        return {"count": self.count(targets), "examples": len(targets)}

    def totals(self, outputs: Tensor, targets: Tensor) -> Totals:
        rounded = targets.to(outputs.dtype)
        error = widest(outputs.detach() - rounded)
        exact = widest(targets)
        shifts = exact - exact[0]  # exact if the targets are far from 0 and close to each other, unlike their mean
        mean = shifts.mean(0)
        return {
            "loss": sum_of(self.loss, outputs, rounded),
            **self.sizes(targets),
            "absolute": error.abs().sum(0),
            "squared": (error * error).sum(0),
            "target_first": exact[0],
            "target_shift": mean,
            "target_spread": (shifts - mean).square().sum(0),
        }

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss, mean squared and mean absolute error over all targets, and r2, averaged over targets. As in
        scikit-learn, r2 of a constant target is 1 if it is predicted exactly and 0 otherwise, and r2 of one example is
        undefined (nan).
        """
        examples = totals["examples"][0]
        r2 = map(partial(_r2, examples), totals["squared"], totals["target_spread"])
        return {
            "loss": totals["loss"][0] / totals["count"][0],
            "r2": _mean(list(r2)),
            "mse": _mean([value * unit * unit for value, unit in zip(totals["squared"], self.scale, strict=True)])
            / examples,
            "mae": _mean([value * unit for value, unit in zip(totals["absolute"], self.scale, strict=True)]) / examples,
        }


def _r2(examples: float, squared: float, spread: float) -> float:
    """1 - squared error / spread of the targets around their mean."""
    if examples < 2:
        return nan
    return 1 - squared / spread if spread else float(squared == 0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


class Classification:
    """One of several classes; logits (batch, class), class numbers (batch,)."""

    names = METRICS["classification"]

    def __init__(self, head: Head, loss: Loss):
        self.loss = loss

    def count(self, targets: Tensor) -> int:
        return len(targets)

    def sizes(self, targets: Tensor) -> dict[str, int]:
        return {"count": self.count(targets)}

    def totals(self, outputs: Tensor, targets: Tensor) -> Totals:
        return {
            "loss": sum_of(self.loss, outputs, targets),
            **self.sizes(targets),
            "correct": (outputs.detach().argmax(dim=1) == targets).sum(),
        }

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss in nats, and the fraction of examples whose largest logit is that of the true class."""
        count = totals["count"][0]
        return {"loss": totals["loss"][0] / count, "accuracy": totals["correct"][0] / count}


class LanguageModelling:
    """The next token; logits (batch, time, token), token numbers (batch, time), PADDING where no token counts."""

    names = METRICS["language_modelling"]

    def __init__(self, head: Head, loss: Loss):
        self.loss = loss

    @property
    def loss_is_nats(self) -> bool:
        """Whether the loss is the cross-entropy itself, so that it need not be computed twice."""
        loss = self.loss
        if not isinstance(loss, partial) or loss.func is not functional.cross_entropy:
            return False
        smoothing = loss.keywords["label_smoothing"]
        return isinstance(smoothing, float) and smoothing == 0

    def count(self, targets: Tensor) -> Tensor:
        return (targets != PADDING).sum()

    def sizes(self, targets: Tensor) -> dict[str, int]:
        return {}

    def totals(self, outputs: Tensor, targets: Tensor) -> Totals:
        logits, tokens = outputs.flatten(0, 1), targets.flatten()
        detached, loss = logits.detach(), sum_of(self.loss, logits, tokens)
        nats = loss.detach()
        if not self.loss_is_nats:
            nats = functional.cross_entropy(detached, tokens, ignore_index=PADDING)
        return {
            "loss": loss,
            "count": self.count(targets),
            "nats": nats,
            "correct": (detached.argmax(dim=1) == tokens).sum(),
        }

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss, accuracy, nats per token, perplexity = e^nats, and bits per character = nats / ln 2."""
        count = totals["count"][0]
        nats = totals["nats"][0] / count
        return {
            "loss": totals["loss"][0] / count,
            "accuracy": totals["correct"][0] / count,
            "nats": nats,
            "perplexity": exp(min(nats, 700.0)),
            "bits_per_character": nats / log(2),
        }


HeadTask = Regression | Classification | LanguageModelling
HEAD_TASKS: dict[str, type[Regression] | type[Classification] | type[LanguageModelling]] = {
    "regression": Regression,
    "classification": Classification,
    "language_modelling": LanguageModelling,
}


class Task:
    """All heads of a DataSpec. With one head, totals and metrics have plain names. With several, outputs (batch,
    output) and targets (batch, column) are split in the order of the heads, and names begin with the head's name.
    """

    def __init__(self, spec: DataSpec, losses: Mapping[str, Loss]):
        """`losses` holds the loss function for each task of a head."""
        self.heads = spec.heads
        self.head_tasks: list[HeadTask] = [HEAD_TASKS[head.task](head, losses[head.task]) for head in spec.heads]
        self.prefixes = [""] if len(spec.heads) == 1 else [f"{head.name}/" for head in spec.heads]

    def with_losses(self, losses: Mapping[str, Loss]) -> "Task":
        """The same task with the losses (by task of a head) of one run in a stack."""
        task = copy(self)
        task.head_tasks = [copy(each) for each in self.head_tasks]
        for head, each in zip(self.heads, task.head_tasks, strict=True):
            each.loss = losses[head.task]
        return task

    @property
    def metric_names(self) -> list[str]:
        """The names that `metrics` returns; the first is "loss", the sum over heads."""
        pairs = zip(self.prefixes, self.head_tasks, strict=True)
        return list(dict.fromkeys(["loss", *(prefix + name for prefix, task in pairs for name in task.names)]))

    def _targets(self, targets: Tensor) -> list[Tensor]:
        if len(self.heads) == 1:
            return [targets]
        parts = targets.split([head.columns for head in self.heads], dim=1)
        return [
            part.squeeze(1).long() if head.task == "classification" else part
            for head, part in zip(self.heads, parts, strict=True)
        ]

    def counts(self, targets: Tensor) -> list[Tensor | int]:
        """The divisor of each head's loss: the number of targets in a batch that count."""
        return [task.count(part) for task, part in zip(self.head_tasks, self._targets(targets), strict=True)]

    def sizes(self, targets: Tensor) -> dict[str, int]:
        """The totals that the shape of the targets determines, without reading the device."""
        parts = zip(self.prefixes, self.head_tasks, self._targets(targets), strict=True)
        return {prefix + name: size for prefix, task, part in parts for name, size in task.sizes(part).items()}

    def totals(self, outputs: Tensor, targets: Tensor) -> Totals:
        """Sums and counts by name. Those that end in "loss" carry the gradient."""
        check_targets(targets, outputs.shape[:-1], self.heads)
        parts = [outputs] if len(self.heads) == 1 else outputs.split([head.size for head in self.heads], dim=1)
        totals: Totals = {}
        for prefix, task, part, target in zip(
            self.prefixes, self.head_tasks, parts, self._targets(targets), strict=True
        ):
            totals |= {prefix + name: value for name, value in task.totals(part, target).items()}
        return totals

    def objective(self, totals: Totals, counts: list[Tensor | int]) -> Tensor:
        """The scalar to differentiate: the sum over heads of loss / count."""
        means = []
        for prefix, count in zip(self.prefixes, counts, strict=True):
            loss = totals[prefix + "loss"]
            assert isinstance(loss, Tensor)
            means.append(loss / count)
        return means[0] if len(means) == 1 else torch.stack(means).sum()

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """Metrics by name, computed from totals that have been added up."""
        metrics: dict[str, float] = {"loss": 0.0}
        for prefix, task in zip(self.prefixes, self.head_tasks, strict=True):
            own = {name.removeprefix(prefix): value for name, value in totals.items() if name.startswith(prefix)}
            of_head = task.metrics(own)
            metrics["loss"] += of_head["loss"]
            metrics |= {prefix + name: value for name, value in of_head.items() if prefix or name != "loss"}
        return metrics


def detached(totals: Totals) -> Totals:
    """The same totals without their autograd graph."""
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in totals.items()}


def moved(totals: Totals, device: torch.device) -> Totals:
    """The same totals on `device`."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in totals.items()}


def add_up(window: Iterable[Mapping[str, Total]]) -> dict[str, list[float]]:
    """Add up totals in float64 on the host. Training waits for the device only here."""
    gathered = list(window)
    stacked = {name: _on_host([totals[name] for totals in gathered]) for name in gathered[0]}
    for prefix in [name.removesuffix("target_spread") for name in stacked if name.endswith("target_spread")]:
        merge_moments(
            *(stacked[prefix + name] for name in ("examples", "target_first", "target_shift", "target_spread"))
        )
    return {name: values.sum(0).tolist() for name, values in stacked.items()}


def merge_moments(counts: Tensor, firsts: Tensor, shifts: Tensor, spreads: Tensor) -> None:
    """Change first values, mean differences from them and sums of squared deviations of parts (part, target) in place,
    so that they add up to those of the whole, without cancellation (Chan et al. 1983,
    doi:10.1080/00031305.1983.10483115).
    """
    means = firsts - firsts[0] + shifts
    mean = (counts * means).sum(0) / counts.sum()
    spreads += counts * (means - mean) ** 2
    shifts[:] = mean / len(shifts)
    firsts[1:] = 0


def _on_host(values: list[Total]) -> Tensor:
    tensors = [value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64) for value in values]
    return torch.stack(tensors).cpu().double().reshape(len(tensors), -1)
