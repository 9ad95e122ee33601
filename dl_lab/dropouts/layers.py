"""Dropout whose masks are a function of (seed, step, layer, index), so that a run resumes with the same ones.

A builder takes its configuration and a probability, and gives one layer. Every layer has a `key` (2,) int32, set anew
for each step by `set_key`, and its number in the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dl_lab.core import rng
from dl_lab.core.errors import BELOW_ONE, check
from dl_lab.registry import DROPOUTS


@dataclass(frozen=True, kw_only=True)
class DropoutConfig:
    """`p` between layers, `input_p` on the inputs: the probability that a value is dropped."""

    p: float
    input_p: float

    def __post_init__(self) -> None:
        check("dropout", self, {"p": BELOW_ONE, "input_p": BELOW_ONE})


@dataclass(frozen=True, kw_only=True)
class NoneConfig:
    """Nothing is dropped."""


class Dropout(nn.Module):
    """Drops each value with probability p, and divides by 1 - p what is kept (Srivastava et al. 2014). In a stack of
    runs that differ in it, `p` is a tensor () of float64.
    """

    key: Tensor

    def __init__(self, p: float | Tensor):
        super().__init__()
        self.p, self.layer = p, 0
        self.register_buffer("key", torch.zeros(2, dtype=torch.int32), persistent=False)

    def mask_shape(self, shape: torch.Size) -> Sequence[int]:
        return shape

    def drops(self) -> bool:
        """Whether `forward` is anything but the identity; what is known of a tensor is that it may be."""
        return self.training and (isinstance(self.p, Tensor) or self.p != 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (batch, ...) to the same shape; the identity in evaluation."""
        if not self.drops():
            return x
        keep = rng.keep_mask(self.key, self.mask_shape(x.shape), self.p, self.layer)
        scale = 1 / (1 - self.p)
        return x * keep * (scale.to(x.dtype) if isinstance(scale, Tensor) else scale)


class SpatialDropout(Dropout):
    """Drops whole channels: of images (batch, channel, height, width), and of sequences (batch, time, channel) at all
    times at once (Tompson et al. 2014, arXiv:1411.4280).
    """

    def mask_shape(self, shape: torch.Size) -> Sequence[int]:
        if len(shape) == 3:
            return (shape[0], 1, shape[2])
        return (*shape[:2], *(1 for _ in shape[2:]))


class AlphaDropout(Dropout):
    """Drops to selu's limit at minus infinity, and keeps mean 0 and variance 1 (Klambauer et al. 2017,
    arXiv:1706.02515, section "New dropout technique").
    """

    LIMIT = -1.7580993408473766  # -scale * alpha of selu

    def forward(self, x: Tensor) -> Tensor:
        """Map x (batch, ...) to the same shape; the identity in evaluation."""
        if not self.drops():
            return x
        keep = rng.keep_mask(self.key, x.shape, self.p, self.layer)
        scale = ((1 - self.p) * (1 + self.p * self.LIMIT**2)) ** -0.5
        shift = scale * self.p * self.LIMIT
        if isinstance(scale, Tensor):
            scale, shift = scale.to(x.dtype), shift.to(x.dtype)
        return torch.where(keep, x, self.LIMIT) * scale - shift


def number_layers(model: nn.Module, device: torch.device) -> Tensor:
    """Number the dropouts of a model in order and give all of them one key on `device`, which is returned."""
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
    """Values one by one."""
    return Dropout(p)


@DROPOUTS.register("alpha_dropout", DropoutConfig)
def alpha_dropout(config: DropoutConfig, p: float) -> nn.Module:
    """For selu."""
    return AlphaDropout(p)


@DROPOUTS.register("spatial", DropoutConfig)
def spatial(config: DropoutConfig, p: float) -> nn.Module:
    """Whole channels."""
    return SpatialDropout(p)
