"""DataSpec, which connects data and model, and the names of metrics. Does not import torch."""

from collections.abc import Container
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from dl_lab.core.errors import ConfigError

KINDS = ("features", "image", "tokens")
TASKS = ("regression", "classification", "multilabel", "language_modelling", "multi_output")
METRICS = {  # of a head, by its task: those of training points, which need only what the loss needs
    "regression": ("loss", "r2", "mse", "mae"),
    "classification": ("loss", "accuracy"),
    "multilabel": ("loss", "accuracy", "subset_accuracy", "f1_micro", "f1_macro", "f1_weighted"),
    "language_modelling": ("loss", "accuracy", "nats", "perplexity", "bits_per_character"),
}
EVALUATION_METRICS = {  # those of evaluations only
    "regression": ("rmse", "median_absolute_error"),
    "classification": (
        *("balanced_accuracy", "f1_macro", "f1_weighted"),
        *("log_loss", "top5_accuracy", "ece", "auroc", "average_precision"),
    ),
    "multilabel": ("auroc", "average_precision"),
    "language_modelling": ("bits_per_byte",),
}
PRINTED = ("bits_per_byte",)  # of these
# Computed from all outputs of a split at the end of a run, and at each validation only if train.best is one of them.
# The others are sums, which take a percent of a validation; these would take a tenth, or cannot be added up.
GATHERED = ("log_loss", "top5_accuracy", "ece", "auroc", "average_precision", "median_absolute_error")
HIGHER_IS_BETTER = (  # of all other metrics, lower is better
    *("accuracy", "balanced_accuracy", "subset_accuracy", "top5_accuracy", "f1_micro", "f1_macro", "f1_weighted"),
    *("auroc", "average_precision", "r2"),
)


MAIN_METRICS = ("nats", "accuracy", "r2")  # of texts, of classes and labels, of numbers; texts have accuracy, too


@dataclass(frozen=True, kw_only=True)
class Head:
    """A group of outputs with one task.

    `labels` are the names of the classes, regression targets or tokens. Training uses (value - offset) / scale for a
    regression target, so `scale` converts an error to the unit of the target. `token_bytes` are the bytes of each token
    of a text.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    token_bytes: tuple[int, ...] = field(default=(), repr=False)  # fingerprints of data have the rest

    @property
    def size(self) -> int:
        return len(self.labels)

    @property
    def columns(self) -> int:
        """The number of columns in a table of targets: one per regression target or label (0 or 1), or one with class
        numbers.
        """
        return self.size if self.needs_table else 1

    @property
    def needs_table(self) -> bool:
        """Whether targets are a table (example, column) of floats even if there is no other head."""
        return self.task in ("regression", "multilabel")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The kind of input, its shape without the batch dimension, and the heads that divide the outputs of a model.

    `input_shape` is (feature,), (channel, height, width) or, for tokens, (time,). `vocabulary` is the number of
    distinct tokens, with that of `padding` behind the end of texts that are shorter than others. A model maps a batch
    to (batch, num_outputs), or to (batch, time, num_outputs) for language. The metrics of several heads begin with the
    heads' names, which are therefore distinct. With `is_weighted`, targets are a table whose last column is the weight
    of each example.
    """

    kind: str
    input_shape: tuple[int, ...]
    heads: tuple[Head, ...]
    vocabulary: int | None = None
    is_weighted: bool = False
    padding: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        names = [head.name for head in self.heads]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"dataset: {names.count(name)} heads are named {name!r}; allowed: distinct names")

    @property
    def task(self) -> str:
        return self.heads[0].task if len(self.heads) == 1 else "multi_output"

    @property
    def is_language(self) -> bool:
        """Whether each token has outputs of its own, which predict the next one."""
        return self.task == "language_modelling"

    @cached_property
    def num_outputs(self) -> int:
        return sum(head.size for head in self.heads)


def kind_of(metric: str) -> str:
    """A metric without the name of its head or target: r2 of "price/r2"."""
    return metric.rpartition("/")[2]


def higher_is_better(metric: str) -> bool:
    """True if a higher value of the metric is better."""
    return kind_of(metric) in HIGHER_IS_BETTER


def value_range(metric: str) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have, unless the loss is a user's own."""
    kind = kind_of(metric)
    if kind == "r2":
        return -inf, 1.0
    return {"perplexity": 1.0}.get(kind, 0.0), 1.0 if kind in HIGHER_IS_BETTER or kind == "ece" else inf


def main_metric(names: Container[str]) -> str:
    """The metric by which results are compared, of the metrics of a task or run: nats, accuracy or r2; loss of several
    heads, whose metrics begin with their names.
    """
    return next((name for name in MAIN_METRICS if name in names), "loss")


def first_metrics(names: Container[str]) -> list[str]:
    """The main metric of a task with these metrics, the loss, and the main metrics of other tasks."""
    return list(dict.fromkeys((main_metric(names), "loss", *MAIN_METRICS)))


def all_metrics(task: str) -> tuple[str, ...]:
    """The metrics of heads with this task; top5_accuracy only of those with more than five classes, bits_per_character
    and bits_per_byte only of tokens that they suit.
    """
    return (*METRICS[task], *EVALUATION_METRICS.get(task, ()))
