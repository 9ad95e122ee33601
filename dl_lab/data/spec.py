"""What a model must know of its data, and which way a metric gets better; free of torch."""

from dataclasses import dataclass

KINDS = ("features", "image", "tokens")
TASKS = ("regression", "classification", "language_modelling", "multi_output")
METRICS = {  # of one head, by its task; "loss" is the first
    "regression": ("loss", "r2", "mse", "mae"),
    "classification": ("loss", "accuracy"),
    "language_modelling": ("loss", "accuracy", "nats", "perplexity", "bits_per_character"),
}
HIGHER_IS_BETTER = ("accuracy", "r2")  # every other metric is an error: less is better


@dataclass(frozen=True, kw_only=True)
class Head:
    """One group of outputs with a task of its own.

    `labels` names the classes, the regression targets or the tokens, `size` of them. A regression target is trained
    as (value - offset) / scale, so that `scale` turns an error back into the target's own unit; `center` is about the
    mean of what is trained on, from which r2 is counted so that nothing cancels.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    center: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        return len(self.labels)

    @property
    def columns(self) -> int:
        """Columns that this head takes of a table of targets: one of class numbers, or one a regression target."""
        return self.size if self.task == "regression" else 1


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The kind of input, its shape without the batch, and the heads that a model's outputs divide into.

    `input_shape` is (feature,), (channel, height, width) or, for tokens, (time,); `vocabulary` counts the distinct
    tokens. A model maps a batch to (batch, num_outputs), or tokens to (batch, time, num_outputs).
    """

    kind: str
    input_shape: tuple[int, ...]
    heads: tuple[Head, ...]
    vocabulary: int | None = None

    @property
    def task(self) -> str:
        return self.heads[0].task if len(self.heads) == 1 else "multi_output"

    @property
    def num_outputs(self) -> int:
        return sum(head.size for head in self.heads)


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better; of a head's metric, its last part decides ("price/r2")."""
    return metric.rsplit("/", 1)[-1] in HIGHER_IS_BETTER
