"""Tensors: a block of memory, and how it is read: a shape, a stride for every dimension, an offset.

Claim: the number at index (i, j, ...) lies at offset + i * stride_0 + j * stride_1 + ..., so a transpose, a slice or a
window is the same memory read by other strides, and nothing is copied; shapes that differ are broadcast, where sizes,
counted from the last, are equal or 1; einsum says any product of tensors by the indices that it sums over (Harris et
al. 2020, Array programming with NumPy: https://doi.org/10.1038/s41586-020-2649-2). NumPy is the reference, in float64.

    python -m experiments.tensors
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from dl_lab.figures import matrix
from experiments.proofs import Proof

TAKES = 7  # seconds on two cores
SOURCE = "https://doi.org/10.1038/s41586-020-2649-2"

# The same in torch and in NumPy, of a matrix of 4 x 6; the first six are views, the others have to copy.
READINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Any], Any]]] = {
    "as it is": (lambda x: x, lambda x: x),
    "transpose": (lambda x: x.T, lambda x: x.T),
    "slice [1:, ::2]": (lambda x: x[1:, ::2], lambda x: x[1:, ::2]),
    "reshape to 3 x 8": (lambda x: x.reshape(3, 8), lambda x: x.reshape(3, 8)),
    "windows of 3 of row 0": (lambda x: x[0].unfold(0, 3, 1), lambda x: sliding_window_view(x[0], 3)),
    "row 0 expanded to 5 x 6": (lambda x: x[0].expand(5, 6), lambda x: np.broadcast_to(x[0], (5, 6))),
    "transpose reshaped": (lambda x: x.T.reshape(4, 6), lambda x: x.T.reshape(4, 6)),
    "rows picked [[0, 2]]": (lambda x: x[[0, 2]], lambda x: x[[0, 2]]),
}
EINSUMS = {  # and the shapes they are tried on
    "ij->ji": [(3, 4)],
    "ii->": [(4, 4)],
    "ii->i": [(4, 4)],
    "ij->i": [(3, 4)],
    "i,j->ij": [(3,), (4,)],
    "ij,jk->ik": [(3, 4), (4, 5)],
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "bi,oij,bj->bo": [(6, 3), (2, 3, 4), (6, 4)],
    "bqhd,bkhd->bhqk": [(2, 5, 3, 4), (2, 6, 3, 4)],  # the scores of attention
}


def addresses(view: Tensor) -> Tensor:
    """Where in memory each number of a view lies, by offset and strides."""
    places = [torch.arange(size) * stride for size, stride in zip(view.shape, view.stride(), strict=True)]
    return view.storage_offset() + sum(torch.meshgrid(*places, indexing="ij"))


def check_views(proof: Proof) -> None:
    base = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, references, as_numpy = [], [], []
    for name, (ours, theirs) in READINGS.items():
        view, reference = ours(base), theirs(base.numpy())
        memory = torch.as_strided(view, (view.untyped_storage().nbytes() // 8,), (1,), 0)
        found.append(memory[addresses(view)].ravel())
        references.append(reference.ravel())
        shares = view.untyped_storage().data_ptr() == base.untyped_storage().data_ptr()
        written = base.clone()
        ours(written)[0, 0] = 7.0
        same_strides = tuple(8 * stride for stride in view.stride()) == reference.strides
        same_memory = shares == np.shares_memory(base.numpy(), reference) == bool((written == 7.0).any())
        as_numpy.append(same_strides and same_memory)
        if shares:
            title = f"Memory addresses of: {name}, strides {view.stride()}"
            proof.figure(f"memory/{name}", matrix(addresses(view), title, "column", "row", form="{:d}"))
    proof.equal("offset and strides find every number", torch.cat(found), np.concatenate(references), 0.0, "NumPy")
    claim = "strides, and what shares memory so that a write to it is seen in the base, are NumPy's"
    proof.holds(claim, all(as_numpy), f"{sum(as_numpy)} of {len(READINGS)} ways to read a matrix", "all")


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The rule itself; None for shapes that do not go together."""
    length = max(len(a), len(b))
    pairs = list(zip((1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b, strict=True))
    return tuple(max(pair) for pair in pairs) if all(m == n or 1 in (m, n) for m, n in pairs) else None


def check_broadcasting(proof: Proof) -> None:
    shapes = [shape for dimensions in range(4) for shape in product((1, 2, 3), repeat=dimensions)]
    matches = 0
    for a, b in product(shapes, shapes):
        x, y = np.random.default_rng(0).normal(size=a), np.random.default_rng(1).normal(size=b)
        sums = []
        for first, second in ((torch.tensor(x), torch.tensor(y)), (x, y)):
            with suppress(RuntimeError, ValueError):  # shapes that torch, and that NumPy, refuses
                sums.append(np.asarray(first + second))
        rule = broadcast(a, b)
        fits = len(sums) == 2 and sums[0].shape == rule and np.array_equal(*sums)
        matches += not sums if rule is None else fits
    claim = "the rule of broadcasting, written by hand, tells the shape or the refusal; the sums are equal"
    proof.holds(claim, matches == len(shapes) ** 2, f"{matches} of {len(shapes) ** 2} pairs of shapes", "NumPy")


def main() -> Proof:
    proof = Proof("tensors", SOURCE)
    check_views(proof)
    check_broadcasting(proof)
    generator = torch.Generator().manual_seed(1)
    results, references = [], []
    for formula, shapes in EINSUMS.items():
        factors = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
        results.append(torch.einsum(formula, *factors).ravel())
        references.append(np.einsum(formula, *(factor.numpy() for factor in factors)).ravel())
    claim = f"einsum: {len(EINSUMS)} formulas from the trace to the scores of attention"
    proof.equal(claim, torch.cat(results), np.concatenate(references), 1e-14, "NumPy")
    return proof


if __name__ == "__main__":
    main().report()
