"""Rebuild a trained run: its data, its model, and its every step; the same seed gives the same steps, bit for bit."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig
from dl_lab.data.batching import training_batches
from dl_lab.data.dataset import Data
from dl_lab.data.splits import Split
from dl_lab.runs import checkpoint
from dl_lab.runs.reader import Run
from dl_lab.training import loop, setup
from dl_lab.training.state import Plan, TrainState


def saved(run: Run, which: str = "last") -> dict[str, Any]:
    """The content of a checkpoint of the run, "best" or "last"."""
    return checkpoint.load(run.folder / "checkpoints" / f"{which}.pt", torch.device("cpu"))


def configuration(run: Run, **settings: object) -> RunConfig:
    """The configuration of the run, on the CPU, with the given settings changed."""
    return parse({**saved(run)["config"], "device": "cpu", **settings})


def before(run: Run, **settings: object) -> tuple[Plan, TrainState]:
    """The run before its first step."""
    config = configuration(run, **settings)
    return setup.build_run(config, setup.build_data(config))


def trained(run: Run, which: str = "last", **settings: object) -> tuple[Plan, TrainState]:
    """The run with the weights of a checkpoint."""
    plan, state = before(run, **settings)
    state.model.load_state_dict(saved(run, which)["model"])
    return plan, state


def arrays(data: Data, split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
    """All inputs of a split as the model receives them, flat (example, feature), and the targets."""
    inputs, targets = next(iter(split.everything(len(split))))
    return data.prepare(inputs).flatten(1).double().numpy(), targets.numpy()


def steps(plan: Plan, state: TrainState, number: int) -> Iterator[int]:
    """Take the run's first `number` steps; yields the step, from 1 on, after each."""
    for inputs, targets in islice(training_batches(plan.data.train, plan.seed, plan.batch_size, plan.device), number):
        loop.train_step(state, plan, inputs, targets)
        state.step += 1
        yield state.step


def path(run: Run, number: int) -> Tensor:
    """All parameters (step + 1, parameter) before and after each of the run's first `number` steps."""
    plan, state = before(run)

    def flat() -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()])

    return torch.stack([flat(), *(flat() for _ in steps(plan, state, number))])


def unstandardized(run: Run) -> Data:
    """The run's data with the same rows in the same splits, not standardized."""
    dataset = configuration(run).dataset
    config = replace(dataset.config, standardize=False)
    return setup.build_data(replace(configuration(run), dataset=replace(dataset, config=config)))


def unstandardized_line(run: Run) -> tuple[Tensor, Tensor]:
    """Coefficients (target, feature) and intercepts (target,) of a linear regression in the units of the data."""
    train = unstandardized(run).train
    mean, std = train.inputs.mean(0), train.inputs.std(0, correction=0)
    plan, state = trained(run)
    (head,) = plan.data.spec.heads
    offset, scale = (torch.tensor(values, dtype=torch.float64) for values in (head.offset, head.scale))
    weight, bias = (parameter.detach() for parameter in state.model.parameters())
    coefficients = weight * scale[:, None] / std
    return coefficients, offset + scale * bias - coefficients @ mean
