"""Closed forms: every registered activation as a SymPy formula, every registered loss with its derivatives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

Array = NDArray[Any]

x = sympy.Symbol("x", real=True)
SCALE, ALPHA = sympy.Float("1.0507009873554804934", 20), sympy.Float("1.6732632423543772848", 20)  # of selu
ACTIVATIONS = {
    "identity": x,
    "relu": sympy.Piecewise((x, x > 0), (0, True)),
    "leaky_relu": sympy.Piecewise((x, x > 0), (x / 100, True)),
    "elu": sympy.Piecewise((x, x > 0), (sympy.exp(x) - 1, True)),
    "selu": SCALE * sympy.Piecewise((x, x > 0), (ALPHA * (sympy.exp(x) - 1), True)),
    "gelu": x * (1 + sympy.erf(x / sympy.sqrt(2))) / 2,
    "silu": x / (1 + sympy.exp(-x)),
    "mish": x * sympy.tanh(sympy.log(1 + sympy.exp(x))),
    "tanh": sympy.tanh(x),
    "sigmoid": 1 / (1 + sympy.exp(-x)),
    "softplus": sympy.log(1 + sympy.exp(x)),
    "softsign": sympy.Piecewise((x / (1 + x), x > 0), (x / (1 - x), True)),
    "hardtanh": sympy.Piecewise((-1, x < -1), (x, x < 1), (1, True)),
    "hardswish": sympy.Piecewise((0, x < -3), (x * (x + 3) / 6, x < 3), (x, True)),
}


def activation(name: str, order: int, points: Array) -> Array:
    """The derivative of the given order at the points; order 0 is the function itself."""
    values = sympy.lambdify(x, sympy.diff(ACTIVATIONS[name], x, order), ["scipy", "numpy"])(points)
    return np.broadcast_to(np.asarray(values, dtype=float), points.shape)


@dataclass(frozen=True)
class LossCase:
    """A loss, chosen by `settings`, summed over examples, with its derivatives by each output (example, output)."""

    settings: str
    task: str
    outputs: Array
    targets: Array
    gradient: Array
    second: Array

    @property
    def name(self) -> str:
        """The registered name of the loss."""
        return self.settings.split()[0].removeprefix("loss=")


def losses() -> list[LossCase]:
    """Every registered loss on 20 random examples of 5 outputs; no error is near the kinks at 0 and .7."""
    random = np.random.default_rng(0)
    outputs, classes = 2 * random.normal(size=(20, 5)), random.integers(5, size=20)
    error = random.permutation(0.05 * np.arange(100) - 2.53).reshape(20, 5)
    shares = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    truth, slope = np.eye(5)[classes], shares * (1 - shares)
    of_each, labels = 1 / (1 + np.exp(-outputs)), random.integers(2, size=(20, 5)).astype(np.float64)
    of_labels = of_each - labels, of_each * (1 - of_each)
    regressions = {
        "loss=mse": (2 * error, np.full((20, 5), 2.0)),
        "loss=auto": (2 * error, np.full((20, 5), 2.0)),
        "loss=l1": (np.sign(error), np.zeros((20, 5))),
        "loss=huber loss.delta=0.7": (np.clip(error, -0.7, 0.7), (np.abs(error) < 0.7) * 1.0),
    }
    classifications = {
        "loss=auto": (shares - truth, slope),
        "loss=cross_entropy loss.label_smoothing=0.1": (shares - 0.9 * truth - 0.1 / 5, slope),
    }
    return [
        LossCase("loss=binary_cross_entropy", "multilabel", outputs, labels, *of_labels),
        *(LossCase(name, "regression", outputs, outputs - error, *both) for name, both in regressions.items()),
        *(LossCase(name, "classification", outputs, classes, *both) for name, both in classifications.items()),
    ]
