"""Update rules that need a whole parameter: its rows and columns, its norm, or its singular values."""

from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

from dl_lab.vectorized.optimizers.stack import Stack, Step, Values, rule


def norm(blocks: Tensor) -> Tensor:
    """The norm of each run (run, 1, 1, 1) of blocks (run, batch, row, column)."""
    return torch.linalg.vector_norm(blocks, dim=(1, 2, 3), keepdim=True)


def as_blocks(tensor: Tensor) -> Tensor:
    """View (run, ..., row, column) as (run, batch, row, column); a vector is one row."""
    rows = tensor.shape[-2] if tensor.ndim > 2 else 1
    columns = tensor.shape[-1] if tensor.ndim > 1 else 1
    return tensor.view(len(tensor), -1, rows, columns)


@rule("adafactor", "lr beta2_decay eps d weight_decay", whole=True)
def adafactor(stack: Stack) -> Step:
    """Adafactor: mean squares by row and by column, and steps proportional to the scale of the parameter."""
    tiny = torch.finfo(stack.dtype).eps
    both_eps = [[tiny if eps is None else eps for eps in values["eps"]] for values in stack.values]
    eps1, eps2 = torch.tensor(both_eps, dtype=torch.float64).T
    decay = stack.number("beta2_decay")
    constants = stack.columns(eps1, eps1 * eps1, eps2, stack.number("d"))
    tiny_mean, tiny_square, least_size, clip = (column[..., None, None] for column in constants)
    states = [mean_squares(stack, number, shape) for number, shape in enumerate(stack.shapes)]

    def step(weights: list[Tensor], gradients: list[Tensor]) -> None:
        rate = -torch.minimum(stack.rate, stack.count.rsqrt())
        shrunk = 1 - stack.rate * stack.weight_decay
        new, rate, shrunk = (column[..., None, None] for column in stack.columns(stack.count**decay, rate, shrunk))
        for number, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            block, slope, state = as_blocks(weight), as_blocks(gradient), states[number]
            count = sqrt(prod(block.shape[1:]))
            scale = torch.maximum(norm(block) / count, least_size) * rate
            if stack.has_decay and (stack.decays is None or len(stack.shapes[number]) >= 2):
                block.mul_(shrunk)
            square = factored(slope, *state, new, tiny_mean) if len(state) == 2 else state[0].lerp_(slope * slope, new)
            update = torch.maximum(square, tiny_square).rsqrt_().mul_(slope)
            block.addcmul_(update, scale / (norm(update) / (count * clip)).clamp_(min=1))

    return step


def mean_squares(stack: Stack, number: int, shape: torch.Size) -> tuple[Tensor, ...]:
    """The state of a parameter: one number per row and per column, or per element if it has one dimension."""
    if len(shape) < 2:
        return (as_blocks(stack.zeros_for(number, "variance", tuple(shape))),)
    rows = stack.zeros_for(number, "row_var", (*shape[:-1], 1))
    columns = stack.zeros_for(number, "col_var", (*shape[:-2], 1, shape[-1]))
    return as_blocks(rows), as_blocks(columns)


def factored(gradient: Tensor, rows: Tensor, columns: Tensor, new: Tensor, tiny: Tensor) -> Tensor:
    """Update the mean squares of rows and columns; returns the estimate for each element."""
    for dim, means in ((-1, rows), (-2, columns)):
        lengths = torch.linalg.vector_norm(gradient, dim=dim, keepdim=True)
        means.lerp_(lengths.square_().div_(gradient.shape[dim]), new)
    return (rows * columns).div_(torch.maximum(rows.mean(dim=-2, keepdim=True), tiny))


def of_adamw(values: Values) -> dict[str, Any]:
    """The hyper-parameters of the AdamW that trains parameters that are not matrices."""
    own = {"lr": values["adamw_lr"], "betas": values["adamw_betas"], "weight_decay": values["weight_decay"]}
    return own | {"eps": 1e-8, "amsgrad": False}


def muon(stack: Stack) -> Step:
    """Muon: the running mean of gradients, orthogonalized so that all singular values are near 1."""
    nesterov, steps, coefficients = (stack.shared(field) for field in ("nesterov", "ns_steps", "ns_coefficients"))
    momentum = stack.number("momentum")
    new, kept, eps = (column.unsqueeze(-1) for column in stack.columns(1 - momentum, momentum, stack.number("eps")))
    buffers = [stack.zeros_for(number, "momentum_buffer", tuple(shape)) for number, shape in enumerate(stack.shapes)]
    ratios = [lr_ratio(shape, stack.shared("adjust_lr_fn")) for shape in stack.shapes]

    def step(weights: list[Tensor], gradients: list[Tensor]) -> None:
        shrunk = 1 - stack.rate * stack.weight_decay
        shrunk, *rates = (c.unsqueeze(-1) for c in stack.columns(shrunk, *(-stack.rate * ratio for ratio in ratios)))
        for weight, gradient, buffer, rate in zip(weights, gradients, buffers, rates, strict=True):
            buffer.lerp_(gradient, new)
            update = orthogonal(gradient.lerp(buffer, kept) if nesterov else buffer, coefficients, steps, eps)
            weight.mul_(shrunk).addcmul_(update.to(stack.dtype), rate)

    return step


if hasattr(torch.optim, "Muon"):  # torch 2.9
    numbers, choices = (
        "lr weight_decay momentum eps adamw_lr adamw_betas",
        "nesterov ns_coefficients ns_steps adjust_lr_fn",
    )
    rule("muon", numbers, choices, whole=True, counts=False, rest=of_adamw)(muon)


def orthogonal(matrices: Tensor, coefficients: list[float], steps: int, eps: Tensor) -> Tensor:
    """Apply Newton-Schulz steps to (run, row, column), or to one matrix, in bfloat16 and in torch's order.

    A few of 10,000 products of stacked matrices round differently than for a single matrix. In float64, where runs are
    compared to the last digits, the matrices are processed one by one, which takes ten times as long.
    """
    if matrices.dtype == torch.float64 and matrices.ndim == 3:
        return torch.stack([orthogonal(one, coefficients, steps, own) for one, own in zip(matrices, eps, strict=True)])
    first, second, third = coefficients
    add_product = torch.addmm if matrices.ndim == 2 else torch.baddbmm
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = (matrices.mT if tall else matrices).bfloat16()
    wide = wide / torch.maximum(torch.linalg.vector_norm(wide, dim=(-2, -1), keepdim=True), eps.bfloat16())
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = add_product(wide, add_product(gram, gram, gram, beta=second, alpha=third), wide, beta=first)
    return wide.mT if tall else wide


def lr_ratio(shape: torch.Size, adjust: str | None) -> float:
    """The factor on the lr of a matrix: keeps the scale of outputs, or matches the scale of AdamW's steps."""
    rows, columns = shape
    return 0.2 * sqrt(max(rows, columns)) if adjust == "match_rms_adamw" else sqrt(max(1, rows / columns))
