"""What a user's model remembers in Python: neither a checkpoint nor a member of a stack holds it."""

import io
import pickle
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab.dropouts.layers import Dropout

USUAL = set(vars(nn.Module()))  # attributes of every module


class _Pickler(pickle.Pickler):
    """Pickles tensors by value, and functions by name and closure, so that equal states give equal bytes."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return tuple, ([str(value.dtype), tuple(value.shape), content],)
        if isinstance(value, FunctionType):
            closure = [cell.cell_contents for cell in value.__closure__ or ()]
            return tuple, ([value.__module__, value.__qualname__, closure, vars(value)],)
        return NotImplemented


def described(value: object) -> bytes:
    """The contents of an object as bytes; only its type if it has contents that cannot be pickled."""
    buffer = io.BytesIO()
    try:
        _Pickler(buffer).dump(value)
    except Exception:  # objects of users raise anything
        return repr(type(value)).encode()
    return buffer.getvalue()


def python_state(model: nn.Module) -> dict[str, bytes]:
    """What a model holds besides parameters and buffers, by attribute, except the probabilities of dropout."""
    return {
        f"{prefix}.{name}".lstrip("."): described(value)
        for prefix, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in USUAL and not (isinstance(module, Dropout) and name == "p")
    }
