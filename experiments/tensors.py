"""Tensors: a block of memory with a shape, a stride for each dimension and an offset.

Claim: the number at index (i, j, ...) is stored at offset + i * stride_0 + j * stride_1 + ... A transpose, a slice or a
repeated row is the same memory with other strides, and nothing is copied. Two shapes broadcast if their sizes, compared
from the last dimension, are equal or 1. einsum writes a product of tensors by naming the indices to sum over (Harris et
al. 2020, Array programming with NumPy: https://doi.org/10.1038/s41586-020-2649-2).

    python -m experiments.tensors
"""

from itertools import product

import numpy as np
import torch

from dl_lab.plotting.figures import matrix
from experiments.support import builders
from experiments.support.array_semantics import added, addresses, broadcast
from experiments.support.findings import Report

TAKES = 3  # seconds on two cores
SOURCE = "https://doi.org/10.1038/s41586-020-2649-2"

# Ways to index a 4 x 6 matrix, with the same code in torch and NumPy (`m`). The last two have to copy.
READINGS = {
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
SIZES = dict(zip("bdhijkoq", (2, 3, 4, 4, 5, 6, 3, 7), strict=True))  # of each einsum index


def check_views(report: Report) -> None:
    base, found, references, alike = builders.normal(4, 6), [], [], 0
    for name, reading in READINGS.items():
        view, reference = reading(base, torch), reading(base.numpy(), np)
        memory = view.as_strided((view.untyped_storage().nbytes() // 8,), (1,), 0)
        found.append(memory[addresses(view)].ravel())
        references.append(reference.ravel())
        written = base.clone()
        reading(written, torch)[0, 0] = 7.0
        shares = 7.0 in written
        same_strides = reference.strides == tuple(8 * stride for stride in view.stride())
        alike += same_strides and shares == np.shares_memory(base.numpy(), reference)
        if shares:
            title = f"Addresses of: {name}, strides {view.stride()}"
            report.figure(f"memory/{name}", matrix(addresses(view), title, "column", "row", form="{:d}"))
    claim = "offset and strides give the address of every number"
    report.equal(claim, torch.cat(found), np.concatenate(references), 0.0, "NumPy")
    claim = "strides and shared memory are the same as in NumPy"
    report.holds(claim, alike == len(READINGS), f"{alike} of {len(READINGS)} ways to index a matrix", "all")


def check_broadcasting(report: Report) -> None:
    alike = 0
    shapes = [shape for dimensions in range(4) for shape in product((1, 2, 3), repeat=dimensions)]
    for a, b in product(shapes, shapes):
        x, y = builders.normal(*a), builders.normal(*b, seed=1)
        ours, theirs = added(x, y), added(x.numpy(), y.numpy())
        alike += ours == theirs and ours[0] == broadcast(a, b)
    claim = "a hand-written broadcasting rule predicts the shape or the error, and the sums are equal"
    report.holds(claim, alike == len(shapes) ** 2, f"{alike} of {len(shapes) ** 2} pairs of shapes", "NumPy")


def main() -> Report:
    report = Report("tensors", SOURCE)
    check_views(report)
    check_broadcasting(report)
    ours, theirs = [], []
    for formula in EINSUMS.split():
        shapes = [[SIZES[index] for index in factor] for factor in formula.split("->")[0].split(",")]
        factors = [builders.normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
        ours.append(torch.einsum(formula, *factors).ravel())
        theirs.append(np.einsum(formula, *(factor.numpy() for factor in factors)).ravel())
    claim = f"einsum: {len(EINSUMS.split())} formulas, from the trace to attention scores"
    report.equal(claim, torch.cat(ours), np.concatenate(theirs), 1e-14, "NumPy")
    return report


if __name__ == "__main__":
    main().finish()
