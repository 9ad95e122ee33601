"""Linear and logistic regression."""

from collections.abc import Callable
from math import prod

from torch import Tensor, nn

from dl_lab.core.schema import Schema
from dl_lab.data.spec import DataSpec
from dl_lab.registry import MODELS


class LinearConfig(Schema):
    bias: bool


@MODELS.register("linear", LinearConfig, kinds={"features", "image"})
class Linear(nn.Module):
    """Linear regression (Legendre 1805) or a linear classifier: outputs = inputs W^T + b."""

    def __init__(self, config: LinearConfig, spec: DataSpec, make_dropout: Callable[[], nn.Module]):
        super().__init__()
        self.linear = nn.Linear(prod(spec.input_shape), spec.num_outputs, bias=config.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (batch, ...) to outputs (batch, output)."""
        return self.linear(inputs.flatten(1))


@MODELS.register("logistic", LinearConfig, kinds={"features", "image"}, tasks={"classification"})
class Logistic(Linear):
    """Logistic regression: the outputs are logits (Cox 1958)."""
