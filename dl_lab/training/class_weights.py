"""Weights of classes in the loss: `loss.class_weights`, as numbers or computed from the training split."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dl_lab.core import devices
from dl_lab.core.errors import ConfigError, counted, unknown
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.data.spec import Head
from dl_lab.data.splits import InMemory, Split
from dl_lab.losses.losses import ClassWeightsConfig
from dl_lab.training.tasks.task import Task

KEY = "loss.class_weights"
READ_AT_ONCE = 256  # examples of a stream


def class_weights(config: object, data: Data, device: torch.device) -> dict[str, Tensor]:
    """The weights (class,) of each head that has some, by its name, for the configuration of a loss.

    Raises:
        ConfigError: if the data have no classes, a list has another length, or a split would count for nothing.
    """
    given = config.class_weights if isinstance(config, ClassWeightsConfig) else None
    if given is None:
        return {}
    spec = data.spec
    heads = {head.name: head for head in spec.heads if head.task == "classification"}
    if not heads:
        tasks = ", ".join(dict.fromkeys(head.task for head in spec.heads))
        raise ConfigError(f"{KEY}={given} needs classes, and the dataset has {tasks}; allowed: null")
    if isinstance(given, list) and len(heads) > 1:
        named = ", ".join(f"{name}: [...]" for name in heads)
        raise ConfigError(f"{KEY}={given} does not say which of {len(heads)} heads it is for; allowed: {{{named}}}")
    by_head: Mapping[str, Any] = given if isinstance(given, dict) else dict.fromkeys(heads, given)
    for name in by_head:
        if name not in heads:
            raise unknown(KEY, name, heads)
    splits = {part: classes_of(split, data) for part, split in _splits(data).items()}
    dtype = devices.widest_dtype(device)
    return {name: _of_head(heads[name], value, splits).to(device, dtype) for name, value in by_head.items()}


def by_label(task: Task) -> dict[str, dict[str, float]]:
    """The weight of each class by its label, of each head that has some."""
    heads = [head for head in task.heads if head.name in task.class_weights]
    return {head.name: dict(zip(head.labels, task.class_weights[head.name].tolist(), strict=True)) for head in heads}


def described(task: Task) -> Iterator[str]:
    """Lines that say what is weighted."""
    if task.is_weighted:
        yield "loss and metrics are weighted by the weights of the examples"
    for name, weights in by_label(task).items():
        numbers = _named([f"{label} {weight:.4g}" for label, weight in weights.items()])
        yield f"loss of {name} weights its classes, which other metrics do not: {numbers}"


def _splits(data: Data) -> dict[str, Split]:
    """The training split, and the others as far as they are in memory."""
    others = {"validation": data.validation, "test": data.test}
    return {"training": data.train} | {part: split for part, split in others.items() if isinstance(split, InMemory)}


def classes_of(split: Split, data: Data) -> tuple[dict[str, Tensor], Tensor]:
    """The class numbers (example,) of each classification head of a split, and the weights of its examples; on the CPU.
    The Dataset of a stream that knows its `class_numbers` (example,) is not read.
    """
    if isinstance(split, InMemory):
        targets = split.targets
    elif (known := getattr(getattr(split, "dataset", None), "class_numbers", None)) is not None:
        targets = torch.as_tensor(known)[split.indices]  # type: ignore[attr-defined]
    else:
        targets = torch.cat([targets for _, targets in split.everything(READ_AT_ONCE)])
    targets = targets.cpu()
    weights = targets[:, -1].double() if data.spec.is_weighted else torch.ones(len(targets), dtype=torch.float64)
    numbers, column = {}, 0
    for head in data.spec.heads:
        if head.task == "classification":
            numbers[head.name] = (targets if targets.ndim == 1 else targets[:, column]).long()
        column += head.columns
    return numbers, weights


def _of_head(
    head: Head, given: str | Sequence[float], splits: Mapping[str, tuple[dict[str, Tensor], Tensor]]
) -> Tensor:
    """The weights (class,) of a head; those of `balanced` are scikit-learn's: examples / (classes * examples of the
    class). A class without a training example has weight 0.
    """
    totals = {
        part: torch.bincount(numbers[head.name], weights, minlength=head.size)
        for part, (numbers, weights) in splits.items()
    }
    if isinstance(given, str):
        counts = totals["training"]
        weights = torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts), 0.0)
        if absent := [label for label, count in zip(head.labels, counts.tolist(), strict=True) if not count]:
            announce(f"{KEY}=balanced: no training example of {_named(absent)}, whose weight is 0")
    else:
        if len(given) != head.size:
            count = f"{head.size} numbers, for the classes {_named(head.labels)}"
            raise ConfigError(f"{KEY}={given} has {counted(len(given), 'number')}; allowed: {count}")
        weights = torch.tensor(given, dtype=torch.float64)
    for part, counts in totals.items():
        if not (weights * counts).sum() > 0:
            named = _named([label for label, count in zip(head.labels, counts.tolist(), strict=True) if count])
            raise ConfigError(
                f"{KEY}={given} is 0 for every example of the {part} split; allowed: numbers above 0 for {named}"
            )
    return weights


def _named(labels: Sequence[str], most: int = 10) -> str:
    return ", ".join(labels[:most]) + (", ..." if len(labels) > most else "")
