"""From a parsed configuration and a DataSpec to the things that train."""

from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn

from dl_lab import streams
from dl_lab.config import Choice, RunConfig
from dl_lab.data import Data
from dl_lab.devices import PRECISIONS
from dl_lab.specs import DataSpec
from dl_lab.tasks import Task


def build_data(run: RunConfig) -> Data:
    """The run's dataset, on the CPU as it was stored."""
    data = run.dataset.entry.build(run.dataset.config, run.settings.data_folder, run.settings.seed)
    return cast(Data, data)


def build_model(run: RunConfig, spec: DataSpec) -> nn.Module:
    """The run's model, initialised from its seed; on the CPU, so that every device starts from the same weights."""
    dropout = run.dropout
    seed = run.settings.seed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.seed_for(seed, "initialization"))
        model: nn.Module = run.model.entry.build(
            run.model.config, spec, lambda: dropout.entry.build(dropout.config, getattr(dropout.config, "p", 0.0))
        )
    activation = getattr(run.model.config, "activation", "identity")
    initialize(model, run.initializer, activation, streams.generator(seed, "initialization"))
    input_p = getattr(dropout.config, "input_p", 0.0)
    if input_p > 0:
        on_inputs = dropout.entry.build(dropout.config, input_p)
        model = nn.Sequential(OrderedDict(input_dropout=on_inputs, network=model))
    return model.to(PRECISIONS[run.settings.precision])


@torch.no_grad()
def initialize(model: nn.Module, initializer: Choice, activation: str, generator: torch.Generator) -> None:
    """Fill the weights and biases of every linear, convolutional and embedding layer; a shared weight once."""
    done: set[int] = set()
    for layer in model.modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            continue
        if id(layer.weight) not in done:
            initializer.entry.build(initializer.config, layer.weight, activation, generator)
            done.add(id(layer.weight))
        bias: Tensor | None = getattr(layer, "bias", None)
        if bias is not None and initializer.config.bias is not None:
            bias.fill_(initializer.config.bias)


def build_task(run: RunConfig, spec: DataSpec) -> Task:
    """The task of the data, with the run's loss for each of its heads."""
    return Task(spec, {head.task: run.loss.entry.build(run.loss.config, head.task) for head in spec.heads})


def build_optimizer(run: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The run's optimizer; each group keeps its `initial_lr`, which the schedule multiplies."""
    optimizer: torch.optim.Optimizer = run.optimizer.entry.build(run.optimizer.config, model.parameters())
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def build_schedule(run: RunConfig, total_steps: int) -> Any:
    """The factor on the learning rate as a function of the step."""
    return run.schedule.entry.build(run.schedule.config, total_steps)
