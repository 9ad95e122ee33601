"""Tensors: a block of memory, and how it is read: a shape, a stride for every dimension, an offset.

Claim: the number at index (i, j, ...) lies at offset + i * stride_0 + j * stride_1 + ..., so a transpose, a slice or a
row that repeats is the same memory read by other strides, and nothing is copied; shapes that differ are broadcast,
where sizes, counted from the last, are equal or 1; einsum says any product of tensors by the indices that it sums over
(Harris et al. 2020, Array programming with NumPy: https://doi.org/10.1038/s41586-020-2649-2).

    python -m experiments.tensors
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.figures import matrix
from experiments import parts
from experiments.proofs import Proof

TAKES = 3  # seconds on two cores
SOURCE = "https://doi.org/10.1038/s41586-020-2649-2"

# Of a matrix of 4 x 6, the same in torch and in NumPy, which is `m`. The last two cannot but copy.
READINGS: dict[str, Callable[[Any, Any], Any]] = {
    "as it is": lambda x, m: x,
    "transpose": lambda x, m: x.T,
    "slice [1:, ::2]": lambda x, m: x[1:, ::2],
    "reshape to 3 x 8": lambda x, m: x.reshape(3, 8),
    "every fifth of 2 x 12": lambda x, m: x.reshape(2, 12)[:, ::5],
    "row 0 broadcast to 5 x 6": lambda x, m: m.broadcast_to(x[0], (5, 6)),
    "transpose reshaped": lambda x, m: x.T.reshape(4, 6),
    "rows picked [[0, 2]]": lambda x, m: x[[0, 2]],
}
EINSUMS = "ij->ji ii-> ii->i ij->i i,j->ij ij,jk->ik bij,bjk->bik bi,oij,bj->bo bqhd,bkhd->bhqk"
SIZES = dict(zip("bdhijkoq", (2, 3, 4, 4, 5, 6, 3, 7), strict=True))  # of each index


def addresses(view: Tensor) -> Tensor:
    """Where in memory each number of a view lies, by offset and strides."""
    places = [torch.arange(size) * stride for size, stride in zip(view.shape, view.stride(), strict=True)]
    return view.storage_offset() + sum(torch.meshgrid(*places, indexing="ij"))


def check_views(proof: Proof) -> None:
    base, found, references, alike = parts.normal(4, 6), [], [], 0
    for name, reading in READINGS.items():
        view, reference = reading(base, torch), reading(base.numpy(), np)
        memory = torch.as_strided(view, (view.untyped_storage().nbytes() // 8,), (1,), 0)
        found.append(memory[addresses(view)].ravel())
        references.append(reference.ravel())
        written = base.clone()
        reading(written, torch)[0, 0] = 7.0
        shares = bool((written == 7.0).any())
        same_strides = tuple(8 * stride for stride in view.stride()) == reference.strides
        alike += same_strides and shares == np.shares_memory(base.numpy(), reference)
        if shares:
            title = f"Memory addresses of: {name}, strides {view.stride()}"
            proof.figure(f"memory/{name}", matrix(addresses(view), title, "column", "row", form="{:d}"))
    proof.equal("offset and strides find every number", torch.cat(found), np.concatenate(references), 0.0, "NumPy")
    claim = "strides, and what shares memory so that a write to it is seen in the base, are NumPy's"
    proof.holds(claim, alike == len(READINGS), f"{alike} of {len(READINGS)} ways to read a matrix", "all")


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The rule itself; None for shapes that do not go together."""
    length = max(len(a), len(b))
    pairs = list(zip((1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b, strict=True))
    return tuple(max(pair) for pair in pairs) if all(m == n or 1 in (m, n) for m, n in pairs) else None


def added(x: Any, y: Any) -> NDArray[np.float64] | None:
    """The sum, or None where the shapes are refused."""
    try:
        return np.asarray(x + y)
    except (RuntimeError, ValueError):  # torch's word for it, and NumPy's
        return None


def check_broadcasting(proof: Proof) -> None:
    random, alike = np.random.default_rng(0), 0
    shapes = [shape for dimensions in range(4) for shape in product((1, 2, 3), repeat=dimensions)]
    for a, b in product(shapes, shapes):
        x, y = random.normal(size=a), random.normal(size=b)
        ours, theirs, rule = added(torch.tensor(x), torch.tensor(y)), added(x, y), broadcast(a, b)
        if rule is None:
            alike += ours is None and theirs is None
        elif ours is not None and theirs is not None:
            alike += ours.shape == rule and np.array_equal(ours, theirs)
    claim = "the rule of broadcasting, written by hand, tells the shape or the refusal; the sums are equal"
    proof.holds(claim, alike == len(shapes) ** 2, f"{alike} of {len(shapes) ** 2} pairs of shapes", "NumPy")


def main() -> Proof:
    proof = Proof("tensors", SOURCE)
    check_views(proof)
    check_broadcasting(proof)
    ours, theirs = [], []
    for formula in EINSUMS.split():
        shapes = [[SIZES[index] for index in factor] for factor in formula.split("->")[0].split(",")]
        factors = [parts.normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
        ours.append(torch.einsum(formula, *factors).ravel())
        theirs.append(np.einsum(formula, *(factor.numpy() for factor in factors)).ravel())
    claim = f"einsum: {len(EINSUMS.split())} formulas from the trace to the scores of attention"
    proof.equal(claim, torch.cat(ours), np.concatenate(theirs), 1e-14, "NumPy")
    return proof


if __name__ == "__main__":
    main().report()
