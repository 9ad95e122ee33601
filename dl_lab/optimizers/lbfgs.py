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
    weight_decay: NonNegativeFloat


class LBFGS(torch.optim.LBFGS):
    """torch.optim.LBFGS, extended to parameters of any memory layout and to an L2 penalty, as in optim.SGD. After a
    step, `at_tolerance` of its group tells whether the step ended at one of the tolerances, so that another one would
    change nothing on the same data.
    """

    def __init__(self, parameters: Any, weight_decay: float, **settings: Any):
        super().__init__(parameters, **settings)
        self.param_groups[0]["weight_decay"] = self.defaults["weight_decay"] = weight_decay

    def step(self, closure: Any = None) -> Any:
        groups = self.param_groups
        group, state = groups[0], self.state[self._params[0]]
        iterations, evaluations, previous = (state.get(name, 0) for name in ("n_iter", "func_evals", "prev_loss"))

        def penalized() -> Tensor:
            self.param_groups = groups
            return _penalized(closure(), groups)

        self.param_groups = groups[:1]  # torch's step begins with one group, and changes all parameters
        loss = eager_optim.step(self, penalized, torch.optim.LBFGS)
        iterated, evaluated = state["n_iter"] - iterations, state["func_evals"] - evaluations
        ended = iterated < group["max_iter"] and evaluated < group["max_eval"]
        # torch does not check the last iteration that it is allowed in a step
        stalled = iterations > 0 and abs(float(loss) - previous) <= group["tolerance_change"]
        group["at_tolerance"] = ended or stalled
        return loss

    def _gather_flat_grad(self) -> Tensor:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        return torch.cat([gradient.reshape(-1) for gradient in gradients])


@torch.no_grad()
def _penalized(loss: Tensor, groups: list[dict[str, Any]]) -> Tensor:
    """The loss plus weight_decay / 2 times the sum of squares of the parameters, whose gradients are changed too."""
    for group in groups:
        if decay := group["weight_decay"]:
            for parameter in group["params"]:
                loss = loss + decay / 2 * parameter.square().sum()
                if parameter.grad is not None:
                    parameter.grad.add_(parameter, alpha=decay)
    return loss


ABOUT = "L-BFGS (Liu & Nocedal 1989, doi:10.1007/BF01589116); intended for train.batch_size=full."
register("lbfgs", LBFGSConfig, LBFGS, ABOUT)
