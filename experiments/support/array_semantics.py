"""The rules of arrays, written by hand: where a number is in memory, and which shapes broadcast."""

from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def addresses(view: Tensor) -> NDArray[np.int64]:
    """The address of each number, counted in numbers: offset + i * stride_0 + j * stride_1 + ..."""
    return view.storage_offset() + np.tensordot(view.stride(), np.indices(view.shape), 1)


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The broadcast shape, or None: sizes, compared from the last, must be equal, 1 or missing."""
    pairs = list(zip_longest(reversed(a), reversed(b), fillvalue=1))
    return tuple(max(pair) for pair in reversed(pairs)) if all(m == n or 1 in (m, n) for m, n in pairs) else None


def added(x: Any, y: Any) -> tuple[tuple[int, ...] | None, Any]:
    """The shape and the numbers of the sum; None and None if the shapes do not broadcast."""
    try:
        return tuple((x + y).shape), (x + y).tolist()
    except (RuntimeError, ValueError):  # raised by torch and by NumPy
        return None, None
