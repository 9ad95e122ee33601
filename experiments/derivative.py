"""Derivatives: four ways to one number, for every registered activation and loss.

Claim: autograd's derivative is exact to rounding, like that of the closed form; a central difference is not, its best
step is near eps^(1/3), where truncation and cancellation balance (Press et al. 2007, Numerical Recipes, section 5.7);
Im f(x + ih) / h subtracts nothing, so that its step may be 1e-30 (Squire & Trapp 1998:
https://doi.org/10.1137/S003614459631241X). Autograd of autograd gives second derivatives.

Closed forms are differentiated by SymPy. The complex step asks for a function that is analytic, and that torch computes
for complex numbers: identity, tanh, sigmoid and silu. All points are 0.03 or more from the kinks, at 0, 1 and 3, where
there is no derivative to compare.

    python -m experiments.derivative
"""

import numpy as np
import sympy
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from dl_lab.activations import ACTIVATIONS, Activation
from dl_lab.command_line import compose
from dl_lab.config import parse
from dl_lab.figures import curves
from dl_lab.registry import LOSSES
from experiments.proofs import Proof

TAKES = 15  # seconds on two cores
SOURCE = "https://doi.org/10.1137/S003614459631241X"
POINTS = torch.arange(-4.03, 4.0, 0.1, dtype=torch.float64)
ANALYTIC = ("identity", "tanh", "sigmoid", "silu")

x = sympy.Symbol("x", real=True)
SCALE, ALPHA = sympy.Float("1.0507009873554804934", 20), sympy.Float("1.6732632423543772848", 20)  # of selu
FORMULAS = {
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


def closed_form(name: str, order: int) -> np.ndarray:
    values = sympy.lambdify(x, sympy.diff(FORMULAS[name], x, order), ["scipy", "numpy"])(POINTS.numpy())
    return np.broadcast_to(np.asarray(values, dtype=float), POINTS.shape)


def by_autograd(function: Activation, points: Tensor) -> Tensor:
    """The derivative at every point, itself a function that can be differentiated."""
    points = points if points.requires_grad else points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(points).sum(), points, create_graph=True)
    return slope if slope.requires_grad else slope + 0 * points  # that of a linear function hangs on nothing


def central(function: Activation, points: Tensor, step: float) -> Tensor:
    return (function(points + step) - function(points - step)).detach() / (2 * step)


def complex_step(function: Activation, points: Tensor, step: float = 1e-30) -> Tensor:
    return function(torch.complex(points, torch.full_like(points, step))).imag / step


def checked(function: Activation, points: Tensor) -> bool:
    """torch's own comparison with central differences, of first and second derivatives."""
    return all(check(function, points, raise_exception=False) for check in (gradcheck, gradgradcheck))


def check_activations(proof: Proof) -> None:
    covered = FORMULAS.keys() & ACTIVATIONS.keys()
    everything = f"all {len(ACTIVATIONS)} activations"
    proof.holds(f"{everything} have a closed form here", covered == ACTIVATIONS.keys(), f"{len(covered)}", "all")
    functions = {name: ACTIVATIONS[name] for name in sorted(covered)}
    slopes = {name: (lambda z, f=function: by_autograd(f, z)) for name, function in functions.items()}

    def exact(order: int) -> np.ndarray:
        return np.stack([closed_form(name, order) for name in functions])

    values, first, second = (
        torch.stack([f(POINTS) for f in functions.values()]),
        torch.stack([f(POINTS) for f in slopes.values()]),
        torch.stack([by_autograd(f, POINTS.clone().requires_grad_()) for f in slopes.values()]),
    )
    proof.equal(f"{everything}: values", values, exact(0), 1e-14, "SciPy")
    proof.equal(f"{everything}: autograd", first, exact(1), 1e-14, "SymPy's derivative")
    proof.equal(f"{everything}: autograd of autograd", second, exact(2), 1e-13, "SymPy's second derivative")
    step = 6e-6  # about eps^(1/3), which leaves an error of about eps^(2/3) = 4e-11
    differences = torch.stack([central(f, POINTS, step) for f in functions.values()])
    proof.equal(f"{everything}: autograd", first, differences, 1e-9, "central difference")
    differences = torch.stack([central(f, POINTS, step) for f in slopes.values()])
    proof.equal(f"{everything}: autograd of autograd", second, differences, 1e-9, "central difference of autograd's")
    stepped = torch.stack([complex_step(functions[name], POINTS) for name in ANALYTIC])
    ours = torch.stack([by_autograd(functions[name], POINTS) for name in ANALYTIC])
    proof.equal(f"{', '.join(ANALYTIC)}: autograd", ours, stepped, 1e-15, "complex step of 1e-30")
    inputs = POINTS.clone().requires_grad_()
    passed = sum(checked(f, inputs) for f in functions.values())
    proof.holds(f"{everything}: gradcheck, gradgradcheck", passed == len(functions), f"{passed} pass", "torch's checks")


def check_losses(proof: Proof) -> None:
    """Gradient and diagonal of the second derivative, of losses as they are registered, summed over 20 examples."""
    generator = np.random.default_rng(0)
    outputs, classes = 2 * generator.normal(size=(20, 5)), generator.integers(5, size=20)
    error = generator.permutation(0.05 * np.arange(100) - 2.53).reshape(20, 5)  # 0.02 and more from 0 and 0.7
    targets = outputs - error
    powers = np.exp(outputs)
    shares = powers / powers.sum(1, keepdims=True)
    truth, flat = np.eye(5)[classes], np.full((20, 5), 1 / 5)
    expected = {
        ("mse", "diabetes"): (2 * error, np.full_like(error, 2)),
        ("auto", "diabetes"): (2 * error, np.full_like(error, 2)),
        ("l1", "diabetes"): (np.sign(error), np.zeros_like(error)),
        ("huber loss.delta=0.7", "diabetes"): (np.clip(error, -0.7, 0.7), (np.abs(error) < 0.7) * 1.0),
        ("auto", "digits"): (shares - truth, shares * (1 - shares)),
        ("cross_entropy loss.label_smoothing=0.1", "digits"): (
            shares - 0.9 * truth - 0.1 * flat,
            shares * (1 - shares),
        ),
    }
    names = {loss.split()[0] for loss, _ in expected}
    first, second, passed = [], [], 0
    for loss, dataset in expected:
        run = parse(compose(*f"loss={loss} dataset={dataset}".split()))
        criterion = run.loss.entry.build(run.loss.config, next(iter(run.dataset.entry.tasks)))
        aim = torch.tensor(classes if dataset == "digits" else targets)
        given = torch.tensor(outputs, requires_grad=True)

        def function(z: Tensor, criterion=criterion, aim=aim) -> Tensor:
            return criterion(z, aim)

        first.append(by_autograd(function, given).detach())
        hessian = torch.func.hessian(function)(given.detach()).view(100, 100)
        second.append(hessian.diagonal().view(20, 5))
        passed += checked(function, given)
    everything = f"all {len(names)} losses"
    proof.holds(f"{everything} have a closed form here", names == set(LOSSES.names()), ", ".join(sorted(names)), "all")
    proof.equal(f"{everything}: autograd", torch.stack(first), [e for e, _ in expected.values()], 1e-14, "closed form")
    proof.equal(
        f"{everything}: second derivative", torch.stack(second), [e for _, e in expected.values()], 1e-14, "closed form"
    )
    proof.holds(f"{everything}: gradcheck, gradgradcheck", passed == len(expected), f"{passed} pass", "torch's checks")


def main() -> Proof:
    proof = Proof("derivative", SOURCE)
    check_activations(proof)
    check_losses(proof)
    steps = np.logspace(-14, 0, 57)
    exact = closed_form("tanh", 1)
    errors = [np.abs(central(torch.tanh, POINTS, step).numpy() - exact).max() for step in steps]
    complex_errors = [np.abs(complex_step(torch.tanh, POINTS, step).numpy() - exact).max() for step in steps]
    best, expected = steps[int(np.argmin(errors))], np.finfo(float).eps ** (1 / 3)
    claim = "the best step of a central difference is eps^(1/3) = 6e-6, within a factor of ten"
    numerical = "https://numerical.recipes/book.html"
    proof.holds(claim, 0.1 <= best / expected <= 10, f"{best:.1e}", "6.1e-06", numerical)
    lines = {"central difference": (steps, errors), "complex step": (steps, np.maximum(complex_errors, 1e-17))}
    title = "Error of the derivative of tanh, the worst of 81 points"
    proof.figure("error", curves(lines, title, "step h", "absolute error", log_x=True, log_y=True))
    return proof


if __name__ == "__main__":
    main().report()
