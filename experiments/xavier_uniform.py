"""Xavier's initialization: weights that keep the variance of the signal from layer to layer.

Claim: a linear layer multiplies the variance of its input by fan_in * Var(w), and that of the gradient by
fan_out * Var(w). torch's default weights, of variance 1 / (3 fan_in), reduce it to a third in every layer; Xavier's, of
variance 2 / (fan_in + fan_out), keep it (Glorot & Bengio 2010: https://proceedings.mlr.press/v9/glorot10a.html). relu
halves the second moment; He's weights, of variance 2 / fan_in, make up for that, and Xavier's do not (He et al. 2015:
https://arxiv.org/abs/1502.01852). Biases start at 0, because torch's random biases dominate where the signal vanishes.

    python -m experiments.xavier_uniform
"""

import torch
from torch import Tensor

from dl_lab.plotting.figures import curves
from experiments.support import builders
from experiments.support.findings import Report

TAKES = 7  # seconds on two cores
SOURCE = "https://proceedings.mlr.press/v9/glorot10a.html"
HE = "https://arxiv.org/abs/1502.01852"
DEPTH, WIDTH, BATCH, SEEDS = 20, 512, 256, 5
XAVIER = "initializer=xavier_uniform initializer.gain=1"
CASES = {  # activation, initializer, factor of the second moment per layer, source
    "linear, torch's default": ("identity", "initializer=default initializer.bias=0", 1 / 3, SOURCE),
    "linear, Xavier": ("identity", XAVIER, 1.0, SOURCE),
    "relu, Xavier": ("relu", XAVIER, 1 / 2, HE),
    "relu, He": ("relu", "initializer=kaiming_uniform", 1.0, HE),
}


def moments(activation: str, initializer: str, seed: int) -> tuple[Tensor, Tensor]:
    """The mean square of each layer's output, and of its gradient when the last layer's gradient is random."""
    settings = f"model.activation={activation} {initializer} seed={seed}"
    model = builders.plain_layers(settings, DEPTH, WIDTH, labels=["y"])
    hidden = builders.record_layers(model)
    generator = torch.Generator().manual_seed(seed)
    model(torch.randn(BATCH, WIDTH, generator=generator))
    top = torch.randn(BATCH, WIDTH, generator=generator)
    gradients = torch.autograd.grad(hidden[-1], hidden, top)
    return tuple(torch.stack([each.detach().double().square().mean() for each in some]) for some in (hidden, gradients))


def main() -> Report:
    report = Report("xavier_uniform", SOURCE)
    layers = torch.arange(1, DEPTH + 1)
    forward, backward = {}, {}
    for name, (activation, initializer, factor, source) in CASES.items():
        each = [moments(activation, initializer, seed) for seed in range(SEEDS)]
        for direction, lines, part in (("forward", forward, 0), ("backward", backward, 1)):
            values = torch.stack([both[part] for both in each])  # (seed, layer)
            lines[name] = (layers, values.mean(0))
            steps = values[:, 1:] / values[:, :-1] if part == 0 else values[:, :-1] / values[:, 1:]
            claim = f"{name}, {direction}: factor of the second moment per layer"
            factors = steps.log().mean(1).exp().tolist()  # the geometric mean over layers
            report.mean(claim, factors, f"{factor:.3f} ± 15 %", 0.85 * factor, 1.15 * factor, source)
            worst = float((steps.mean(0) / factor - 1).abs().max())
            claim = f"{name}, {direction}: factor in each of {DEPTH - 1} layers, mean of {SEEDS} seeds"
            report.holds(claim, worst <= 0.15, f"off by {worst:.1%} or less", f"{factor:.3f} ± 15 %", source)
    for tag, lines, what in (("forward", forward, "activations"), ("backward", backward, "gradients")):
        title = f"{tag.capitalize()} through {DEPTH} layers of {WIDTH}, mean of {SEEDS} seeds"
        report.figure(f"second_moment/{tag}", curves(lines, title, "layer", f"mean square of the {what}", log_y=True))
    return report


if __name__ == "__main__":
    main().finish()
