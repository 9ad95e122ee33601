"""Find signs that a run went wrong, by the rules of `diagnostics`: in its curves, its data and its last weights."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dl_lab.core import devices, rng
from dl_lab.data.spec import Head, main_metric
from dl_lab.data.splits import InMemory, Split, Streamed, examples_from
from dl_lab.nn.activations import ACTIVATIONS
from dl_lab.runs.reader import read_lines
from dl_lab.training import diagnostics
from dl_lab.training.class_weights import classes_of
from dl_lab.training.diagnostics import Gradient
from dl_lab.training.intervals import Interval
from dl_lab.training.state import ActiveRun, Plan

Points = list[dict[str, Any]]
EXAMPLES = 256  # that units are dead for, of the training split
FEW = 32  # the same, if they are read from disk or have many positions
SMOOTHED = 4096  # targets in a mean of losses; fewer if an epoch has fewer
FIRST_BATCH = 8  # examples; the loss of fewer is no measure
WATCHED = {
    getattr(place, name)
    for name in {*ACTIVATIONS, "relu_", "relu6", "celu", "hardsigmoid", "rrelu"} - {"identity"}
    for place in (torch, F, Tensor)
    if hasattr(place, name)
}


def of_training(run: ActiveRun) -> list[str]:
    """The warnings about a run that has ended and whose model has its last weights and gradients."""
    points = [point for _, point in read_lines(run.logger.folder / "metrics.jsonl")]
    found = [*of_data(run.plan), *of_curves(run, points), *of_metrics(run, points), *of_model(run, points)]
    return [warning for warning in found if warning is not None]


def of_test(plan: Plan, metrics: Mapping[str, float], intervals: Mapping[str, Interval]) -> list[str]:
    """The warnings about the size of the test split."""
    assert plan.data.test is not None
    found = []
    for prefix, head in zip(plan.task.prefixes, plan.task.heads, strict=True):
        name = prefix + main_metric([name.removeprefix(prefix) for name in metrics if name.startswith(prefix)])
        if head.task != "language_modelling":
            size, is_wilson = len(plan.data.test), head.task == "classification" and not plan.data.spec.is_weighted
            found.append(diagnostics.small_test_split(name, metrics[name], intervals.get(name), size, is_wilson))
    return diagnostics.first_of(found)


def of_data(plan: Plan) -> list[str]:
    """Warnings about the validation split."""
    counts = {} if plan.run.train.one_batch else class_counts(plan, plan.data.validation)
    found = (diagnostics.missing_classes(head.name, head.labels, each.tolist()) for head, each in counts.items())
    return diagnostics.first_of(found)


def class_counts(plan: Plan, split: Split) -> dict[Head, Tensor]:
    """The weight of each class (class,) in a split, for each head with classes, unless it would have to be read."""
    if not isinstance(split, InMemory) and not hasattr(getattr(split, "dataset", None), "class_numbers"):
        return {}
    numbers, weights = classes_of(split, plan.data)
    heads = [head for head in plan.task.heads if head.name in numbers]
    return {head: torch.bincount(numbers[head.name], weights, minlength=head.size) for head in heads}


def of_curves(run: ActiveRun, points: Points) -> Iterator[str | None]:
    """Warnings about the training loss and the validation loss."""
    smoothed = partial(_smoothed, run.plan, [point for point in points if point["split"] == "train"])
    first = run.state.first_loss if run.plan.batch_size >= FIRST_BATCH else None
    losses = [*([first] if first is not None else []), *smoothed("loss")]
    if not all(map(isfinite, losses)):
        return
    spikes = diagnostics.loss_spikes(losses, _lr(run.plan))
    validations = [point["loss"] for point in points if point["split"] == "val"]
    yield spikes or diagnostics.loss_never_decreased(losses if first is not None else [], validations, run.state.step)


def _lr(plan: Plan) -> float | None:
    return getattr(plan.run.optimizer.config, "lr", None)


def _smoothed(plan: Plan, points: Points, name: str) -> list[float]:
    """The means of a metric over at least so many consecutive targets, or an epoch."""
    steps = [after["step"] - before["step"] for before, after in pairwise([{"step": 0}, *points])]
    spec = plan.data.spec
    least = min(len(plan.data.train), SMOOTHED // (spec.input_shape[0] if spec.is_language else 1))
    values = [(plan.batch_size * number, point.get(name)) for number, point in zip(steps, points, strict=True)]
    return diagnostics.smoothed([(number, value) for number, value in values if value is not None], least)


def of_metrics(run: ActiveRun, points: Points) -> list[str]:
    """Warnings about the metrics of the best and the last validation, for each head."""
    plan, state = run.plan, run.state
    training = [point for point in points if point["split"] == "train"]
    best, last = state.best or {}, state.last or {}
    counts = {} if plan.run.train.one_batch else class_counts(plan, plan.data.validation)
    frequent = class_counts(plan, plan.data.train)
    guessed, overfitted = [], []
    for prefix, head in zip(plan.task.prefixes, plan.task.heads, strict=True):
        if head in counts and head in frequent and f"{prefix}balanced_accuracy" in best:
            guess = int(frequent[head].argmax())
            warning = diagnostics.no_better_than_guessing(
                f"val/{prefix}accuracy",
                best[f"{prefix}accuracy"],
                best[f"{prefix}balanced_accuracy"],
                float(counts[head][guess] / counts[head].sum()),
                head.labels[guess],
                int((counts[head] > 0).sum()),
                head.name in plan.task.class_weights,
            )
            guessed.append(warning)
        own = {name.removeprefix(prefix): value for name, value in last.items() if name.startswith(prefix)}
        curves = {name: _smoothed(plan, training, prefix + name) for name in own}
        trained, main = {name: curve[-1] for name, curve in curves.items() if curve}, main_metric(own)
        if not plan.run.train.one_batch:
            overfitted.append(diagnostics.overfitting(prefix + main, trained, own, len(plan.data.validation)))
    return diagnostics.first_of(guessed) + diagnostics.first_of(overfitted)


def of_model(run: ActiveRun, points: Points) -> Iterator[str | None]:
    """Warnings about the last gradients, and about the units of hidden layers."""
    plan, gradients = run.plan, gradients_of(run.state.model)
    norms = [norm for point in points if (norm := point.get("gradient_norm")) is not None]
    own_loss = not plan.run.loss.entry.build.__module__.startswith("dl_lab.")
    scaled = not own_loss and all(head.task != "regression" or head.scale for head in plan.task.heads)
    yield diagnostics.vanishing_gradients(gradients)
    yield diagnostics.exploding_gradients(norms, gradients, scaled)
    dead, examples = dead_units(run)
    yield diagnostics.dead_units(dead, examples, _lr(plan))


def gradients_of(model: nn.Module) -> dict[str, Gradient]:
    """The norms of the weights, which are parameters of two or more dimensions, by layer, unless they are 0. The
    gradient of a bias may be 0 for good reasons, as before a normalization.
    """
    weights = {name: each for name, each in model.named_parameters() if each.ndim >= 2 and each.grad is not None}
    if not weights:
        return {}
    tensors = [each.grad for each in weights.values() if each.grad is not None] + [*weights.values()]
    norms = torch.stack([tensor.detach().norm().float() for tensor in tensors]).tolist()
    found = map(Gradient, norms[: len(weights)], norms[len(weights) :])
    return {name.removesuffix(".weight"): each for name, each in zip(weights, found, strict=True) if each.weight}


class Activations(TorchFunctionMode):
    """For the duration of the context, count the units of each activation function whose outputs are all the same, by
    the layer before it: (same, units).
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.counts: dict[str, tuple[int, int]] = {}
        self._layer = ""
        self._handles = [
            module.register_forward_hook(lambda *_, name=name: setattr(self, "_layer", name))
            for name, module in model.named_modules()
            if any(parameter.ndim >= 2 for parameter in module.parameters(recurse=False))
        ]

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = function(*args, **(kwargs or {}))
        if function in WATCHED and self._layer and isinstance(outputs, Tensor) and outputs.ndim >= 2:
            units = outputs.movedim(1 if outputs.ndim == 4 else -1, 0).flatten(1)  # (unit, example)
            same = (units == units[:, :1]).all(1)
            self.counts[self._layer] = (int(same.sum()), len(same))
        return outputs

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()


@torch.no_grad()
def dead_units(run: ActiveRun) -> tuple[dict[str, tuple[int, int]], int]:
    """The dead and all units of hidden layers, by layer, and the number of training examples that they are dead for."""
    from dl_lab.training.loop import apply

    plan, model = run.plan, run.state.model
    few = isinstance(plan.data.train, Streamed) or plan.data.spec.kind == "tokens"
    number = min(plan.eval_batch_size, FEW if few else EXAMPLES)
    if plan.has_user_code:
        devices.seed_global_generators(rng.seed_for(plan.seed, "evaluation"), plan.device)
    inputs, _ = examples_from(plan.data.train, number)
    model.eval()
    allowed = (Exception,) if plan.has_user_code else ()  # in a function mode, code of a user may fail
    with Activations(model) as activations, suppress(*allowed):
        apply(model, plan, plan.data.prepare(inputs))
    model.train()
    return activations.counts, len(inputs)
