"""A deep network of equal layers, for experiments with depth, normalization and residual connections."""

from collections.abc import Callable
from math import prod
from typing import Literal

from torch import Tensor, nn

from dl_lab.core.schema import PositiveInt, Schema
from dl_lab.data.spec import DataSpec
from dl_lab.nn.activations import ACTIVATIONS, ActivationName
from dl_lab.registry import MODELS

NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}


class DeepNNConfig(Schema):
    depth: PositiveInt
    width: PositiveInt
    activation: ActivationName
    normalization: Literal["none", "batch", "layer"]
    residual: bool


@MODELS.register("deep_nn", DeepNNConfig, kinds={"features", "image"})
class DeepNN(nn.Module):
    """`depth` layers of equal width, each with a linear map, normalization, activation and dropout.

    Batch normalization: Ioffe & Szegedy 2015, arXiv:1502.03167; layer normalization: Ba et al. 2016, arXiv:1607.06450.
    `residual` adds the input of every layer after the first to its output (He et al. 2015, arXiv:1512.03385).
    """

    def __init__(self, config: DeepNNConfig, spec: DataSpec, make_dropout: Callable[[], nn.Module]):
        super().__init__()
        normalize = NORMALIZATIONS[config.normalization]
        widths = [prod(spec.input_shape)] + [config.width] * (config.depth - 1)
        self.layers = nn.ModuleList(nn.Linear(inside, config.width) for inside in widths)
        self.norms = nn.ModuleList(normalize(config.width) for _ in self.layers)
        self.dropouts = nn.ModuleList(make_dropout() for _ in self.layers)
        self.activation = ACTIVATIONS[config.activation]
        self.residual = config.residual
        self.head = nn.Linear(config.width, spec.num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (batch, ...) to outputs (batch, output)."""
        hidden = inputs.flatten(1)
        for number, (layer, norm, dropout) in enumerate(zip(self.layers, self.norms, self.dropouts, strict=True)):
            change = dropout(self.activation(norm(layer(hidden))))
            hidden = hidden + change if self.residual and number > 0 else change
        return self.head(hidden)
