"""The multilayer perceptron."""

from collections.abc import Callable
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from dl_lab.core.schema import PositiveInt, Schema
from dl_lab.data.spec import DataSpec
from dl_lab.nn.activations import ACTIVATIONS, ActivationName
from dl_lab.registry import MODELS


class MLPConfig(Schema):
    hidden_sizes: list[PositiveInt]
    activation: ActivationName


@MODELS.register("mlp", MLPConfig, kinds={"features", "image"})
class MLP(nn.Module):
    """Fully connected hidden layers, then one linear layer (Rumelhart et al. 1986, doi:10.1038/323533a0)."""

    def __init__(self, config: MLPConfig, spec: DataSpec, make_dropout: Callable[[], nn.Module]):
        super().__init__()
        widths = [prod(spec.input_shape), *config.hidden_sizes]
        self.layers = nn.ModuleList(nn.Linear(inside, outside) for inside, outside in pairwise(widths))
        self.dropouts = nn.ModuleList(make_dropout() for _ in self.layers)
        self.activation = ACTIVATIONS[config.activation]
        self.head = nn.Linear(widths[-1], spec.num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (batch, ...) to outputs (batch, output)."""
        hidden = inputs.flatten(1)
        for layer, dropout in zip(self.layers, self.dropouts, strict=True):
            hidden = dropout(self.activation(layer(hidden)))
        return self.head(hidden)
