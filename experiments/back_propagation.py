"""Back-propagation: the gradient of every weight, from one pass forward and one pass back.

Claim: with the error signal of a layer, dE/d(what it gives), known, the chain rule gives the gradients of its weights
and the error signal of the layer below (Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating
errors: https://doi.org/10.1038/323533a0). Two layers of logistic and softmax units, on handwritten digits; both passes
are written by hand, and what autograd does is drawn.

    python -m experiments.back_propagation
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dl_lab.build import build_data, build_model, build_task
from dl_lab.command_line import compose
from dl_lab.config import parse
from dl_lab.figures import graph, image_grid
from experiments.proofs import Proof

TAKES = 4  # seconds on two cores
SOURCE = "https://doi.org/10.1038/323533a0"
SETTINGS = "dataset=digits", "model=mlp", "model.hidden_sizes=[16]", "model.activation=sigmoid", "precision=float64"
SEEDS, BATCH = 5, 64

Array = NDArray[np.float64]


def forward(x: Array, w: dict[str, Array]) -> tuple[Array, Array]:
    """Images x (example, pixel) to hidden h (example, unit) and probabilities p (example, class)."""
    h = 1 / (1 + np.exp(-(x @ w["layers.0.weight"].T + w["layers.0.bias"])))
    powers = np.exp(h @ w["head.weight"].T + w["head.bias"])
    return h, powers / powers.sum(1, keepdims=True)


def backward(x: Array, y: Array, h: Array, p: Array, w: dict[str, Array]) -> dict[str, Array]:
    """Gradients of the mean cross-entropy against y (example, class), 1 for the class and 0 elsewhere."""
    d_logits = (p - y) / len(x)  # softmax and logarithm together
    d_hidden = d_logits @ w["head.weight"]  # the errors of all units above, weighted as they were reached
    d_sums = d_hidden * h * (1 - h)  # the slope of the logistic function
    return {
        "head.weight": d_logits.T @ h,
        "head.bias": d_logits.sum(0),
        "layers.0.weight": d_sums.T @ x,
        "layers.0.bias": d_sums.sum(0),
        "images": d_sums @ w["layers.0.weight"],
    }


def walk(loss: Tensor, model: nn.Module) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str]]]:
    """The graph that autograd goes through: a place for each function, below all that hand their gradient to it."""
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    depths, edges, names = {loss.grad_fn: 0}, set(), {}
    waiting = [loss.grad_fn]
    while waiting:
        function = waiting.pop(0)
        parameter = getattr(function, "variable", None)  # of a leaf, where the gradient is left
        kind = (
            parameters.get(id(parameter), "images")
            if parameter is not None
            else function.name().removesuffix("Backward0")
        )
        names.setdefault(function, kind if parameter is not None else f"{kind} {len(names) + 1}")
        for below, _ in function.next_functions:
            if below is not None:
                edges.add((function, below))
                if depths.get(below, -1) <= depths[function]:
                    depths[below] = depths[function] + 1
                    waiting.append(below)
    rows = {depth: [function for function in depths if depths[function] == depth] for depth in depths.values()}
    places = {
        names[function]: (place - (len(row) - 1) / 2, -float(depth))
        for depth, row in rows.items()
        for place, function in enumerate(row)
    }
    return places, [(names[start], names[end]) for start, end in edges]


def main() -> Proof:
    proof = Proof("back_propagation", SOURCE)
    by_hand, by_autograd, differences, slopes = [], [], [], []
    for seed in range(SEEDS):
        run = parse(compose(*SETTINGS, f"seed={seed}"))
        data = build_data(run)
        model, task = build_model(run, data.spec), build_task(run, data.spec)
        images, classes = next(iter(data.to(torch.device("cpu"), torch.float64).train.everything(BATCH)))
        images = data.prepare(images).flatten(1).requires_grad_()
        loss = task.objective(task.totals(model(images), classes), task.counts(classes))
        loss.backward()

        x, y = images.detach().numpy(), np.eye(10)[classes]
        w = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
        h, p = forward(x, w)
        gradients = backward(x, y, h, p, w)
        autograd = {name: parameter.grad for name, parameter in [*model.named_parameters(), ("images", images)]}
        by_hand += [gradients[name].ravel() for name in sorted(gradients)]
        by_autograd += [autograd[name].numpy().ravel() for name in sorted(gradients)]
        for name, weights in w.items():  # along the gradient itself: one number that hangs on all of them
            losses, length, kept = [], np.linalg.norm(gradients[name]), weights.copy()
            for side in (1, -1):
                weights[:] = kept + side * 1e-5 * gradients[name] / length
                losses.append(-np.log((forward(x, w)[1] * y).sum(1)).mean())
            weights[:] = kept
            differences.append((losses[0] - losses[1]) / 2e-5)
            slopes.append(length)
    numbers = sum(map(len, by_hand)) // SEEDS
    claim = f"all {numbers} gradients, of weights, biases and images, {SEEDS} seeds"
    proof.equal(claim, np.concatenate(by_hand), np.concatenate(by_autograd), 1e-12, "autograd")
    proof.equal("the slope along each gradient is its length", slopes, differences, 1e-8, "central difference")
    places, edges = walk(loss, model)
    leaves = places.keys() - {start for start, _ in edges}
    expected = {*w, "images"}
    claim = "the graph ends in every parameter and the images, and nowhere else"
    proof.holds(
        claim, leaves == expected, f"{len(leaves)} leaves of {len(places)} functions", f"{len(expected)} leaves"
    )
    proof.figure("graph", graph(places, edges, "What autograd goes through, from the loss down"))
    units = gradients["layers.0.weight"].reshape(-1, 8, 8)
    title = "Gradient of the weights of each hidden unit, as an image (blue -, red +)"
    proof.figure("gradients", image_grid(units, title, colours="coolwarm", shared=True))
    return proof


if __name__ == "__main__":
    main().report()
