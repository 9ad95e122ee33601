"""The task of a DataSpec: all of its heads, each with its own totals and metrics."""

from collections import Counter
from collections.abc import Iterator, Mapping
from copy import copy

import torch
from torch import Tensor

from dl_lab.data.spec import DataSpec
from dl_lab.training.checks import Loss, check_targets
from dl_lab.training.intervals import Interval
from dl_lab.training.tasks.classification import Classification
from dl_lab.training.tasks.head_task import HeadTask
from dl_lab.training.tasks.language_modelling import LanguageModelling
from dl_lab.training.tasks.multilabel import Multilabel
from dl_lab.training.tasks.regression import Regression
from dl_lab.training.tasks.totals import Numbers, Totals

EMPTY: Mapping[str, Tensor] = {}
HEAD_TASKS: dict[str, type[HeadTask]] = {
    "regression": Regression,
    "classification": Classification,
    "multilabel": Multilabel,
    "language_modelling": LanguageModelling,
}


class Task:
    """All heads of a DataSpec. With one head, totals and metrics have plain names. With several, outputs (batch,
    output) and targets (batch, column) are split in the order of the heads, and names begin with the head's name.
    """

    def __init__(self, spec: DataSpec, losses: Mapping[str, Loss], class_weights: Mapping[str, Tensor] = EMPTY):
        """`losses` holds the loss function for each task of a head, `class_weights` (class,) those of heads by name."""
        self.heads, self.is_weighted = spec.heads, spec.is_weighted
        self.head_tasks: list[HeadTask] = [HEAD_TASKS[head.task](head, losses[head.task]) for head in spec.heads]
        self.prefixes = [""] if len(spec.heads) == 1 else [f"{head.name}/" for head in spec.heads]
        self._set(losses, class_weights)
        every = Counter(name for task in self.head_tasks for name in task.target_names)
        every.update(prefix + name for prefix, task in self._each() for name in (*task.names, *task.further_names))
        self.plain = {name for name, number in every.items() if number == 1}

    def with_numbers(self, losses: Mapping[str, Loss], class_weights: Mapping[str, Tensor]) -> "Task":
        """The same task with the losses (by task of a head) and the weights of classes of one run in a stack."""
        task = copy(self)
        task.head_tasks = [copy(each) for each in self.head_tasks]
        task._set(losses, class_weights)
        return task

    def _set(self, losses: Mapping[str, Loss], class_weights: Mapping[str, Tensor]) -> None:
        self.losses, self.class_weights = losses, class_weights
        for head, each in zip(self.heads, self.head_tasks, strict=True):
            each.loss = losses[head.task]
            if isinstance(each, Classification):
                each.class_weights = class_weights.get(head.name)

    def _each(self) -> Iterator[tuple[str, HeadTask]]:
        return zip(self.prefixes, self.head_tasks, strict=True)

    def _name(self, prefix: str, task: HeadTask, name: str) -> str:
        """The full name of a head's metric. That of a target needs no name of a head, unless two would be the same."""
        return name if name in task.target_names and name in self.plain else prefix + name

    @property
    def training_names(self) -> list[str]:
        """The names of the metrics of training points; the first is "loss", the sum over heads."""
        return list(dict.fromkeys(["loss", *(prefix + name for prefix, task in self._each() for name in task.names)]))

    @property
    def gathered_names(self) -> list[str]:
        """The names of the metrics that need all outputs of a split."""
        return [self._name(prefix, task, name) for prefix, task in self._each() for name in task.gathered_names]

    @property
    def metric_names(self) -> list[str]:
        """The names of all metrics of an evaluation."""
        further = [self._name(prefix, task, name) for prefix, task in self._each() for name in task.further_names]
        return [*self.training_names, *further, *self.gathered_names]

    def undefined(self, metric: str, targets: Tensor) -> str | None:
        """Why a metric has no value on a split with these targets; None if it has one."""
        parts, _ = self._targets(targets)
        for (prefix, task), part in zip(self._each(), parts, strict=True):
            for name in (*task.names, *task.further_names, *task.gathered_names):
                if self._name(prefix, task, name) == metric and (reason := task.undefined(name, part)) is not None:
                    return reason
        return None

    def _targets(self, targets: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The targets of each head, and the weights (example,) if the dataset has weights."""
        if len(self.heads) == 1 and not self.is_weighted:
            return [targets], None
        weights = targets[:, -1] if self.is_weighted else None
        parts = targets.split([*(head.columns for head in self.heads), *[1] * self.is_weighted], dim=1)
        own = [
            part.squeeze(1).long() if head.task == "classification" else part
            for head, part in zip(self.heads, parts, strict=False)
        ]
        return own, weights

    def counts(self, targets: Tensor) -> list[Tensor | int]:
        """The divisor of each head's loss: the number of targets in a batch that count, or their weight."""
        parts, weights = self._targets(targets)
        return [task.divisor(part, weights) for task, part in zip(self.head_tasks, parts, strict=True)]

    def sizes(self, targets: Tensor) -> dict[str, int]:
        """The totals that the shape of the targets determines, without reading the device."""
        parts, weights = self._targets(targets)
        sizes: dict[str, int] = {}
        for prefix, task, part in zip(self.prefixes, self.head_tasks, parts, strict=True):
            of_head = task.sizes(part, weights).items()
            sizes |= {prefix + name: size for name, size in of_head if isinstance(size, int)}
        return sizes

    def by_head(self, outputs: Tensor, targets: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
        """The outputs and targets of each head, and the weights (example,) if the dataset has weights."""
        parts = [outputs] if len(self.heads) == 1 else outputs.split([head.size for head in self.heads], dim=1)
        of_heads, weights = self._targets(targets)
        return list(zip(parts, of_heads, strict=True)), weights

    def totals(self, outputs: Tensor, targets: Tensor, evaluating: bool = False) -> Totals:
        """Sums and counts by name. Those that end in "loss" carry the gradient. Evaluations have further ones."""
        check_targets(targets, outputs.shape[:-1], self.heads, self.is_weighted)
        parts, weights = self.by_head(outputs, targets)
        totals: Totals = {}
        for (prefix, task), (part, target) in zip(self._each(), parts, strict=True):
            own = task.totals(part, target, weights, evaluating)
            totals |= {prefix + name: value for name, value in own.items()}
        return totals

    def objective(self, totals: Totals, counts: list[Tensor | int]) -> Tensor:
        """The scalar to differentiate: the sum over heads of loss / count."""
        means = []
        for prefix, count in zip(self.prefixes, counts, strict=True):
            loss = totals[prefix + "loss"]
            assert isinstance(loss, Tensor)
            means.append(loss / count)
        return means[0] if len(means) == 1 else torch.stack(means).sum()

    def metrics(self, totals: Numbers, evaluating: bool = False) -> dict[str, float]:
        """Metrics by name, computed from totals that have been added up."""
        metrics: dict[str, float] = {"loss": 0.0}
        further: dict[str, float] = {}
        for prefix, task in self._each():
            own = {name.removeprefix(prefix): value for name, value in totals.items() if name.startswith(prefix)}
            of_head = task.metrics(own)
            metrics["loss"] += of_head["loss"]
            metrics |= {prefix + name: value for name, value in of_head.items() if prefix or name != "loss"}
            if evaluating:
                more = task.further_metrics(own).items()
                further |= {self._name(prefix, task, name): value for name, value in more}
        return metrics | further

    def gathered_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """The metrics that need all outputs and targets (example, ...) of a split at once, on the host."""
        parts, weights = self.by_head(outputs, targets)
        numbers = None if weights is None else weights.double().numpy()
        metrics: dict[str, float] = {}
        for (prefix, task), (part, target) in zip(self._each(), parts, strict=True):
            own = task.gathered_metrics(part, target, numbers).items()
            metrics |= {self._name(prefix, task, name): value for name, value in own}
        return metrics

    def interval_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What `intervals` needs of a batch (example, column), on the host: the rows of each head, and the weights."""
        parts, weights = self.by_head(outputs, targets)
        rows = [
            each.interval_rows(part, target, weights)
            for each, (part, target) in zip(self.head_tasks, parts, strict=True)
        ]
        return torch.cat([*rows, *([] if weights is None else [weights[:, None]])], dim=1).cpu()

    def intervals(self, rows: Tensor) -> dict[str, Interval]:
        """The 95 % intervals of the metrics by which results are compared, of the rows (example, column) of a split."""
        weights = rows[:, -1].double().numpy() if self.is_weighted else None
        parts = rows.split([*(each.interval_columns for each in self.head_tasks), *[1] * self.is_weighted], dim=1)
        found = {
            self._name(prefix, each, name): interval
            for (prefix, each), part in zip(self._each(), parts, strict=False)
            for name, interval in each.intervals(part.double().numpy(), weights).items()
        }
        return {name: interval for name, interval in found.items() if interval is not None}
