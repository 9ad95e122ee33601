"""The rules of arrays by hand: where in memory a number lies, and which shapes go together; and what a library says."""

from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def addresses(view: Tensor) -> NDArray[np.int64]:
    """Of each number, counted in numbers: offset + i * stride_0 + j * stride_1 + ..."""
    return view.storage_offset() + np.tensordot(view.stride(), np.indices(view.shape), 1)


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of both together, or None: sizes, counted from the last, are equal, or 1, or not there."""
    pairs = list(zip_longest(reversed(a), reversed(b), fillvalue=1))
    return tuple(max(pair) for pair in reversed(pairs)) if all(m == n or 1 in (m, n) for m, n in pairs) else None


def added(x: Any, y: Any) -> tuple[tuple[int, ...] | None, Any]:
    """The shape of the sum and its numbers; no shape where it is refused."""
    try:
        return tuple((x + y).shape), (x + y).tolist()
    except (RuntimeError, ValueError):  # torch's word for it, and NumPy's
        return None, None
