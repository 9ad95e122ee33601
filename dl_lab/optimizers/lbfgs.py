"""L-BFGS, which evaluates the loss several times in each step."""

from typing import Literal

import torch
from torch import Tensor

from dl_lab.core.schema import NonNegativeFloat, PositiveFloat, PositiveInt, Schema
from dl_lab.optimizers.from_torch import register


class LBFGSConfig(Schema):
    lr: PositiveFloat
    max_iter: PositiveInt
    max_eval: PositiveInt | None
    tolerance_grad: NonNegativeFloat
    tolerance_change: NonNegativeFloat
    history_size: PositiveInt
    line_search_fn: Literal["strong_wolfe"] | None


class LBFGS(torch.optim.LBFGS):
    """torch.optim.LBFGS, extended to parameters of any memory layout."""

    def _gather_flat_grad(self) -> Tensor:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        return torch.cat([gradient.reshape(-1) for gradient in gradients])


ABOUT = "L-BFGS (Liu & Nocedal 1989, doi:10.1007/BF01589116); intended for train.batch_size=full."
register("lbfgs", LBFGSConfig, LBFGS, ABOUT)
