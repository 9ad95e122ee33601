"""Gradients of single examples, by torch.func, and of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


def per_example(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor, chunk: int = 256
) -> Tensor:
    """Gradients (example, parameter) of `loss` (a mean over a batch), each example being one batch."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss_of_one(weights: dict[str, Tensor], one: Tensor, target: Tensor) -> Tensor:
        return loss(functional_call(model, weights, (one[None],)), target[None])

    gradients = vmap(grad(loss_of_one), in_dims=(None, 0, 0), chunk_size=chunk)(weights, inputs, targets)
    return torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1)


def of_batch(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient (parameter,) of one batch, computed by backward()."""
    model.zero_grad()
    loss(model(inputs), targets).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
