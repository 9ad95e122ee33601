"""Ways to a derivative: each makes, of a function of every number by itself, the function of its slopes."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

Function = Callable[[Any], Any]  # of tensors; a central difference also of arrays and numbers


def autograd(function: Function) -> Function:
    """The chain rule as torch applies it; what it gives has a derivative in turn."""
    return torch.func.grad(lambda points: function(points).sum())


def central(function: Function, step: float = 6e-6) -> Function:
    """Off by about step^2 + eps / step, which is least, some 4e-11, for a step of eps^(1/3)."""
    return lambda points: (function(points + step) - function(points - step)) / (2 * step)


def complex_step(function: Function, step: float = 1e-30) -> Function:
    """Im f(x + ih) / h, for functions that take complex numbers."""
    return lambda points: function(points + 1j * step).imag / step


def passing(functions: Iterable[Function], points: Tensor) -> int:
    """How many pass torch's own comparisons with central differences, of first and of second derivatives."""
    points, checks = points.clone().requires_grad_(), (gradcheck, gradgradcheck)
    return sum(all(check(function, points, raise_exception=False) for check in checks) for function in functions)
