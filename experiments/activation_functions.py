"""Activation functions: every registered activation with its derivative, and the signal through 50 layers of it.

Claim: the slope of the logistic function is at most 1/4, so that a gradient vanishes on its way back through 50 layers
of it (Bengio, Simard & Frasconi 1994: https://doi.org/10.1109/72.279181; Glorot & Bengio 2010:
https://proceedings.mlr.press/v9/glorot10a.html); the slope of tanh is at most 1. selu with weights of variance
1 / fan_in drives every layer to mean 0 and variance 1: a mean within [-0.1, 0.1] and a variance within [0.8, 1.5] stay
there in every layer (Klambauer et al. 2017, theorem 1: https://arxiv.org/abs/1706.02515).

    python -m experiments.activation_functions
"""

import scipy.special
import torch
from torch import Tensor

from dl_lab.nn.activations import ACTIVATIONS
from dl_lab.plotting.figures import curves
from experiments.support import builders
from experiments.support.findings import Report
from experiments.support.numerical_gradients import autograd

TAKES = 10  # seconds on two cores
SOURCE = "https://arxiv.org/abs/1706.02515"
GLOROT = "https://proceedings.mlr.press/v9/glorot10a.html"
DEPTH, WIDTH, BATCH, SEEDS = 50, 256, 128, 3
POINTS = torch.linspace(-5, 5, 2001, dtype=torch.float64)
# Each activation with the initialization designed for it.
PAIRS = {
    "selu": "lecun_normal",
    "relu": "kaiming_normal",
    "tanh": "xavier_normal",
    "sigmoid": "xavier_normal",
    "identity": "lecun_normal",
}


def propagate(activation: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each layer's output for normal inputs, and the norm of its weight gradient."""
    settings = f"model.activation={activation} initializer={PAIRS[activation]} precision=float64 seed={seed}"
    model = builders.plain_layers(settings, DEPTH, WIDTH, labels="0123456789")
    hidden = builders.record_layers(model)
    classes = torch.arange(BATCH) % 10
    torch.nn.functional.cross_entropy(model(builders.normal(BATCH, WIDTH, seed=seed)), classes).backward()
    norms = torch.stack([layer.weight.grad.norm() for layer in model.layers])
    layers = torch.stack(hidden).detach().flatten(1)
    return layers.mean(1), layers.var(1), norms


def draw_slopes(report: Report) -> None:
    """Draw every activation with its derivative, and check the slopes of sigmoid and tanh."""
    slopes = {name: autograd(function)(POINTS) for name, function in ACTIVATIONS.items()}
    for name, slope in slopes.items():
        lines = {name: (POINTS, ACTIVATIONS[name](POINTS)), "its derivative": (POINTS, slope)}
        report.figure(f"activation/{name}", curves(lines, f"{name} and its derivative", "x", "value"))
    report.equal("the steepest slope of sigmoid is 1/4", slopes["sigmoid"].max(), 0.25, 1e-15, "closed form")
    report.equal("the steepest slope of tanh is 1", slopes["tanh"].max(), 1.0, 1e-15, "closed form")
    share = scipy.special.expit(POINTS.numpy())
    report.equal("sigmoid's slope is s (1 - s)", slopes["sigmoid"], share * (1 - share), 1e-15, "SciPy")


def main() -> Report:
    report = Report("activation_functions", SOURCE)
    draw_slopes(report)
    carried = {name: zip(*(propagate(name, seed) for seed in range(SEEDS)), strict=True) for name in PAIRS}
    signals = {name: [torch.stack(part) for part in parts] for name, parts in carried.items()}  # each (seed, layer)
    means, variances, _ = signals["selu"]
    for what, values, low, high in (("mean", means, -0.1, 0.1), ("variance", variances, 0.8, 1.5)):
        holds, measured = low <= values.min() <= values.max() <= high, f"{values.min():.3g} to {values.max():.3g}"
        claim = f"selu: {what} of each of {DEPTH} layers, {SEEDS} seeds"
        report.holds(claim, holds, measured, f"{low} to {high}")
    shrunk = {name: norms[:, 0] / norms[:, -1] for name, (_, _, norms) in signals.items()}
    claim = f"selu: the gradients of layers 1 and {DEPTH} differ by less than a factor of ten"
    report.mean(claim, shrunk["selu"].tolist(), "0.1 to 10", 0.1, 10)
    claim = f"sigmoid: each layer keeps at most 1/4 of the gradient, so that it vanishes over {DEPTH} layers"
    per_layer = (shrunk["sigmoid"] ** (1 / (DEPTH - 1))).tolist()
    report.mean(claim, per_layer, "at most 0.25 per layer", at_most=0.25, source=GLOROT)
    for tag, part, y in (("signal", 1, "variance of the activations"), ("gradient", 2, "norm of the weight gradient")):
        lines = {f"{name}, {PAIRS[name]}": (range(1, DEPTH + 1), each[part].mean(0)) for name, each in signals.items()}
        title = f"{tag.capitalize()} through {DEPTH} layers, mean of {SEEDS} seeds"
        report.figure(f"carried/{tag}", curves(lines, title, "layer", y, log_y=True))
    return report


if __name__ == "__main__":
    main().finish()
