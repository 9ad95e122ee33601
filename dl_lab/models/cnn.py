"""Convolutional networks, including LeNet."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Predicate
from torch import Tensor, nn

from dl_lab.core.errors import ConfigError, require
from dl_lab.core.schema import NonEmpty, PositiveInt, Schema
from dl_lab.data.spec import DataSpec
from dl_lab.nn.activations import ACTIVATIONS, ActivationName
from dl_lab.registry import MODELS

POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2),
    "average": lambda: nn.AvgPool2d(2),
}


class CNNConfig(Schema):
    """`channels`: the output channels of each convolution; a pooling layer after each one halves the image.

    `padding`: one value for all convolutions, or one for each. `readout`: flatten the last image, or average it over
    space.
    """

    channels: Annotated[list[PositiveInt], NonEmpty, "a list of one whole number or more, each 1 or more"]
    kernel_size: Annotated[
        PositiveInt, Predicate(lambda size: size % 2 == 1), "an odd whole number, so that same padding is symmetric"
    ]
    padding: list[Literal["same", "valid"]]
    normalization: Literal["none", "batch"]
    activation: ActivationName
    pooling: Literal["none", "max", "average"]
    readout: Literal["flatten", "mean"]
    head_sizes: list[PositiveInt]

    def __post_init__(self) -> None:
        lengths = (1, len(self.channels))
        allowed = f"a list of same or valid, 1 or {len(self.channels)} long"
        require(len(self.padding) in lengths, "model.padding", self.padding, allowed)


@MODELS.register("cnn", CNNConfig, kinds={"image"})
class CNN(nn.Module):
    """Blocks of convolution, normalization, activation, dropout and pooling, then linear layers (LeCun et al. 1998,
    doi:10.1109/5.726791). The mean over space is from Lin et al. 2013, arXiv:1312.4400.
    """

    def __init__(self, config: CNNConfig, spec: DataSpec, make_dropout: Callable[[], nn.Module]):
        super().__init__()
        paddings = config.padding * len(config.channels) if len(config.padding) == 1 else config.padding
        widths = [spec.input_shape[0], *config.channels]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                inside,
                outside,
                config.kernel_size,
                padding=config.kernel_size // 2 if padding == "same" else 0,
            )
            for (inside, outside), padding in zip(pairwise(widths), paddings, strict=True)
        )
        normalized = config.normalization == "batch"
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if normalized else nn.Identity() for width in config.channels)
        self.activation = ACTIVATIONS[config.activation]
        self.dropouts = nn.ModuleList(make_dropout() for _ in self.convolutions)
        self.pool = POOLINGS[config.pooling]()
        self.mean_over_space = config.readout == "mean"
        head_widths = [self._readout_size(spec), *config.head_sizes]
        self.head_layers = nn.ModuleList(nn.Linear(inside, outside) for inside, outside in pairwise(head_widths))
        self.head_dropouts = nn.ModuleList(make_dropout() for _ in self.head_layers)
        self.head = nn.Linear(head_widths[-1], spec.num_outputs)

    def _readout_size(self, spec: DataSpec) -> int:
        """The number of values that the head receives, computed from shapes alone."""
        size = torch.Size(spec.input_shape[1:])
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv2d)
            lost = convolution.kernel_size[0] - 1 - 2 * int(convolution.padding[0])
            halved = 1 if isinstance(self.pool, nn.Identity) else 2
            size = torch.Size((side - lost) // halved for side in size)
        if min(size) < 1:
            raise ConfigError(
                f"model.channels has {len(self.convolutions)} convolutions, too many for images of "
                f"{spec.input_shape[1]}x{spec.input_shape[2]}; hint: fewer channels, pooling=none or padding=[same]"
            )
        channels = self.convolutions[-1].out_channels
        assert isinstance(channels, int)
        return channels if self.mean_over_space else channels * size.numel()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channel, height, width) to outputs (batch, output)."""
        for convolution, norm, dropout in zip(self.convolutions, self.norms, self.dropouts, strict=True):
            images = self.pool(dropout(self.activation(norm(convolution(images)))))
        hidden = images.mean(dim=(2, 3)) if self.mean_over_space else images.flatten(1)
        for layer, dropout in zip(self.head_layers, self.head_dropouts, strict=True):
            hidden = dropout(self.activation(layer(hidden)))
        return self.head(hidden)
