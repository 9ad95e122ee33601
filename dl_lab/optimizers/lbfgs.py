"""L-BFGS, which evaluates the loss several times in each step."""

from typing import Any, Literal

import torch
from torch import Tensor

from dl_lab.core import eager_optim
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
    """torch.optim.LBFGS, extended to parameters of any memory layout. After a step, `at_tolerance` of its group tells
    whether the step ended at one of the tolerances, so that another one would change nothing on the same data.
    """

    def step(self, closure: Any = None) -> Any:
        (group,), state = self.param_groups, self.state[self._params[0]]
        iterations, evaluations, previous = (state.get(name, 0) for name in ("n_iter", "func_evals", "prev_loss"))
        loss = eager_optim.step(self, closure, torch.optim.LBFGS)
        iterated, evaluated = state["n_iter"] - iterations, state["func_evals"] - evaluations
        ended = iterated < group["max_iter"] and evaluated < group["max_eval"]
        # torch does not check the last iteration that it is allowed in a step
        stalled = iterations > 0 and abs(float(loss) - previous) <= group["tolerance_change"]
        group["at_tolerance"] = ended or stalled
        return loss

    def _gather_flat_grad(self) -> Tensor:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        return torch.cat([gradient.reshape(-1) for gradient in gradients])


ABOUT = "L-BFGS (Liu & Nocedal 1989, doi:10.1007/BF01589116); intended for train.batch_size=full."
register("lbfgs", LBFGSConfig, LBFGS, ABOUT)
