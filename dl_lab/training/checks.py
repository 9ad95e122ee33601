"""Check what code of users returns (datasets, models, losses), because a wrong shape may train without an error.

The checks of outputs, targets and losses run in every step: they read shapes, and never wait for the device.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from inspect import signature
from math import isfinite
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from dl_lab.core.errors import UserCodeError
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import PADDING, InMemory, Split, examples_from
from dl_lab.registry import Entry

if TYPE_CHECKING:
    from dl_lab.training.tasks.task import Task

CHECKED = 8  # examples, with which a loss is tried
SAME = 1e-3  # of a value, by which rounding may change it
Loss = Callable[..., Tensor]  # of outputs, targets and, if examples have weights, weights (example,)


def form(value: object, with_type: bool = False) -> str:
    """The shape of a tensor, with its type if it is not floating point; the type of anything else."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    shape = f"({', '.join(map(str, value.shape))}{',' if value.ndim == 1 else ''})"
    return (
        shape
        if value.is_floating_point() and not with_type
        else f"{shape} of {str(value.dtype).removeprefix('torch.')}"
    )


def check_model(model: object, name: str) -> None:
    """Raises: UserCodeError if `model` is not a module with weights to train."""
    if not isinstance(model, nn.Module):
        raise UserCodeError(f"model={name} is a {form(model)}; allowed: torch.nn.Module")
    weights = dict(model.named_parameters())
    for path, weight in weights.items():
        if isinstance(weight, UninitializedParameter):
            raise UserCodeError(f"model={name} has a lazy layer ({path}); allowed: layers with the shapes of DataSpec")
    if not any(weight.requires_grad for weight in weights.values()):
        raise UserCodeError(f"model={name} has {len(weights)} weights, none to be trained; allowed: at least one")


def check_inputs(inputs: Tensor, shape: Sequence[int], kind: str, where: str = "dataset") -> None:
    """Raises: UserCodeError unless inputs are (batch, *shape), integers for tokens and floating point otherwise."""
    if inputs.shape[1:] != shape or inputs.is_floating_point() == (kind == "tokens"):
        allowed = f"{(len(inputs), *shape)}, {'integers' if kind == 'tokens' else 'floating point'}"
        raise UserCodeError(f"{where} has inputs {form(inputs, with_type=True)}; allowed: {allowed}")


def check_outputs(outputs: object, inputs: Tensor, spec: DataSpec, name: str) -> None:
    """Raises: UserCodeError unless outputs are floats (batch, output), or for language (batch, time, output)."""
    expected = (*inputs.shape[: 2 if spec.is_language else 1], spec.num_outputs)
    if not (isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.shape == expected):
        returned = f"model={name} returned {form(outputs)} for inputs {form(inputs)}"
        raise UserCodeError(f"{returned}; allowed: {expected}, floating point")


def check_targets(
    targets: Tensor, places: Sequence[int], heads: Sequence[Head], is_weighted: bool, where: str = "dataset"
) -> None:
    """Raises: UserCodeError unless targets are class numbers at all `places`, (batch,) or (batch, time), or a table
    (batch, column).
    """
    is_table = len(heads) > 1 or heads[0].needs_table or is_weighted
    columns = sum(head.columns for head in heads) + is_weighted
    expected = (places[0], columns) if is_table else tuple(places)
    if targets.shape != expected or targets.is_floating_point() != is_table:
        kind = "floating point" if is_table else "class numbers"
        raise UserCodeError(f"{where} has targets {form(targets, with_type=True)}; allowed: {expected}, {kind}")


def check_loss(loss: Loss, name: str, is_weighted: bool, has_class_weights: bool) -> None:
    """Raises: UserCodeError if the loss does not take the weights that examples or classes have."""
    names = ["weights"] * is_weighted + ["class_weights"] * has_class_weights
    try:
        signature(loss.forward if isinstance(loss, nn.Module) else loss).bind(None, None, **dict.fromkeys(names))
    except ValueError:  # a builtin without a signature
        return
    except TypeError as error:
        if names and callable(loss):
            hint = f"def loss(outputs, targets, {', '.join(f'{each}=None' for each in names)})"
            allowed = f"a function of outputs, targets and {' and '.join(names)}"
            raise UserCodeError(f"loss={name} takes no {names[0]}; allowed: {allowed}; hint: {hint}") from error


@torch.no_grad()
def check_sum(task: "Task", loss: Entry, split: Split) -> None:
    """Compare a user's loss of a batch, with outputs that are probabilities, and thus also logits and numbers, with
    that of the same batch twice.

    Raises:
        UserCodeError: if they are equal, as means are.
    """
    if loss.build.__module__.startswith("dl_lab."):
        return
    sizes, is_language = [head.size for head in task.heads], task.heads[0].task == "language_modelling"
    ones: list[Tensor | int] = [1] * len(sizes)
    try:
        _, targets = examples_from(split, 1 if is_language else CHECKED)
        noise = torch.rand(*targets.shape[: 1 + is_language], sum(sizes), generator=torch.Generator())
        outputs = torch.cat([part.softmax(-1) if part.shape[-1] > 1 else part for part in noise.split(sizes, -1)], -1)
        outputs = outputs.to(targets.device)
        task = task.with_numbers(deepcopy(task.losses), task.class_weights)  # a loss may have a state
        batches = (outputs, targets), (torch.cat([outputs, outputs]), torch.cat([targets, targets]))
        once, twice = (float(task.objective(task.totals(*batch), ones)) for batch in batches)
    except Exception:  # training reports it, with its place
        return
    if isfinite(once) and once != 0 and abs(twice - once) < SAME * abs(once):
        raise UserCodeError(
            f"loss={loss.name} is {once:.4g} for a batch and {twice:.4g} for the same batch twice, as a mean is; "
            "allowed: the sum over the examples; hint: reduction='sum', or .sum() instead of .mean()"
        )


def sum_of(loss: Loss, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """The loss of a batch, whose examples may have weights (example,).

    Raises:
        UserCodeError: if it is not a single number.
    """
    value = loss(outputs, targets) if weights is None else loss(outputs, targets, weights=weights)
    if not (isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()):
        raise UserCodeError(f"loss returned {form(value)}; allowed: (), the sum over the examples")
    return value


def check_data(data: object, name: str) -> None:
    """Check splits, as far as they are in memory, against the DataSpec.

    Raises:
        UserCodeError: naming the split, what it has and what is allowed.
    """
    if not isinstance(data, Data):
        raise UserCodeError(f"dataset={name} is a {form(data)}; allowed: dl_lab.data.dataset.Data")
    for part in ("train", "validation", *(["test"] if data.test is not None else [])):
        split, where = getattr(data, part), f"dataset={name}: {part}"
        if not isinstance(split, Split) or len(split) == 0:
            have = "no examples" if isinstance(split, Split) else form(split)
            raise UserCodeError(f"{where} has {have}; allowed: a Split with at least one example")
        if isinstance(split, InMemory):
            _check_shapes(split, data, where)
            _check_values(split, data.spec, f"dataset={name}: example {{}} of {part}")


def _check_shapes(split: InMemory, data: Data, where: str) -> None:
    spec, inputs, targets = data.spec, split.inputs, split.targets
    for what, values in (("inputs", inputs), ("targets", targets)):
        if not isinstance(values, Tensor) or values.layout != torch.strided:
            raise UserCodeError(f"{where} has {what} {form(values)}; allowed: a dense tensor; hint: torch.as_tensor")
    if inputs.shape[1:] != spec.input_shape or data.mean is None:
        check_inputs(inputs, spec.input_shape, spec.kind, where)
    in_time = spec.heads[0].task == "language_modelling"
    check_targets(
        targets, (len(split), *inputs.shape[1:2]) if in_time else (len(split),), spec.heads, spec.is_weighted, where
    )


def _check_values(split: InMemory, spec: DataSpec, where: str) -> None:
    """Check that floating-point numbers are finite, and class numbers and tokens are known."""

    def check(what: str, values: Tensor, are_allowed: Tensor, allowed: str) -> None:
        if not are_allowed.all():
            example, *place = (~are_allowed).nonzero()[0].tolist()
            value = values[(example, *place)].item()
            raise UserCodeError(f"{where.format(example)} has {what}{place or ''} = {value}; allowed: {allowed}")

    for what, values in (("inputs", split.inputs), ("targets", split.targets)):
        # the sum is fast, and not finite if a value is not; that of finite values may overflow
        if values.is_floating_point() and not values.sum().isfinite():
            check(what, values, values.isfinite(), "finite numbers")
    if spec.kind == "tokens":
        known = (split.inputs >= 0) & (split.inputs < (spec.vocabulary or 0))
        check("inputs", split.inputs, known, f"0 to {(spec.vocabulary or 0) - 1}")
    column = 0
    for head in spec.heads:
        if head.task == "multilabel":
            labels = split.targets[:, column : column + head.size]
            check(head.name, labels, (labels == 0) | (labels == 1), "0 and 1")
        elif head.task != "regression":
            numbers = split.targets[:, column] if len(spec.heads) > 1 or spec.is_weighted else split.targets
            numbers = numbers if numbers.is_floating_point() else numbers.long()  # unsigned ones cannot be compared
            least = PADDING if head.task == "language_modelling" else 0
            are_classes = (numbers >= least) & (numbers < head.size) & (numbers == numbers.long())
            check(head.name, numbers, are_classes, f"whole numbers from {least} to {head.size - 1}")
        column += head.columns
    if spec.is_weighted:
        weights = split.targets[:, -1]
        check("weight", weights, weights >= 0, "0 or a number above it")
        if not weights.sum() > 0:
            raise UserCodeError(f"{where.format(0)} and all others have weight 0; allowed: a weight above 0")
