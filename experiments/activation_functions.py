"""Activation functions: every registered one with its derivative, and how 50 layers of them carry a signal.

Claim: the slope of the logistic function is 1/4 at most, so that a gradient that comes down through 50 layers of it
dies on its way (Bengio, Simard & Frasconi 1994: https://doi.org/10.1109/72.279181; Glorot & Bengio 2010:
https://proceedings.mlr.press/v9/glorot10a.html); that of tanh is 1 at most. selu, with weights of variance 1 / fan_in,
draws every layer to mean 0 and variance 1: from inside [-0.1, 0.1] and [0.8, 1.5] no layer leaves these (Klambauer et
al. 2017, theorem 1: https://arxiv.org/abs/1706.02515).

    python -m experiments.activation_functions
"""

import numpy as np
import scipy.special
import torch
from torch import Tensor

from dl_lab.activations import ACTIVATIONS
from dl_lab.build import build_model
from dl_lab.command_line import compose
from dl_lab.config import parse
from dl_lab.figures import curves
from dl_lab.specs import DataSpec, Head
from experiments.proofs import Proof

TAKES = 24  # seconds on two cores
SOURCE = "https://arxiv.org/abs/1706.02515"
GLOROT = "https://proceedings.mlr.press/v9/glorot10a.html"
DEPTH, WIDTH, BATCH, SEEDS = 50, 256, 128, 3
POINTS = torch.linspace(-5, 5, 2001, dtype=torch.float64)
# Each with the initialisation that was made for it.
PAIRS = {
    "selu": "lecun_normal",
    "relu": "kaiming_normal",
    "tanh": "xavier_normal",
    "sigmoid": "xavier_normal",
    "identity": "lecun_normal",
}


def derivative(name: str) -> Tensor:
    """At POINTS, by autograd."""
    points = POINTS.clone().requires_grad_()
    return torch.autograd.grad(ACTIVATIONS[name](points).sum(), points)[0]


def carry(activation: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of what every layer of 50 gives for normal inputs, and the norm of its weights' gradient."""
    spec = DataSpec(
        kind="features",
        input_shape=(WIDTH,),
        heads=(Head(name="class", task="classification", labels=tuple("0123456789")),),
    )
    settings = f"model=deep_nn model.depth={DEPTH} model.width={WIDTH} model.normalization=none model.residual=false"
    choices = f"model.activation={activation} initializer={PAIRS[activation]} precision=float64 seed={seed}"
    model = build_model(parse(compose(*settings.split(), *choices.split())), spec)
    hidden: list[Tensor] = []
    for dropout in model.dropouts:  # each stands right behind an activation
        dropout.register_forward_hook(lambda _, __, output: hidden.append(output.detach()))
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(BATCH, WIDTH, dtype=torch.float64, generator=generator)
    classes = torch.randint(10, (BATCH,), generator=generator)
    torch.nn.functional.cross_entropy(model(inputs), classes).backward()
    norms = torch.stack([layer.weight.grad.norm() for layer in model.layers])
    return torch.stack([h.mean() for h in hidden]), torch.stack([h.var() for h in hidden]), norms


def main() -> Proof:
    proof = Proof("activation_functions", SOURCE)
    slopes = {name: derivative(name) for name in ACTIVATIONS}
    for name, slope in slopes.items():
        lines = {name: (POINTS, ACTIVATIONS[name](POINTS)), "its derivative": (POINTS, slope)}
        proof.figure(f"activation/{name}", curves(lines, name, "x", "value"))
    proof.equal("the steepest slope of sigmoid is 1/4", slopes["sigmoid"].max(), 0.25, 1e-15, "closed form")
    proof.equal("that of tanh is 1", slopes["tanh"].max(), 1.0, 1e-15, "closed form")
    share = scipy.special.expit(POINTS.numpy())
    proof.equal("sigmoid's slope is s (1 - s)", slopes["sigmoid"], share * (1 - share), 1e-15, "SciPy")

    carried = {name: [carry(name, seed) for seed in range(SEEDS)] for name in PAIRS}
    means, variances, norms = (
        {name: torch.stack([run[part] for run in runs]) for name, runs in carried.items()} for part in range(3)
    )
    for what, values, low, high in (("mean", means["selu"], -0.1, 0.1), ("variance", variances["selu"], 0.8, 1.5)):
        measured = f"{values.min():.3g} to {values.max():.3g} ({SEEDS} seeds)"
        holds = low <= values.min() and values.max() <= high
        proof.holds(f"selu: {what} of each of {DEPTH} layers", holds, measured, f"{low} to {high}")
    for name in ("selu", "sigmoid"):
        ratios = norms[name][:, 0] / norms[name][:, -1]
        per_layer = (ratios ** (1 / (DEPTH - 1))).tolist()
        if name == "selu":
            claim = f"selu: the gradient of layer 1 is that of layer {DEPTH}, within a factor of ten"
            proof.mean(claim, ratios.tolist(), "0.1 to 10", 0.1, 10)
        else:
            claim = "sigmoid: a layer leaves at most 1/4 of the gradient, which 50 of them shrink to nothing"
            proof.mean(claim, per_layer, "at most 0.25 a layer", at_most=0.25, source=GLOROT)
    layers = np.arange(1, DEPTH + 1)
    for tag, title, y, values in (
        ("carried/signal", "Signal through 50 layers", "variance of the activations", variances),
        ("carried/gradient", "Gradient through 50 layers", "norm of the gradient of the weights", norms),
    ):
        lines = {f"{name}, {PAIRS[name]}": (layers, each.mean(0)) for name, each in values.items()}
        proof.figure(tag, curves(lines, f"{title}, mean of {SEEDS} seeds", "layer", y, log_y=True))
    return proof


if __name__ == "__main__":
    main().report()
