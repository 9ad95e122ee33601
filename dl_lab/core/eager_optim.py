"""torch.optim without torch.compile.

torch's optimizers import the compiler (a second, and 200 MB) when they are made and at their first step, only to be
left out of it. Nothing here is compiled, so the methods below are called as they are written, without the decorators.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def leave_compiler_out() -> None:
    """Mark the methods of Optimizer that torch shields from the compiler as shielded already."""
    for method in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict):
        function = inspect.unwrap(method)
        if function is not method:
            vars(function).setdefault("__dynamo_disable", function)


def step(optimizer: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
    """optimizer.step(closure). Hooks registered on an optimizer of torch's are not called; there are none here."""
    kind = type(optimizer)
    take: Callable[..., Any] = inspect.unwrap(kind.step) if kind.__module__.startswith("torch.optim") else kind.step
    with torch.no_grad():
        return take(optimizer, closure)


def restore(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """optimizer.load_state_dict(saved), every number in the precision that it was saved in; torch gives some of them
    that of the parameter, and the run would not go on bit for bit.
    """
    optimizer.load_state_dict(saved)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in saved.get("state", {}).items():
        state = optimizer.state[parameters[index]]
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and state[name].dtype != value.dtype:
                state[name] = value.to(state[name].device, copy=True)


def zero_grad(optimizer: Optimizer) -> None:
    """optimizer.zero_grad()."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
