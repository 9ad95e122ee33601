"""Ways to differentiate an elementwise function; each returns the derivative as a function."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

Function = Callable[[Any], Any]  # of tensors; `central` also accepts arrays and numbers


def autograd(function: Function) -> Function:
    """The chain rule as torch applies it; the result can be differentiated again."""
    return torch.func.grad(lambda points: function(points).sum())


def central(function: Function, step: float = 6e-6) -> Function:
    """Central difference; its error, about step^2 + eps / step, is smallest (4e-11) for a step of eps^(1/3)."""
    return lambda points: (function(points + step) - function(points - step)) / (2 * step)


def complex_step(function: Function, step: float = 1e-30) -> Function:
    """Im f(x + ih) / h, for functions of complex numbers."""
    return lambda points: function(points + 1j * step).imag / step


def passing(functions: Iterable[Function], points: Tensor) -> int:
    """The number of functions that pass both gradcheck and gradgradcheck of torch."""
    points, checks = points.clone().requires_grad_(), (gradcheck, gradgradcheck)
    return sum(all(check(function, points, raise_exception=False) for check in checks) for function in functions)
