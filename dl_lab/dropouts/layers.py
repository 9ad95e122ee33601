"""Dropout layers whose masks are a function of (seed, step, layer, index), so that a resumed run draws the same masks.

A builder receives its configuration and a probability, and returns one layer. All layers of a model share a `key` (2,)
int32 that changes with every step, and each has its number in the model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dl_lab.core import rng
from dl_lab.core.schema import BelowOne, Schema
from dl_lab.registry import DROPOUTS


class DropoutConfig(Schema):
    """The probability that a value is dropped: `p` between layers, `input_p` on the inputs."""

    p: BelowOne
    input_p: BelowOne


class NoneConfig(Schema):
    """No parameters."""


class Dropout(nn.Module):
    """Drops each value with probability p and divides the others by 1 - p (Srivastava et al. 2014). `p` is a float64
    tensor () in a stack whose members differ in it.
    """

    key: Tensor

    def __init__(self, p: float | Tensor):
        super().__init__()
        self.p, self.layer = p, 0
        self.register_buffer("key", torch.zeros(2, dtype=torch.int32), persistent=False)

    def mask_shape(self, shape: torch.Size) -> Sequence[int]:
        return shape

    def drops(self) -> bool:
        """Whether `forward` can drop values; a tensor `p` counts as above 0, because its value is not read here."""
        return self.training and (isinstance(self.p, Tensor) or self.p != 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (batch, ...) to the same shape; the identity during evaluation."""
        if not self.drops():
            return x
        keep = rng.keep_mask(self.key, self.mask_shape(x.shape), self.p, self.layer)
        scale = 1 / (1 - self.p)
        return x * keep * (scale.to(x.dtype) if isinstance(scale, Tensor) else scale)


class SpatialDropout(Dropout):
    """Drops whole channels of images (batch, channel, height, width) and of sequences (batch, time, channel), as
    Tompson et al. 2014 do (arXiv:1411.4280).
    """

    def mask_shape(self, shape: torch.Size) -> Sequence[int]:
        if len(shape) == 3:
            return (shape[0], 1, shape[2])
        return (*shape[:2], *(1 for _ in shape[2:]))


class AlphaDropout(Dropout):
    """Sets dropped values to the negative limit of selu and preserves mean 0 and variance 1 (Klambauer et al. 2017,
    arXiv:1706.02515, section "New dropout technique").
    """

    LIMIT = -1.7580993408473766  # -scale * alpha of selu

    def forward(self, x: Tensor) -> Tensor:
        """Map x (batch, ...) to the same shape; the identity during evaluation."""
        if not self.drops():
            return x
        keep = rng.keep_mask(self.key, x.shape, self.p, self.layer)
        scale = ((1 - self.p) * (1 + self.p * self.LIMIT**2)) ** -0.5
        shift = scale * self.p * self.LIMIT
        if isinstance(scale, Tensor):
            scale, shift = scale.to(x.dtype), shift.to(x.dtype)
        return torch.where(keep, x, self.LIMIT) * scale - shift


def number_layers(model: nn.Module, device: torch.device) -> Tensor:
    """Number the dropout layers of a model in order. Returns the key on `device` that all of them share."""
    key = torch.zeros(2, dtype=torch.int32, device=device)
    for number, layer in enumerate(module for module in model.modules() if isinstance(module, Dropout)):
        layer.layer, layer.key = number, key
    return key


@DROPOUTS.register("none", NoneConfig)
def none(config: NoneConfig, p: float) -> nn.Module:
    """No dropout."""
    return nn.Identity()


@DROPOUTS.register("dropout", DropoutConfig)
def dropout(config: DropoutConfig, p: float) -> nn.Module:
    """Drop single values."""
    return Dropout(p)


@DROPOUTS.register("alpha_dropout", DropoutConfig)
def alpha_dropout(config: DropoutConfig, p: float) -> nn.Module:
    """Dropout for selu."""
    return AlphaDropout(p)


@DROPOUTS.register("spatial", DropoutConfig)
def spatial(config: DropoutConfig, p: float) -> nn.Module:
    """Drop whole channels."""
    return SpatialDropout(p)
