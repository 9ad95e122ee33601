"""What a user's code remembers in Python between steps: neither a checkpoint nor a member of a stack holds it."""

import io
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from hashlib import sha256
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OF_MODULES = set(vars(nn.Module()))  # attributes that torch sets
OF_OPTIMIZERS = re.compile("_.*|defaults|state|param_groups")
DATA = (bool, int, float, complex, str, bytes, list, tuple, dict, set, Tensor, np.ndarray)
NOT_THE_USERS = ("dl_lab.", "torch.", "builtins", "typing", "abc")
DEEPEST = 3  # objects in objects that cannot be pickled


class _Pickler(pickle.Pickler):
    """Pickles tensors by value, functions by name and closure, and `known` tensors, which are saved, by name."""

    def __init__(self, buffer: io.BytesIO, known: Mapping[int, str]):
        super().__init__(buffer)
        self._known = known

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            if id(value) in self._known:
                return str, (self._known[id(value)],)
            content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return tuple, ([str(value.dtype), tuple(value.shape), content],)
        if isinstance(value, FunctionType):
            closure = [cell.cell_contents for cell in value.__closure__ or ()]
            return tuple, ([value.__module__, value.__qualname__, closure, vars(value)],)
        return NotImplemented


def described(value: object, known: Mapping[int, str], depth: int = 0) -> str:
    """A digest of the contents of an object, as far as they can be pickled."""
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, known).dump(value)
    except Exception:  # objects of users raise anything
        parts = {name: getattr(value, name) for name in getattr(value, "__slots__", ()) if hasattr(value, name)}
        parts |= getattr(value, "__dict__", {})
        inner = sorted((name, described(part, known, depth + 1)) for name, part in parts.items() if depth < DEEPEST)
        return f"{type(value)} {inner}"
    return sha256(buffer.getvalue()).hexdigest()


def python_state(model: nn.Module, losses: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """A digest of every attribute of the model, and of the losses and the optimizer, that is not saved; and of the data
    in the classes and modules that define the model.
    """
    known = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    found = {f"{prefix}.{name}".lstrip("."): value for prefix, name, value in _attributes(model)}
    found |= {f"loss of {name}": loss for name, loss in losses.items()}
    if not type(optimizer).__module__.startswith(NOT_THE_USERS):
        found |= {
            f"optimizer.{name}": value for name, value in vars(optimizer).items() if not OF_OPTIMIZERS.fullmatch(name)
        }
    return {name: described(value, known) for name, value in found.items()}


def _attributes(model: nn.Module) -> Iterator[tuple[str, str, Any]]:
    for prefix, module in model.named_modules():
        yield from ((prefix, name, value) for name, value in vars(module).items() if name not in OF_MODULES)
    for owner in _owners(model):
        yield from ((owner.__name__, name, value) for name, value in _data_of(owner).items())


def _owners(model: nn.Module) -> Iterator[type | ModuleType]:
    """The user's classes that make up the model, and the modules that define them."""
    classes = dict.fromkeys(each for module in model.modules() for each in type(module).__mro__)
    for each in classes:
        if not each.__module__.startswith(NOT_THE_USERS):
            yield from (each, sys.modules[each.__module__])


def _data_of(owner: type | ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if isinstance(value, DATA) and not name.startswith("__")}


@contextmanager
def put_back(model: nn.Module) -> Iterator[None]:
    """Put the data in the classes and modules that define the model back at the end: copies of the model share them.
    What is inside a container's elements is not put back.
    """
    before = [(owner, _data_of(owner)) for owner in _owners(model)]
    copies = [{name: _copied(value) for name, value in data.items()} for _, data in before]
    try:
        yield
    finally:
        for (owner, data), copied in zip(before, copies, strict=True):
            for name in _data_of(owner).keys() - data.keys():
                delattr(owner, name)
            for name, value in data.items():
                if isinstance(value, list | dict | set):  # others may refer to it
                    value.clear()
                    value.extend(copied[name]) if isinstance(value, list) else value.update(copied[name])
                setattr(owner, name, value if isinstance(value, list | dict | set) else copied[name])


def _copied(value: Any) -> Any:
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else copy(value)
