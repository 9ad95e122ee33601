"""Muon for matrices, AdamW for all other parameters."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal

import torch
from annotated_types import Len
from torch import nn

from dl_lab.core import eager_optim
from dl_lab.core.errors import ConfigError
from dl_lab.core.schema import BelowOne, Finite, NonNegativeFloat, PositiveFloat, PositiveInt, Schema
from dl_lab.optimizers.adam import Betas
from dl_lab.registry import OPTIMIZERS


class MuonConfig(Schema):
    """The parameters of torch.optim.Muon, which trains every matrix, including embeddings and the head.

    AdamW trains all other parameters, with `adamw_lr`, `adamw_betas` and the same weight_decay.
    """

    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: BelowOne
    nesterov: bool
    ns_coefficients: Annotated[list[Finite], Len(3, 3), "three numbers"]
    ns_steps: PositiveInt
    eps: PositiveFloat
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None
    adamw_lr: PositiveFloat
    adamw_betas: Betas


class Combined(torch.optim.Optimizer):
    """Several optimizers with disjoint parameters, used as one; `param_groups` holds the groups of all of them."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]):
        self.optimizers = optimizers
        super().__init__([parameter for group in self._groups() for parameter in group["params"]], {})
        self.param_groups = self._groups()

    def __getstate__(self) -> dict[str, Any]:
        return {"optimizers": self.optimizers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["optimizers"])  # type: ignore[misc]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the loss once, then let each optimizer take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            eager_optim.step(optimizer)
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {str(number): optimizer.state_dict() for number, optimizer in enumerate(self.optimizers)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for number, optimizer in enumerate(self.optimizers):
            eager_optim.restore(optimizer, state_dict[str(number)])
        self.param_groups = self._groups()


@OPTIMIZERS.register("muon", MuonConfig)
def muon(config: MuonConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Muon: momentum orthogonalized by Newton-Schulz steps (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(f"optimizer=muon needs torch 2.9 or newer, found {torch.__version__}; hint: optimizer=adamw")
    everything = list(parameters)
    matrices = [parameter for parameter in everything if parameter.ndim == 2]
    others = [parameter for parameter in everything if parameter.ndim != 2]
    settings = asdict(config)
    adamw = {"lr": settings.pop("adamw_lr"), "betas": settings.pop("adamw_betas"), "weight_decay": config.weight_decay}
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, **settings))
    if others:
        optimizers.append(torch.optim.AdamW(others, **adamw, fused=True))
    return Combined(optimizers)
