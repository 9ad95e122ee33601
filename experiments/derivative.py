"""Derivatives: every registered activation and loss, differentiated in four ways.

Claim: autograd's derivative is exact to rounding, as the closed form is (experiments/support/closed_forms.py). A
central difference is not: truncation and cancellation balance at a step near eps^(1/3) (Press et al. 2007, Numerical
Recipes, section 5.7). The complex step Im f(x + ih) / h subtracts nothing, so that h can be 1e-30 (Squire & Trapp 1998:
https://doi.org/10.1137/S003614459631241X). Autograd of autograd gives second derivatives.

    python -m experiments.derivative
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dl_lab.losses.losses import Loss
from dl_lab.nn.activations import ACTIVATIONS, Activation
from dl_lab.plotting.figures import curves
from dl_lab.registry import LOSSES
from experiments.support import builders, closed_forms
from experiments.support.findings import Report
from experiments.support.numerical_gradients import autograd, central, complex_step, passing

TAKES = 6  # seconds on two cores
SOURCE = "https://doi.org/10.1137/S003614459631241X"
NUMERICAL_RECIPES = "https://numerical.recipes/book.html"
POINTS = torch.arange(-4.03, 4.0, 0.1, dtype=torch.float64)  # at least 0.03 from the kinks at 0, 1 and 3
ANALYTIC = ["identity", "tanh", "sigmoid", "silu"]  # torch supports complex inputs, which a complex step needs


def at_points(transform: Callable[[Activation], Activation], names: Iterable[str] = ACTIVATIONS) -> Tensor:
    """Transform each named activation and evaluate the result at POINTS: (activation, point)."""
    return torch.stack([transform(ACTIVATIONS[name])(POINTS) for name in names])


def check_activations(report: Report, everything: str) -> None:
    report.covers(f"{everything} have a closed form", ACTIVATIONS, closed_forms.ACTIVATIONS)
    paper = [[closed_forms.activation(name, order, POINTS.numpy()) for name in ACTIVATIONS] for order in (0, 1, 2)]
    first, second = at_points(autograd), at_points(lambda function: autograd(autograd(function)))
    report.equal(f"{everything}: values", at_points(lambda function: function), paper[0], 1e-14, "SciPy")
    report.equal(f"{everything}: autograd", first, paper[1], 1e-14, "SymPy's derivative")
    report.equal(f"{everything}: autograd of autograd", second, paper[2], 1e-13, "SymPy's second derivative")
    report.equal(f"{everything}: autograd", first, at_points(central), 1e-9, "central difference")
    twice = at_points(lambda function: central(autograd(function)))
    report.equal(f"{everything}: autograd of autograd", second, twice, 1e-9, "central difference of autograd's")
    some, stepped = at_points(autograd, ANALYTIC), at_points(complex_step, ANALYTIC)
    report.equal(f"{', '.join(ANALYTIC)}: autograd", some, stepped, 1e-15, "complex step of 1e-30")
    passed = passing(ACTIVATIONS.values(), POINTS)
    report.holds(f"{everything}: gradcheck, gradgradcheck", passed == len(first), f"{passed} pass", "torch's checks")


def at_targets(loss: Loss, targets: Tensor, outputs: Tensor) -> Tensor:
    return loss(outputs, targets)


def check_losses(report: Report, everything: str) -> None:
    cases = closed_forms.losses()
    report.covers(f"{everything} have a closed form", LOSSES.names(), {case.name for case in cases})
    losses = [
        partial(at_targets, builders.loss(case.settings, case.task), torch.tensor(case.targets)) for case in cases
    ]
    outputs = torch.tensor(cases[0].outputs)  # the same for all
    first = torch.stack([autograd(loss)(outputs) for loss in losses])
    report.equal(f"{everything}: autograd", first, [case.gradient for case in cases], 1e-14, "closed form")
    hessians = torch.stack([torch.autograd.functional.hessian(loss, outputs) for loss in losses])
    second = torch.einsum("leoeo->leo", hessians)  # the diagonal: one second derivative per output
    report.equal(f"{everything}: second derivative", second, [case.second for case in cases], 1e-14, "closed form")
    passed = passing(losses, outputs)
    report.holds(f"{everything}: gradcheck, gradgradcheck", passed == len(cases), f"{passed} pass", "torch's checks")


def main() -> Report:
    report = Report("derivative", SOURCE)
    check_activations(report, f"all {len(ACTIVATIONS)} activations")
    check_losses(report, f"all {len(LOSSES.names())} losses")
    steps, exact = np.logspace(-14, 0, 57), closed_forms.activation("tanh", 1, POINTS.numpy())
    errors = {}
    for name, way in {"central difference": central, "complex step": complex_step}.items():
        errors[name] = [np.abs(way(torch.tanh, step)(POINTS).numpy() - exact).max() for step in steps]
    best = steps[np.argmin(errors["central difference"])]
    claim = "the best step of a central difference is eps^(1/3) = 6e-6, within a factor of ten"
    report.holds(claim, 6e-7 <= best <= 6e-5, f"{best:.1e}", "6.1e-06", NUMERICAL_RECIPES)
    title = "Largest error of the derivative of tanh at 81 points"
    lines = {name: (steps, np.maximum(error, 1e-17)) for name, error in errors.items()}
    report.figure("error", curves(lines, title, "step h", "absolute error", log_x=True, log_y=True))
    return report


if __name__ == "__main__":
    main().finish()
