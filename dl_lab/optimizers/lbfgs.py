"""Limited-memory BFGS, which evaluates the loss several times a step."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from dl_lab.core.errors import COUNT, NOT_NEGATIVE, check, one_of
from dl_lab.optimizers.ranges import check_ranges
from dl_lab.registry import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class LBFGSConfig:
    lr: float
    max_iter: int
    max_eval: int | None
    tolerance_grad: float
    tolerance_change: float
    history_size: int
    line_search_fn: str | None

    def __post_init__(self) -> None:
        check_ranges(self)
        check("optimizer", self, {"max_eval": COUNT, "line_search_fn": one_of("strong_wolfe")})
        check("optimizer", self, {"tolerance_grad": NOT_NEGATIVE, "tolerance_change": NOT_NEGATIVE})


class LBFGS(torch.optim.LBFGS):
    """torch's, for parameters of any memory layout."""

    def _gather_flat_grad(self) -> Tensor:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        return torch.cat([gradient.reshape(-1) for gradient in gradients])


@OPTIMIZERS.register("lbfgs", LBFGSConfig)
def lbfgs(config: LBFGSConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Liu & Nocedal 1989, doi:10.1007/BF01589116; meant for train.batch_size=full."""
    return LBFGS(parameters, **asdict(config))
