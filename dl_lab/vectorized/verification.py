"""Whether a stack computes what its members compute alone. torch.func.vmap maps only what happens to tensors, but a
user's model can do anything in Python.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from dl_lab.config.schema import Choice
from dl_lab.core import devices
from dl_lab.data.splits import InMemory, Split, Windows
from dl_lab.optimizers.sgd import SGDConfig
from dl_lab.registry import OPTIMIZERS
from dl_lab.training import loop, setup
from dl_lab.training.state import Plan, TrainState
from dl_lab.training.tasks.totals import add_up
from dl_lab.vectorized.engine import LEAST_AT_ONCE, StackedRuns
from dl_lab.vectorized.member_state import parameters_of

STEPS = 3  # of which the last has a smaller batch
TOLERANCES = {"float64": 1e-6, "float32": 1e-3, "bfloat16": 5e-2}  # relative; rounding stays far below
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class DoesNotStack(Exception):
    """Why a run trains alone."""


def refuse_structure(model: nn.Module) -> None:
    """Raise DoesNotStack for a model that a stack cannot represent."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            raise DoesNotStack(f"its parameter {name} is frozen")
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise DoesNotStack(f"its parameter {name} has hooks")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise DoesNotStack(f"its module {name or type(module).__name__} is compiled by torch.jit")
        if any(getattr(module, hooks) for hooks in HOOKS):
            raise DoesNotStack(f"its module {name or type(module).__name__} has hooks")
    if len({parameter.dtype for parameter in model.parameters()}) > 1:
        raise DoesNotStack("its parameters have several dtypes")


def layout(model: nn.Module) -> list[tuple[str, tuple[int, ...], int]]:
    """The names and shapes of all parameters and buffers, and which of them are shared."""
    tensors = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    first: dict[int, int] = {}
    return [(name, tuple(tensor.shape), first.setdefault(id(tensor), len(first))) for name, tensor in tensors]


@dataclass(frozen=True)
class Trace:
    """What a few steps of a run did: the totals of the steps, the tensors after them, and the metrics of validation."""

    totals: dict[str, list[float]]
    tensors: dict[str, Tensor]
    metrics: dict[str, float]

    def difference(self, other: "Trace", tolerance: float) -> str | None:
        """The name of something that is not the same within the tolerance, relative to its largest value."""
        for mine, theirs in ((self.totals, other.totals), (self.tensors, other.tensors), (self.metrics, other.metrics)):
            for name in mine:
                ours, reference = (torch.as_tensor(value[name]).double() for value in (mine, theirs))
                scale = float(reference.abs().nan_to_num().max()) if reference.numel() else 0.0
                if not torch.allclose(ours, reference, tolerance, tolerance * scale, equal_nan=True):
                    return name
        return None


def refuse_difference(plans: Sequence[Plan], states: Sequence[TrainState]) -> None:
    """Train copies of some of the runs for a few steps, alone and in a stack, and compare them. In float64, because
    training amplifies rounding; in the precision of the runs where a model or device has no float64.

    Raises:
        DoesNotStack: naming what differs.
    """
    firsts = {repr(plan.run.loss.config): number for number, plan in reversed(list(enumerate(plans)))}
    chosen = sorted({0, 1, len(plans) - 1, *(firsts.values() if plans[0].has_user_code else ())})
    own = plans[0].run.settings.precision
    for precision in [own] if plans[0].device.type == "mps" else ["float64", own]:
        try:
            _compare([_trial(plans[run], states[run], precision) for run in chosen], TOLERANCES[precision])
        except DoesNotStack:
            raise
        except Exception:  # a model that needs its own precision
            if precision == own:
                raise
        else:
            return


def _trial(plan: Plan, state: TrainState, precision: str) -> tuple[Plan, TrainState]:
    """A copy of a run on a few examples, with plain SGD: the optimizers of stacks do not depend on the model."""
    sgd = SGDConfig(lr=0.01, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)
    run = replace(
        plan.run,
        optimizer=Choice(OPTIMIZERS["sgd"], sgd),
        settings=replace(plan.run.settings, precision=precision),
        train=replace(plan.run.train, decay_biases=True),
    )
    few = _first(plan.data.train, 2 * plan.batch_size + (plan.batch_size + 1) // 2)
    at_once = max(1, len(few) // 3)  # not as many as in the stack: the size of a batch must not matter
    run = replace(run, train=replace(run.train, eval_batch_size=at_once - (at_once == LEAST_AT_ONCE)))
    data = replace(plan.data, train=few, validation=few, test=None).to(plan.device, devices.PRECISIONS[precision])
    copy = deepcopy(state)
    copy.model.to(devices.PRECISIONS[precision])
    copy = replace(copy, forward=copy.model, optimizer=setup.build_optimizer(run, copy.model), window=[])
    return replace(plan, run=run, data=data, task=setup.build_task(run, data.spec, plan.task.class_weights)), copy


def _first(split: Split, examples: int) -> Split:
    if isinstance(split, InMemory):
        return InMemory(split.inputs[:examples], split.targets[:examples])
    if isinstance(split, Windows):
        return replace(split, tokens=split.tokens[: (examples + 1) * split.context + 1])
    return split


def _compare(trials: list[tuple[Plan, TrainState]], tolerance: float) -> None:
    plans = [plan for plan, _ in trials]
    together = _together(plans, [deepcopy(state) for _, state in trials])
    for (plan, state), in_stack in zip(trials, together, strict=True):
        before = state.python_state(plan)
        alone = _alone(plan, state)
        after = state.python_state(plan)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                raise DoesNotStack(f"training changes {name} in Python, which its stack would share")
        if (difference := in_stack.difference(alone, tolerance)) is not None:
            raise DoesNotStack(f"a stack computes another {difference} than a run alone")


def _alone(plan: Plan, state: TrainState) -> Trace:
    state.model.train()
    totals = []
    for inputs, targets in islice(plan.batches(state.step), STEPS):
        totals += loop.train_step(state, plan, inputs, targets)
        state.step += 1
    tensors = dict(state.model.named_buffers()) | {"weights": parameters_of(state)}
    return Trace(add_up(totals), tensors, main_metrics(plan, loop.evaluate(state.model, plan, plan.data.validation)))


def main_metrics(plan: Plan, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that training points have: others can change by much where rounding changes an order."""
    return {name: metrics[name] for name in plan.task.training_names}


def _together(plans: list[Plan], states: list[TrainState]) -> list[Trace]:
    stack = StackedRuns(plans, states)
    stack.model.train()
    for inputs, targets in islice(stack.batches.training(plans[0], stack.step_number), STEPS):
        stack.step(inputs, targets)
    metrics, totals = [main_metrics(plans[0], each) for each in stack.evaluate("validation")], stack.summed_window()
    tensors = [{name: buffer[run] for name, buffer in stack.buffers.items()} for run in range(len(plans))]
    for run, own in enumerate(tensors):
        own["weights"] = stack.flat[run]
    return [Trace(*parts) for parts in zip(totals, tensors, metrics, strict=True)]
