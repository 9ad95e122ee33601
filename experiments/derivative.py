"""Derivatives: four ways to one number, for every registered activation and loss.

Claim: autograd's derivative is exact to rounding, like that of the closed form (experiments/closed_forms.py). A central
difference is not: its best step is near eps^(1/3), where truncation and cancellation balance (Press et al. 2007,
Numerical Recipes, section 5.7). Im f(x + ih) / h subtracts nothing, so that its step may be 1e-30 (Squire & Trapp 1998:
https://doi.org/10.1137/S003614459631241X). Autograd of autograd gives second derivatives.

    python -m experiments.derivative
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from dl_lab.activations import ACTIVATIONS, Activation
from dl_lab.figures import curves
from dl_lab.registry import LOSSES
from experiments import closed_forms, parts
from experiments.proofs import Proof

TAKES = 6  # seconds on two cores
SOURCE = "https://doi.org/10.1137/S003614459631241X"
NUMERICAL_RECIPES = "https://numerical.recipes/book.html"
POINTS = torch.arange(-4.03, 4.0, 0.1, dtype=torch.float64)  # none within 0.03 of a kink, at 0, 1 and 3
ANALYTIC = ["identity", "tanh", "sigmoid", "silu"]  # and known to torch for complex numbers, as a complex step asks for


def autograd(function: Activation) -> Activation:
    """The derivative as a function, which has a derivative in turn."""
    return torch.func.grad(lambda points: function(points).sum())


def central(function: Activation, step: float = 6e-6) -> Activation:
    """Off by about step^2 + eps / step, which is least, some 4e-11, for a step of eps^(1/3)."""
    return lambda points: (function(points + step) - function(points - step)) / (2 * step)


def complex_step(function: Activation, step: float = 1e-30) -> Activation:
    return lambda points: function(torch.complex(points, torch.full_like(points, step))).imag / step


def passes_gradcheck(function: Activation, points: Tensor) -> bool:
    """torch's own comparison with central differences, of first and second derivatives."""
    points = points.clone().requires_grad_()
    return all(check(function, points, raise_exception=False) for check in (gradcheck, gradgradcheck))


def check_activations(proof: Proof) -> None:
    everything, names = f"all {len(ACTIVATIONS)} activations", list(ACTIVATIONS)
    missing = set(names) - set(closed_forms.ACTIVATIONS)
    proof.holds(f"{everything} have a closed form here", not missing, f"missing: {missing or 'none'}", "all")

    def by(way, names=names) -> Tensor:
        """What a way to make one function of another gives at POINTS, (activation, point)."""
        return torch.stack([way(ACTIVATIONS[name])(POINTS) for name in names])

    on_paper = [
        np.stack([closed_forms.activation(name, order, POINTS.numpy()) for name in names]) for order in (0, 1, 2)
    ]
    first, second = by(autograd), by(lambda function: autograd(autograd(function)))
    proof.equal(f"{everything}: values", by(lambda function: function), on_paper[0], 1e-14, "SciPy")
    proof.equal(f"{everything}: autograd", first, on_paper[1], 1e-14, "SymPy's derivative")
    proof.equal(f"{everything}: autograd of autograd", second, on_paper[2], 1e-13, "SymPy's second derivative")
    proof.equal(f"{everything}: autograd", first, by(central), 1e-9, "central difference")
    twice = by(lambda function: central(autograd(function)))
    proof.equal(f"{everything}: autograd of autograd", second, twice, 1e-9, "central difference of autograd's")
    stepped = by(complex_step, ANALYTIC)
    proof.equal(f"{', '.join(ANALYTIC)}: autograd", by(autograd, ANALYTIC), stepped, 1e-15, "complex step of 1e-30")
    passed = sum(passes_gradcheck(function, POINTS) for function in ACTIVATIONS.values())
    proof.holds(f"{everything}: gradcheck, gradgradcheck", passed == len(names), f"{passed} pass", "torch's checks")


def check_losses(proof: Proof) -> None:
    cases, first, second, passed = closed_forms.losses(), [], [], 0
    for case in cases:
        function = partial(parts.loss(case.settings, case.task), target=torch.tensor(case.targets))
        outputs = torch.tensor(case.outputs)
        first.append(torch.func.grad(function)(outputs))
        second.append(torch.autograd.functional.hessian(function, outputs).reshape(100, 100).diagonal().view(20, 5))
        passed += passes_gradcheck(function, outputs)
    everything = f"all {len(LOSSES.names())} losses"
    missing = set(LOSSES.names()) - {case.settings.split()[0].removeprefix("loss=") for case in cases}
    proof.holds(f"{everything} have a closed form here", not missing, f"missing: {missing or 'none'}", "all")
    on_paper = [[case.gradient for case in cases], [case.second for case in cases]]
    proof.equal(f"{everything}: autograd", torch.stack(first), on_paper[0], 1e-14, "closed form")
    proof.equal(f"{everything}: second derivative", torch.stack(second), on_paper[1], 1e-14, "closed form")
    proof.holds(f"{everything}: gradcheck, gradgradcheck", passed == len(cases), f"{passed} pass", "torch's checks")


def main() -> Proof:
    proof = Proof("derivative", SOURCE)
    check_activations(proof)
    check_losses(proof)
    steps, exact = np.logspace(-14, 0, 57), closed_forms.activation("tanh", 1, POINTS.numpy())
    lines = {"central difference": central, "complex step": complex_step}
    errors = {
        name: [np.abs(way(torch.tanh, step)(POINTS).numpy() - exact).max() for step in steps]
        for name, way in lines.items()
    }
    best = steps[np.argmin(errors["central difference"])]
    claim = "the best step of a central difference is eps^(1/3) = 6e-6, within a factor of ten"
    proof.holds(claim, 6e-7 <= best <= 6e-5, f"{best:.1e}", "6.1e-06", NUMERICAL_RECIPES)
    title = "Error of the derivative of tanh, the worst of 81 points"
    lines = {name: (steps, np.maximum(error, 1e-17)) for name, error in errors.items()}
    proof.figure("error", curves(lines, title, "step h", "absolute error", log_x=True, log_y=True))
    return proof


if __name__ == "__main__":
    main().report()
