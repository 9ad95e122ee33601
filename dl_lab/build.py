"""From a parsed configuration to what trains: the data, the model, the optimizer; a Plan and a TrainState."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from math import ceil
from typing import cast

import torch
from torch import Tensor, nn

from dl_lab import devices, eager, streams
from dl_lab.config import Choice, RunConfig
from dl_lab.data import Data, InMemory, training_batches
from dl_lab.devices import PRECISIONS
from dl_lab.dropouts.masks import Dropout, number_layers
from dl_lab.errors import require, unknown
from dl_lab.schedules.factors import Schedule
from dl_lab.specs import DataSpec
from dl_lab.tasks import Task


@dataclass(frozen=True)
class Plan:
    """What stays the same throughout a run."""

    run: RunConfig
    data: Data
    task: Task
    schedule: Schedule
    device: torch.device
    batch_size: int
    steps_per_epoch: int
    total_steps: int

    @property
    def seed(self) -> int:
        return self.run.settings.seed

    @property
    def validate_every(self) -> int:
        return self.run.train.steps_between_validations(self.steps_per_epoch)


@dataclass
class TrainState:
    """What changes. `dropout_key` is None for a model without dropout, `norm_before_clipping` (of the last step's
    gradient) where nothing is clipped.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    dropout_key: Tensor | None
    step: int = 0
    best: dict[str, float] | None = None
    validations_since_best: int = 0
    norm_before_clipping: Tensor | None = None


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
            run.model.config,
            spec,
            lambda: dropout.entry.build(dropout.config, getattr(dropout.config, "p", 0.0)),
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
    eager.leave_compiler_out()
    optimizer: torch.optim.Optimizer = run.optimizer.entry.build(run.optimizer.config, model.parameters())
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def build_schedule(run: RunConfig, total_steps: int) -> Schedule:
    """The factor on the learning rate as a function of the step."""
    return cast(Schedule, run.schedule.entry.build(run.schedule.config, total_steps))


def prepare(run: RunConfig, data: Data) -> tuple[Plan, TrainState]:
    """Everything that `fit` needs, on the run's device.

    Raises:
        ConfigError: if the batch is larger than the training split, or `train.best` is not a metric of the task.
    """
    device = devices.choose(run.settings.device, run.settings.precision)
    devices.make_deterministic(run.settings.deterministic)
    examples = len(data.train)
    batch_size = examples if run.train.batch_size == "full" else int(run.train.batch_size)
    require(
        batch_size <= examples,
        "train.batch_size",
        batch_size,
        f"at most {examples}, the training split, or full",
    )
    require(
        run.train.accumulate <= batch_size,
        "train.accumulate",
        run.train.accumulate,
        f"at most {batch_size}, the batch",
    )
    data = data.to(device, PRECISIONS[run.settings.precision]).prepared_once()
    if run.train.one_batch:
        data = on_one_batch(data, batch_size, run.settings.seed, device)
    steps_per_epoch = ceil(len(data.train) / batch_size)
    task = build_task(run, data.spec)
    if run.train.best not in task.metric_names:
        raise unknown("train.best", run.train.best, task.metric_names)
    total_steps = run.train.total_steps(steps_per_epoch)
    schedule = build_schedule(run, total_steps)
    model = devices.place(build_model(run, data.spec), device)
    key = number_layers(model, device)
    has_dropout = any(isinstance(module, Dropout) for module in model.modules())
    state = TrainState(model, build_optimizer(run, model), key if has_dropout else None)
    return Plan(run, data, task, schedule, device, batch_size, steps_per_epoch, total_steps), state


def on_one_batch(data: Data, batch_size: int, seed: int, device: torch.device) -> Data:
    """The same data with the first training batch as training and validation split, and no test."""
    batch = InMemory(*next(training_batches(data.train, seed, batch_size, device)))
    return replace(data, train=batch, validation=batch, test=None, augmentation=None)
