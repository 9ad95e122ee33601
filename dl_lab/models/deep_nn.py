"""A deep network of equal layers, to see what depth asks for: normalisation and a way around."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from dl_lab.core.errors import COUNT, check, one_of
from dl_lab.data.spec import DataSpec
from dl_lab.nn.activations import ACTIVATIONS, check_activation
from dl_lab.registry import MODELS

NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda width: nn.Identity(),
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}


@dataclass(frozen=True, kw_only=True)
class DeepNNConfig:
    depth: int
    width: int
    activation: str
    normalization: str
    residual: bool

    def __post_init__(self) -> None:
        check("model", self, {"depth": COUNT, "width": COUNT, "normalization": one_of(*NORMALIZATIONS)})
        check_activation("model.activation", self.activation)


@MODELS.register("deep_nn", DeepNNConfig, kinds={"features", "image"})
class DeepNN(nn.Module):
    """`depth` layers of one width: linear, normalisation, activation, dropout; from the second on, added to their
    input if residual (He et al. 2015, arXiv:1512.03385). Batch normalisation: Ioffe & Szegedy 2015, arXiv:1502.03167;
    layer normalisation: Ba et al. 2016, arXiv:1607.06450.
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
        outputs: Tensor = self.head(hidden)
        return outputs
