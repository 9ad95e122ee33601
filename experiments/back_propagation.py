"""Back-propagation: the gradient of every weight from one forward and one backward pass.

Claim: given dE/d(output) of a layer, the chain rule yields the gradients of its weights and dE/d(output) of the layer
below (Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors:
https://doi.org/10.1038/323533a0). The network has a layer of logistic units and one of softmax units, and reads
handwritten digits. Both passes are written by hand, and the graph of autograd is drawn.

    python -m experiments.back_propagation
"""

import numpy as np
import torch
from numpy.typing import NDArray

from dl_lab.plotting.figures import graph, image_grid
from experiments.support import builders
from experiments.support.autograd_graph import walk
from experiments.support.findings import Report
from experiments.support.numerical_gradients import central

TAKES = 4  # seconds on two cores
SOURCE = "https://doi.org/10.1038/323533a0"
SETTINGS = "dataset=digits model=mlp model.hidden_sizes=[16] model.activation=sigmoid precision=float64"
SEEDS, BATCH = 5, 64

Array = NDArray[np.float64]


def forward(x: Array, w: dict[str, Array]) -> tuple[Array, Array]:
    """Map images x (example, pixel) to hidden h (example, unit) and probabilities p (example, class)."""
    h = 1 / (1 + np.exp(-(x @ w["layers.0.weight"].T + w["layers.0.bias"])))
    powers = np.exp(h @ w["head.weight"].T + w["head.bias"])
    return h, powers / powers.sum(1, keepdims=True)


def backward(x: Array, y: Array, h: Array, p: Array, w: dict[str, Array]) -> dict[str, Array]:
    """Gradients of the mean cross-entropy for one-hot targets y (example, class)."""
    d_logits = (p - y) / len(x)  # of softmax and cross-entropy together
    d_hidden = d_logits @ w["head.weight"]  # errors of the layer above, weighted by the weights to it
    d_sums = d_hidden * h * (1 - h)  # derivative of the logistic function
    return {
        "head.weight": d_logits.T @ h,
        "head.bias": d_logits.sum(0),
        "layers.0.weight": d_sums.T @ x,
        "layers.0.bias": d_sums.sum(0),
        "images": d_sums @ w["layers.0.weight"],
    }


def slope_along(direction: Array, name: str, x: Array, y: Array, w: dict[str, Array]) -> float:
    """The slope of the loss when w[name] moves along `direction`: it depends on every entry of the gradient."""

    def loss(distance: float) -> float:
        return -np.log((forward(x, w | {name: w[name] + distance * direction})[1] * y).sum(1)).mean()

    return central(loss, step=1e-5)(0.0)


def main() -> Report:
    report = Report("back_propagation", SOURCE)
    by_hand, by_autograd, lengths, slopes = [], [], [], []
    for seed in range(SEEDS):
        model, images, classes = builders.model_and_examples(f"{SETTINGS} seed={seed}", BATCH)
        images = images.flatten(1).requires_grad_()
        leaves = {**dict(model.named_parameters()), "images": images}
        loss = torch.nn.functional.cross_entropy(model(images), classes)
        loss.backward()
        x, y = images.detach().numpy(), np.eye(10)[classes]
        w = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
        gradients = backward(x, y, *forward(x, w), w)
        by_hand += [gradients[name].ravel() for name in leaves]
        by_autograd += [leaf.grad.numpy().ravel() for leaf in leaves.values()]
        for name in w:
            lengths.append(np.linalg.norm(gradients[name]))
            slopes.append(slope_along(gradients[name] / lengths[-1], name, x, y, w))
    claim = f"all {sum(map(len, by_hand)) // SEEDS} gradients of weights, biases and images, {SEEDS} seeds"
    report.equal(claim, np.concatenate(by_hand), np.concatenate(by_autograd), 1e-12, "autograd")
    report.equal("the slope along each gradient is its norm", lengths, slopes, 1e-8, "central difference")
    places, edges = walk(loss, leaves)
    ends = places.keys() - {start for start, _ in edges}
    claim, measured = "the leaves of the graph are the parameters and the images", f"{len(ends)} leaves"
    report.holds(claim, ends == leaves.keys(), f"{measured} of {len(places)} functions", f"{len(leaves)} leaves")
    report.figure("graph", graph(places, edges, "The graph of autograd, from the loss to the leaves"))
    units = gradients["layers.0.weight"].reshape(-1, 8, 8)
    title = "Gradient of the weights of each hidden unit, as an image (blue -, red +)"
    report.figure("gradients", image_grid(units, title, colors="coolwarm", shared=True))
    return report


if __name__ == "__main__":
    main().finish()
