"""A trained run once more: its data, its model, and its every step; the same seed gives the same steps, to the bit."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig
from dl_lab.data.batching import training_batches
from dl_lab.data.dataset import Data
from dl_lab.data.splits import InMemory
from dl_lab.runs import checkpoint
from dl_lab.training import loop, setup
from dl_lab.training.state import Plan, TrainState
from experiments.support.claims import Run


def saved(run: Run, which: str = "last") -> dict[str, Any]:
    """A checkpoint of the run, best or last."""
    return checkpoint.load(run.folder / "checkpoints" / f"{which}.pt", torch.device("cpu"))


def configuration(run: Run) -> RunConfig:
    """What the run was made of."""
    return parse(saved(run)["config"])


def before(run: Run) -> tuple[Plan, TrainState]:
    """The run before its first step."""
    config = configuration(run)
    return setup.build_run(config, setup.build_data(config))


def trained(run: Run, which: str = "last") -> tuple[Plan, TrainState]:
    """The run with the weights of a checkpoint."""
    plan, state = before(run)
    state.model.load_state_dict(saved(run, which)["model"])
    return plan, state


def steps(plan: Plan, state: TrainState, number: int) -> Iterator[int]:
    """Take the run's next `number` steps; gives the step, from 1 on, after each."""
    for inputs, targets in islice(training_batches(plan.data.train, plan.seed, plan.batch_size, plan.device), number):
        loop.train_step(state, plan, inputs, targets)
        state.step += 1
        yield state.step


def path(run: Run, number: int) -> Tensor:
    """All parameters (step + 1, parameter) over the run's first `number` steps, as they stood before and after each."""
    plan, state = before(run)
    passed = [_flat(state)]
    passed += [_flat(state) for _ in steps(plan, state, number)]
    return torch.stack(passed)


def _flat(state: TrainState) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()]).clone()


def in_own_units(run: Run) -> Data:
    """The run's data, the same rows in the same splits, nothing standardised."""
    config = configuration(run)
    return setup.build_data(
        replace(config, dataset=replace(config.dataset, config=replace(config.dataset.config, standardize=False)))
    )


def linear_in_own_units(run: Run) -> tuple[Tensor, Tensor]:
    """Coefficients (target, feature) and intercepts (target,) of a linear regression, its standardisation undone."""
    train = in_own_units(run).train
    assert isinstance(train, InMemory)
    mean, std = train.inputs.mean(0), train.inputs.std(0, correction=0)
    plan, state = trained(run)
    (head,) = plan.data.spec.heads
    offset, scale = (torch.tensor(values, dtype=torch.float64) for values in (head.offset, head.scale))
    weight, bias = (parameter.detach() for parameter in state.model.parameters())
    coefficients = weight * scale[:, None] / std
    return coefficients, offset + scale * bias - coefficients @ mean
