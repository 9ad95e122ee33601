"""A convolutional network, from LeNet to conv-pool-conv-pool."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dl_lab.core.errors import COUNTS, ConfigError, check, one_of, require
from dl_lab.data.spec import DataSpec
from dl_lab.nn.activations import ACTIVATIONS, check_activation
from dl_lab.registry import MODELS

POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2),
    "average": lambda: nn.AvgPool2d(2),
}


@dataclass(frozen=True, kw_only=True)
class CNNConfig:
    """`channels`: one convolution each, followed by a pooling that halves the image. `padding`: same or valid, one for
    all convolutions or one each. `readout`: flatten the last image, or take its mean over space.
    """

    channels: list[int]
    kernel_size: int
    padding: list[str]
    normalization: str
    activation: str
    pooling: str
    readout: str
    head_sizes: list[int]

    def __post_init__(self) -> None:
        check("model", self, {"channels": COUNTS, "head_sizes": COUNTS})
        check("model", self, {"normalization": one_of("none", "batch"), "pooling": one_of(*POOLINGS)})
        check("model", self, {"readout": one_of("flatten", "mean")})
        check_activation("model.activation", self.activation)
        require(len(self.channels) > 0, "model.channels", self.channels, "a list of one number or more")
        odd = self.kernel_size >= 1 and self.kernel_size % 2 == 1
        require(odd, "model.kernel_size", self.kernel_size, "an odd number, so that same padding is symmetric")
        require(
            len(self.padding) in (1, len(self.channels)) and set(self.padding) <= {"same", "valid"},
            "model.padding",
            self.padding,
            f"a list of same or valid, 1 or {len(self.channels)} long",
        )


@MODELS.register("cnn", CNNConfig, kinds={"image"})
class CNN(nn.Module):
    """Convolution, normalisation, activation, dropout, pooling, as often as there are channels; then linear layers
    (LeCun et al. 1998, doi:10.1109/5.726791; the mean over space: Lin et al. 2013, arXiv:1312.4400).
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
        """Numbers that the last image leaves to the head, found on a shape without memory."""
        size = torch.Size(spec.input_shape[1:])
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv2d)
            lost = convolution.kernel_size[0] - 1 - 2 * int(convolution.padding[0])
            halved = 1 if isinstance(self.pool, nn.Identity) else 2
            size = torch.Size((side - lost) // halved for side in size)
        if min(size) < 1:
            raise ConfigError(
                f"model.channels has {len(self.convolutions)} convolutions, too many for images of "
                f"{spec.input_shape[1]}x{spec.input_shape[2]}; allowed: fewer, pooling=none or padding=[same]"
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
        outputs: Tensor = self.head(hidden)
        return outputs
