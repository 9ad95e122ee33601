"""Call torch's optimizers without importing torch.compile.

The decorators on torch's optimizers import the compiler at construction and at the first step: 1.5 seconds and 150 MB
per process, as much as `import torch` itself takes. Optimizer steps are never compiled here, so these functions call
the undecorated methods.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def leave_compiler_out() -> None:
    """Mark the methods that Optimizer excludes from compilation as excluded, which otherwise imports the compiler."""
    for method in (Optimizer.add_param_group, Optimizer.state_dict, Optimizer.load_state_dict):
        function = inspect.unwrap(method)
        if function is not method:
            vars(function).setdefault("__dynamo_disable", function)


def step(optimizer: Optimizer, closure: Callable[[], Any] | None = None, kind: type[Optimizer] | None = None) -> Any:
    """Do kind.step(optimizer, closure), by default optimizer.step. Step hooks of torch's optimizers are not called."""
    kind = kind or type(optimizer)
    take: Callable[..., Any] = inspect.unwrap(kind.step) if kind.__module__.startswith("torch.optim") else kind.step
    with torch.no_grad():
        return take(optimizer, closure)


def restore(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Do optimizer.load_state_dict(saved), but keep the saved dtype of every tensor. torch casts some of them to the
    dtype of the parameter, after which a resumed run is not equal to the last bit. Raises TypeError for what torch
    accepts although the optimizer never made it: settings of another type, and tensors that do not fit a fused kernel.
    """
    before = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, before, strict=True):
        for name, value in own.items():
            if value is not None and _kind(group.get(name)) is not _kind(value):
                raise TypeError(f"{name} is of another type")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in saved.get("state", {}).items():
        state = optimizer.state[parameters[index]]
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and state[name].dtype != value.dtype:
                state[name] = value.to(state[name].device, copy=True)
    for group in optimizer.param_groups:
        if group.get("fused"):
            for parameter in group["params"]:
                _fit_fused(parameter, optimizer.state.get(parameter, {}))


def _fit_fused(parameter: torch.Tensor, state: dict[str, Any]) -> None:
    """Lay the state out as the parameter. Fused kernels read that much memory without looking at shapes or strides.
    Raises TypeError if a tensor has another shape or type.
    """
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            like = torch.empty(()) if name == "step" else parameter
            if (value.shape, value.dtype, value.layout) != (like.shape, like.dtype, like.layout):
                raise TypeError(f"{name} has the shape {tuple(value.shape)} instead of {tuple(like.shape)}")
            if value.stride() != like.stride():
                state[name] = torch.empty_like(parameter).copy_(value)


def _kind(value: object) -> type:
    return float if type(value) is int else type(value)


def zero_grad(optimizer: Optimizer) -> None:
    """Do optimizer.zero_grad()."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
