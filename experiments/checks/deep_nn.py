"""Measure where gradients vanish before training, and draw how each network's loss falls."""

import torch
from torch.nn import functional as F

from dl_lab.plotting.figures import curves
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

GLOROT = "https://proceedings.mlr.press/v9/glorot10a.html"
ARMS = {
    "sigmoid, torch's": ("sigmoid", "default"),
    "tanh, torch's": ("tanh", "default"),
    "tanh, Xavier": ("tanh", "xavier_uniform"),
    "relu, He": ("relu", "kaiming_uniform"),
}


def gradients(run: Run) -> torch.Tensor:
    """Root mean square of each layer's gradient (layer,) on 1,000 examples, at the initial weights."""
    plan, state = replay.before(run)
    inputs, labels = next(iter(plan.data.train.everything(1000)))
    weights = [parameter for parameter in state.model.parameters() if parameter.ndim == 2][:-1]
    loss = F.cross_entropy(state.model(plan.data.prepare(inputs)), labels)
    return torch.stack([each.square().mean().sqrt() for each in torch.autograd.grad(loss, weights)])


def check(runs: list[Run], report: Report) -> None:
    """Compare the gradients of the second and the fifth hidden layer, and draw the mean losses."""
    sizes, losses, ratios = {}, {}, {}
    for name, (activation, initializer) in ARMS.items():
        chosen = [run for run in runs if run.matches({"model.activation": activation, "initializer": initializer})]
        by_layer = torch.stack([gradients(run) for run in chosen])
        ratios[name] = (by_layer[:, 1] / by_layer[:, -1]).tolist()  # layers of equal width; the first has another input
        sizes[name] = (torch.arange(1, by_layer.shape[1] + 1), by_layer.mean(0))
        points = [run.points("train") for run in chosen]
        steps = [point["step"] for point in points[0]]
        losses[name] = (steps, torch.tensor([[point["loss"] for point in line] for line in points]).mean(0))
    title = "Gradient of each layer before training, mean of five seeds"
    report.figure("gradients", curves(sizes, title, "hidden layer", "root mean square", log_y=True))
    title = "Training loss, mean of five seeds"
    report.figure("loss", curves(losses, title, "step", "cross-entropy (nats)"))
    for name, bounds in (("sigmoid, torch's", (0.0, 0.1)), ("tanh, Xavier", (0.1, 10.0)), ("relu, He", (0.1, 10.0))):
        vanish = "vanish" if bounds[1] < 1 else "keep their size"
        claim = f"gradients {vanish} from the fifth layer to the second: {name}"
        report.mean(claim, ratios[name], f"a ratio of {bounds[0]:g} to {bounds[1]:g}", *bounds, source=GLOROT)
