"""Figures and histograms of a model during training, as far as its data and layers allow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dl_lab.data.dataset import Data
from dl_lab.data.spec import Head
from dl_lab.data.splits import Split
from dl_lab.training.tasks.scores import Classes, Floats, calibration, confusion
from dl_lab.training.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 1000  # of a split, that figures are based on
MOST_NAMES = 20  # of classes on an axis
GRID = 120  # points along each side of a decision boundary


def figures_of(model: nn.Module, data: Data, task: Task) -> "dict[str, Figure]":
    """Figures by tag: for each head the confusion matrix, precision and recall and the reliability diagram of classes,
    or the residuals of numbers; the fitted line, or predicted against actual values; the decision boundary of two
    features; the worst mistakes of an image classifier, its first filters and feature maps; attention weights.
    """
    spec = data.spec
    with _evaluating(model):
        if spec.kind == "tokens":
            return _attention(model, data)
        figures = _of_heads(model, data, task)
        if spec.task == "regression":
            return figures | _regression(model, data)
        if spec.kind == "features":
            at_plane = spec.input_shape == (2,) and spec.task == "classification"
            return figures | (_boundary(model, data, task) if at_plane else {})
        mistakes = _mistakes(model, data, task) if spec.task == "classification" else {}
        return figures | mistakes | _filters(model, data)


def histograms_of(model: nn.Module, data: Data) -> dict[str, Tensor]:
    """Tensors by tag: weights, last gradients, and the activations of hidden layers on the validation split."""
    values: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            values[f"weights/{name}"] = parameter.detach()
            if parameter.grad is not None:
                values[f"gradients/{name}"] = parameter.grad
    with _evaluating(model), _outputs_of(model, ("dropouts.",)) as outputs:
        model(_some(data, data.validation)[0])
    for name, output in outputs.items():
        values[f"activations/{name.replace('dropouts', 'layers')}"] = output
    return values


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(training)


@contextmanager
def _outputs_of(model: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of modules whose name contains one of `names`, for the duration of the context."""
    outputs: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
        for name, module in model.named_modules()
        if any(part in name for part in names)
    ]
    yield outputs
    for handle in handles:
        handle.remove()


def _some(data: Data, split: Split, number: int = EXAMPLES) -> tuple[Tensor, Tensor]:
    inputs, targets = next(iter(split.everything(number)))
    return data.prepare(inputs), targets


def _of_heads(model: nn.Module, data: Data, task: Task) -> "dict[str, Figure]":
    """Figures about the predictions of each head on the validation split."""
    inputs, targets = _some(data, data.validation)
    parts, weights = task.by_head(model(inputs).double().cpu(), targets.cpu())
    weight = np.ones(len(targets)) if weights is None else weights.double().numpy()
    figures: dict[str, Figure] = {}
    for prefix, head, (outputs, true) in zip(task.prefixes, task.heads, parts, strict=True):
        if head.task == "classification":
            drawn = _classes(head, outputs.softmax(1).numpy(), true.numpy(), weight)
        else:
            drawn = _residuals(head, outputs.numpy(), true.numpy()) if head.task == "regression" else {}
        figures |= {prefix + tag: figure for tag, figure in drawn.items()}
    return figures


def _classes(head: Head, probabilities: Floats, classes: Classes, weight: Floats) -> "dict[str, Figure]":
    from dl_lab.plotting.bars import bars
    from dl_lab.plotting.figures import curves, matrix

    counts = confusion(classes, probabilities.argmax(1), weight, head.size)
    names, form = (head.labels, "{:.4g}") if head.size <= MOST_NAMES else ((), None)
    shares = [np.diag(counts) / np.maximum(counts.sum(axis), np.finfo(float).tiny) for axis in (0, 1)]
    share, confidence, accuracy = calibration(probabilities, classes, weight)
    ece, filled = share @ np.abs(accuracy - confidence), share > 0
    lines = {"model": (confidence[filled], accuracy[filled]), "calibrated": (np.array([0, 1]), np.array([0, 1]))}
    about = f"{len(classes)} validation examples"
    return {
        "confusion": matrix(counts, f"Confusion, {about}", "predicted", "actual", names, form),
        "classes": bars(dict(zip(("precision", "recall"), shares, strict=True)), names, f"Classes, {about}", "class"),
        "reliability": curves(
            lines, f"Reliability, {about}: ECE {ece:.3g}", "probability of the predicted class", "accuracy"
        ),
    }


def _residuals(head: Head, outputs: Floats, targets: Floats) -> "dict[str, Figure]":
    from dl_lab.plotting.figures import scatter

    pairs = {name: (outputs[:, at], outputs[:, at] - targets[:, at]) for at, name in enumerate(head.labels)}
    title = "Residuals, validation split"
    return {"residuals": scatter(pairs, title, "predicted (as trained on)", "predicted - actual (as trained on)")}


def _regression(model: nn.Module, data: Data) -> "dict[str, Figure]":
    from dl_lab.plotting.figures import curves, scatter

    (head,) = data.spec.heads
    inputs, targets = _some(data, data.train)
    if data.spec.input_shape == (1,) and head.size == 1:
        across = torch.linspace(float(inputs.min()), float(inputs.max()), 200, dtype=inputs.dtype, device=inputs.device)
        lines = {"model": (across, model(across[:, None])[:, 0])}
        y = f"{head.labels[0]} (as trained on)"
        return {
            "fit": curves(
                lines, "The fitted model", "feature (as the model takes it)", y, points=(inputs[:, 0], targets[:, 0])
            )
        }
    outputs = model(inputs)
    pairs = {name: (targets[:, column], outputs[:, column]) for column, name in enumerate(head.labels)}
    title = "Predicted against actual, training split"
    return {"fit": scatter(pairs, title, "actual (as trained on)", "predicted (as trained on)", diagonal=True)}


def _boundary(model: nn.Module, data: Data, task: Task) -> "dict[str, Figure]":
    from dl_lab.plotting.figures import decision_boundary

    points, numbers = _some(data, data.train)
    ((_, labels),), _ = task.by_head(model(points), numbers)
    low, high = points.amin(0) - 0.3, points.amax(0) + 0.3
    x, y = (torch.linspace(float(low[axis]), float(high[axis]), GRID, device=points.device) for axis in (0, 1))
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([columns.flatten(), rows.flatten()], dim=1).to(points.dtype)
    classes = model(grid).argmax(1).view(GRID, GRID)
    figure = decision_boundary(
        columns,
        rows,
        classes,
        points,
        labels,
        data.spec.heads[0].labels,
        "Decision boundary, and points of the training split",
        ("x1 (as the model takes it)", "x2 (as the model takes it)"),
    )
    return {"boundary": figure}


def _pixels(images: Tensor) -> Tensor:
    """Prepared images (number, channel, height, width), each scaled to [0, 1] for drawing."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    scaled = (images - low) / (high - low).clamp(min=1e-12)
    return scaled.permute(0, 2, 3, 1).squeeze(-1) if images.shape[1] in (1, 3) else scaled[:, 0]


def _mistakes(model: nn.Module, data: Data, task: Task) -> "dict[str, Figure]":
    from dl_lab.plotting.figures import image_grid

    labels = data.spec.heads[0].labels
    images, numbers = _some(data, data.validation)
    ((logits, targets),), _ = task.by_head(model(images), numbers)
    probabilities = logits.float().softmax(1)
    predicted = probabilities.argmax(1)
    drawn = {}
    surest = (probabilities.gather(1, targets[:, None])[:, 0] + (predicted == targets)).argsort()[:24]
    wrong = surest[predicted[surest] != targets[surest]]
    if len(wrong):
        titles = [f"{labels[targets[i]]}\nas {labels[predicted[i]]}" for i in wrong.tolist()]
        drawn["mistakes"] = image_grid(
            _pixels(images[wrong]), "Worst mistakes: true class, and the predicted one", titles
        )
    return drawn


def _filters(model: nn.Module, data: Data) -> "dict[str, Figure]":
    """The filters of the first convolution and its feature maps of one image; empty for a model without one."""
    from dl_lab.plotting.figures import image_grid

    first = next((name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        return {}
    image = _some(data, data.validation, 1)[0]
    with _outputs_of(model, (first,)) as outputs:
        model(image)
    weight = model.get_submodule(first).get_parameter("weight").mean(1)
    return {
        "filters": image_grid(
            weight[:64], "Filters of the first convolution (blue -, red +)", colors="coolwarm", shared=True
        ),
        "feature_maps": image_grid(
            outputs[first][0, :64], "Feature maps of the first convolution for one image", colors="viridis"
        ),
    }


def _attention(model: nn.Module, data: Data) -> "dict[str, Figure]":
    from dl_lab.plotting.figures import image_grid

    look = getattr(model, "attention_weights", None)
    if look is None:
        return {}
    tokens = _some(data, data.validation, 1)[0]
    weights = look(tokens)[:, 0]  # (layer, head, query, key)
    layers, heads = weights.shape[:2]
    names = [f"layer {layer + 1}, head {head + 1}" for layer in range(layers) for head in range(heads)]
    title = "Attention: each row a token, its columns the tokens it looks at"
    return {"attention": image_grid(weights.flatten(0, 1), title, names, columns=heads, colors="viridis")}
