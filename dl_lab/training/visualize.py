"""Figures and histograms of a model during training, as far as its data and layers allow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dl_lab.data.dataset import Data
from dl_lab.training.prediction_figures import figures_of_heads, in_units, some
from dl_lab.training.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 120  # points along each side of a decision boundary


def figures_of(model: nn.Module, data: Data, task: Task) -> "dict[str, Figure]":
    """Figures by tag: about the predictions of each head; the fitted line of one feature; the decision boundary of two
    features; the worst mistakes of an image classifier, its first filters and feature maps; attention weights.
    """
    spec = data.spec
    with _evaluating(model):
        if spec.is_language:
            return _attention(model, data)
        figures = figures_of_heads(model, data, task)
        if spec.kind == "tokens":
            return figures | _attention(model, data)
        if spec.task == "regression":
            return figures | (_line(model, data) if spec.input_shape == (1,) and spec.num_outputs == 1 else {})
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
        model(some(data, data.validation)[0])
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


def _features(data: Data) -> list[tuple[str, float, float]]:
    """The name, offset and scale of each feature that the model takes as it is in the table, or standardized."""
    columns = data.preprocessing.columns if data.preprocessing is not None else ()
    if len(columns) != data.spec.input_shape[0]:
        return [(f"x{number} (as the model takes it)", 0.0, 1.0) for number in range(1, data.spec.input_shape[0] + 1)]
    return [(column["name"], column.get("offset", 0.0), column.get("scale", 1.0)) for column in columns]


def _line(model: nn.Module, data: Data) -> "dict[str, Figure]":
    """The fitted line of one feature and one target, in their units."""
    from dl_lab.plotting.figures import curves

    ((name, offset, scale),), (head,) = _features(data), data.spec.heads
    inputs, targets = some(data, data.train)
    across = torch.linspace(float(inputs.min()), float(inputs.max()), 200, dtype=inputs.dtype, device=inputs.device)
    x, points_x = (each.double().cpu().numpy() * scale + offset for each in (across, inputs[:, 0]))
    y, points_y = (
        in_units(head, each.double().cpu().numpy())[:, 0] for each in (model(across[:, None]), targets[:, :1])
    )
    points = (points_x, points_y)
    return {"fit": curves({"model": (x, y)}, "The fitted model, training split", name, head.labels[0], points=points)}


def _boundary(model: nn.Module, data: Data, task: Task) -> "dict[str, Figure]":
    from dl_lab.plotting.figures import decision_boundary

    points, numbers = some(data, data.train)
    ((_, labels),), _ = task.by_head(model(points), numbers)
    low, high = points.amin(0) - 0.3, points.amax(0) + 0.3
    x, y = (torch.linspace(float(low[axis]), float(high[axis]), GRID, device=points.device) for axis in (0, 1))
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([columns.flatten(), rows.flatten()], dim=1).to(points.dtype)
    classes = model(grid).argmax(1).view(GRID, GRID)
    (x1, *of_x1), (x2, *of_x2) = _features(data)
    figure = decision_boundary(
        columns.cpu() * of_x1[1] + of_x1[0],
        rows.cpu() * of_x2[1] + of_x2[0],
        classes,
        points.cpu() * torch.tensor([of_x1[1], of_x2[1]]) + torch.tensor([of_x1[0], of_x2[0]]),
        labels,
        data.spec.heads[0].labels,
        "Decision boundary, and points of the training split",
        (x1, x2),
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
    images, numbers = some(data, data.validation)
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
    image = some(data, data.validation, 1)[0]
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
    tokens = some(data, data.validation, 1)[0]
    weights = look(tokens)[:, 0]  # (layer, head, query, key)
    layers, heads = weights.shape[:2]
    names = [f"layer {layer + 1}, head {head + 1}" for layer in range(layers) for head in range(heads)]
    title = "Attention: each row a token, its columns the tokens it looks at"
    return {"attention": image_grid(weights.flatten(0, 1), title, names, columns=heads, colors="viridis")}
