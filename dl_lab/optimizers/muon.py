"""Muon for matrices, AdamW for everything else."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dl_lab.core import eager_optim
from dl_lab.core.errors import POSITIVE, ConfigError, check, one_of, require
from dl_lab.optimizers.ranges import BETAS, check_ranges
from dl_lab.registry import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class MuonConfig:
    """torch.optim.Muon's parameters, for every matrix, embeddings and the head among them. What is no matrix is trained
    by AdamW with `adamw_lr`, `adamw_betas` and the same weight_decay.
    """

    lr: float
    weight_decay: float
    momentum: float
    nesterov: bool
    ns_coefficients: list[float]
    ns_steps: int
    eps: float
    adjust_lr_fn: str | None
    adamw_lr: float
    adamw_betas: list[float]

    def __post_init__(self) -> None:
        check_ranges(self)
        check("optimizer", self, {"adjust_lr_fn": one_of("original", "match_rms_adamw")})
        check("optimizer", self, {"adamw_lr": POSITIVE, "adamw_betas": BETAS})
        require(len(self.ns_coefficients) == 3, "optimizer.ns_coefficients", self.ns_coefficients, "three numbers")


class Together(torch.optim.Optimizer):
    """Several optimizers, each of its own parameters, stepped as one; `param_groups` are those of all."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]):
        self.optimizers = optimizers
        super().__init__([parameter for group in self._groups() for parameter in group["params"]], {})
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step of each, the loss evaluated once."""
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
    """Momentum made orthogonal by Newton-Schulz steps: Jordan et al. 2024, kellerjordan.github.io/posts/muon."""
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"optimizer=muon needs torch 2.9 or newer, this is {torch.__version__}; allowed: another optimizer"
        )
    everything = list(parameters)
    matrices = [parameter for parameter in everything if parameter.ndim == 2]
    others = [parameter for parameter in everything if parameter.ndim != 2]
    first, second, third = config.ns_coefficients
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(
            torch.optim.Muon(
                matrices,
                lr=config.lr,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
                nesterov=config.nesterov,
                ns_coefficients=(first, second, third),
                eps=config.eps,
                ns_steps=config.ns_steps,
                adjust_lr_fn=config.adjust_lr_fn,
            )
        )
    if others:
        betas = (config.adamw_betas[0], config.adamw_betas[1])
        optimizers.append(
            torch.optim.AdamW(others, lr=config.adamw_lr, betas=betas, weight_decay=config.weight_decay, fused=True)
        )
    return Together(optimizers)
