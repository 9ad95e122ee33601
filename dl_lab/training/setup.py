"""Build what a run trains: data, model, optimizer, schedule, task; together a Plan and a TrainState."""

from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dl_lab.config.compose import with_new_keys
from dl_lab.config.parse import check_best, check_task
from dl_lab.config.schema import Choice, RunConfig
from dl_lab.core import atomic_io, devices, eager_optim, rng
from dl_lab.core.devices import PRECISIONS
from dl_lab.core.errors import ConfigError, require
from dl_lab.core.paths import user_path
from dl_lab.data.batching import steps_in_epoch, training_batches
from dl_lab.data.dataset import Data, files_fingerprint, fingerprint, preprocessing_of
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.spec import DataSpec
from dl_lab.data.splits import InMemory
from dl_lab.dropouts.layers import Dropout, number_layers
from dl_lab.runs.checkpoint import Checkpoint
from dl_lab.runs.identity import MOVED, difference
from dl_lab.schedules.schedules import Schedule
from dl_lab.training.checks import check_data, check_loss, check_model, check_sum
from dl_lab.training.class_weights import class_weights
from dl_lab.training.state import Plan, TrainState, load_model, unfit
from dl_lab.training.tasks.task import EMPTY, Task

CPU = torch.device("cpu")


def build_data(run: RunConfig, again: bool = False) -> Data:
    """The run's dataset, on the CPU and as stored; `again` if the run was trained on it before.

    Raises:
        ConfigError: if its builder rejects the data, or its splits do not fit its DataSpec.
    """
    path = getattr(run.dataset.config, "path", None)
    for key in MOVED if again else ():
        before = getattr(run.dataset.config, key.partition(".")[2], None)
        if before is not None and not user_path(before, key).exists():
            raise ConfigError(f"{key}={before} does not exist; hint: if it was moved, {key}=PATH")
    devices.seed_global_generators(rng.seed_for(run.settings.seed, "data"), CPU)  # for datasets of the user's own
    with ThreadPoolExecutor(1) as pool:  # a file is hashed while it is read
        hashed = pool.submit(files_fingerprint, {"": Path(path)}) if path and Path(path).is_file() else None
        data = cast(Data, run.dataset.entry.build(run.dataset.config, run.settings.data_folder, run.settings.seed))
    check_data(data, run.dataset.entry.name)
    if len(run.dataset.entry.tasks) > 1:
        check_task(run, data.spec.task)
    if path is not None and not data.files:
        data = replace(data, files=atomic_io.files_of(Path(path)))
    known = hashed.result() if hashed and data.files.keys() == {""} else fingerprint(data)
    return replace(data, fingerprint=known, preprocessing=preprocessing_of(data))


def refuse_other_run(config: Mapping[str, Any], written: Mapping[str, Any], folder: Path) -> None:
    """Raise ConfigError unless `config` computes what `written`, a configuration found in `folder`, does."""
    if (other := difference(with_new_keys(config), with_new_keys(written))) is not None:
        raise ConfigError(f"{folder} holds another run ({other}); hint: restore its files, or start a new run")


def refuse_other_data(config: RunConfig, data: Data, before: str | None, folder: Path) -> None:
    """Raise ConfigError unless the data have the fingerprint `before`, as when the run in `folder` was trained."""
    if before in (None, data.fingerprint):
        return
    path = getattr(config.dataset.config, "path", None)
    key, value = ("dataset.path", path) if path is not None else ("data_dir", config.settings.data_folder)
    what = f"{key}={value}" if data.files else f"dataset={config.dataset.entry.name}"
    raise ConfigError(
        f"{what} has changed since {folder} was trained; allowed: the data as they were; "
        f"hint: restore them, or name their new place with {key}=PATH"
    )


def build_model(run: RunConfig, spec: DataSpec) -> nn.Module:
    """The run's model, initialized from its seed in the run's precision, on the CPU so that every device starts from
    the same weights.

    Raises:
        ConfigError: if dropout is configured for a model that has no dropout layers, or nothing can be trained.
    """
    dropout, seed, dtype = run.dropout, run.settings.seed, PRECISIONS[run.settings.precision]
    made: list[nn.Module] = []

    def make_dropout() -> nn.Module:
        made.append(dropout.entry.build(dropout.config, getattr(dropout.config, "p", 0.0)))
        return made[-1]

    with torch.random.fork_rng(devices=[]), devices.default_dtype(dtype):
        devices.seed_global_generators(rng.seed_for(seed, "initialization"), CPU)
        model: nn.Module = run.model.entry.build(run.model.config, spec, make_dropout)
    check_model(model, run.model.entry.name)
    model = model.double() if dtype == torch.float64 else model.float()  # unlike `to`, it keeps complex numbers
    activation = getattr(run.model.config, "activation", "identity")
    initialize(model, run.initializer, activation, rng.generator(seed, "initializer"))
    input_p = getattr(dropout.config, "input_p", 0.0)
    if not made and getattr(dropout.config, "p", 0.0) > 0 and input_p == 0:
        raise ConfigError(
            f"dropout={dropout.entry.name} has no effect on model={run.model.entry.name}; "
            "allowed: none, or dropout.input_p above 0"
        )
    if input_p > 0:
        on_inputs = dropout.entry.build(dropout.config, input_p)
        model = nn.Sequential(OrderedDict(input_dropout=on_inputs, network=model))
    return model


def trained_model(run: RunConfig, saved: Checkpoint, folder: Path) -> tuple[nn.Module, Preprocessing]:
    """The model of a checkpoint from `folder`, ready for evaluation on the run's device, and the preprocessing of its
    inputs. Needs no data.

    Raises:
        ConfigError: if the checkpoint has no preprocessing, or its parts do not fit each other.
    """
    if saved.get("preprocessing") is None:
        raise ConfigError(f"{folder} has a checkpoint of an older version; hint: train it again with rerun={folder}")
    preprocessing = Preprocessing.from_dict(saved["preprocessing"], f"{folder}: preprocessing")
    try:
        model = build_model(run, preprocessing.spec)
        load_model(model, saved)
    except Exception as error:  # of many kinds
        raise unfit(folder, error) from error
    return devices.place(model, devices.choose(run.settings.device, run.settings.precision)).eval(), preprocessing


@torch.no_grad()
def initialize(model: nn.Module, initializer: Choice, activation: str, generator: torch.Generator) -> None:
    """Initialize weights (parameters of two or more dimensions) and the biases of the same layers. A weight that
    several layers share is initialized once.
    """
    done: set[int] = set()
    for layer in model.modules():
        own = dict(layer.named_parameters(recurse=False))
        weights = [parameter for parameter in own.values() if parameter.ndim >= 2]
        for weight in weights:
            if id(weight) not in done:
                initializer.entry.build(initializer.config, weight, activation, generator)
                done.add(id(weight))
        if weights and "bias" in own and own["bias"].ndim == 1 and initializer.config.bias is not None:
            own["bias"].fill_(initializer.config.bias)


def build_task(run: RunConfig, spec: DataSpec, class_weights: Mapping[str, Tensor] = EMPTY) -> Task:
    """The task of the data, with the run's loss for each head and the weights of classes of some.

    Raises:
        ConfigError: if a loss takes no weights, and examples or classes have some.
    """
    losses = {head.task: run.loss.entry.build(run.loss.config, head.task) for head in spec.heads}
    for task, loss in losses.items():
        check_loss(loss, run.loss.entry.name, spec.is_weighted, bool(class_weights) and task == "classification")
    return Task(spec, losses, class_weights)


def build_optimizer(run: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The run's optimizer; each group keeps its `initial_lr`, which the schedule multiplies.

    Raises:
        ConfigError: if train.decay_biases is false and the optimizer has no weight decay per parameter.
    """
    eager_optim.leave_compiler_out()
    optimizer: torch.optim.Optimizer = run.optimizer.entry.build(run.optimizer.config, model.parameters())
    if not run.train.decay_biases:
        decays = "weight_decay" in optimizer.defaults
        require(decays, "train.decay_biases", False, f"true with optimizer={run.optimizer.entry.name}")
        exclude_biases(optimizer)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def exclude_biases(optimizer: torch.optim.Optimizer) -> None:
    """Move parameters of fewer than two dimensions (biases and gains) to a group without weight decay (or `lambd`)."""
    for group in list(optimizer.param_groups):
        excluded = [parameter for parameter in group["params"] if parameter.ndim < 2]
        group["params"] = [parameter for parameter in group["params"] if parameter.ndim >= 2]
        no_decay = dict.fromkeys([key for key in ("weight_decay", "lambd") if key in group], 0.0)
        optimizer.param_groups.append(group | no_decay | {"params": excluded})


def build_schedule(run: RunConfig, total_steps: int) -> Schedule:
    """The factor on the learning rate, as a function of the step."""
    return cast(Schedule, run.schedule.entry.build(run.schedule.config, total_steps))


def on_device(run: RunConfig, data: Data) -> Data:
    """The data on the run's device, normalized in advance where that takes little memory. Idempotent."""
    device = devices.choose(run.settings.device, run.settings.precision)
    return data.to(device, PRECISIONS[run.settings.precision]).prepared_once()


def build_run(run: RunConfig, data: Data) -> tuple[Plan, TrainState]:
    """Everything that `fit` needs, on the run's device.

    Raises:
        ConfigError: if the batch is larger than the training split, or train.best is not a metric of the task.
    """
    device = devices.choose(run.settings.device, run.settings.precision)
    devices.make_deterministic(run.settings.deterministic)
    batch_size = run.train.batch_of(len(data.train))
    data = on_device(run, data)
    if run.train.one_batch:
        data = on_one_batch(data, batch_size, run.settings.seed, device)
    model = build_model(run, data.spec)
    joins = any(isinstance(module, _BatchNorm) for module in model.modules())
    steps_per_epoch = steps_in_epoch(len(data.train), batch_size, joins)
    task = build_task(run, data.spec, class_weights(run.loss.config, data, device))
    check_sum(task, run.loss.entry, data.train)
    check_best(run.train.best, task.metric_names)
    if isinstance(data.validation, InMemory):
        reason = task.undefined(run.train.best, data.validation.targets)
        require(reason is None, "train.best", run.train.best, f"a metric that the validation split defines: {reason}")
    total_steps = run.train.total_steps(steps_per_epoch)
    schedule = build_schedule(run, total_steps)
    plan = Plan(run, data, task, schedule, device, batch_size, steps_per_epoch, total_steps, joins)
    return plan, build_state(plan, model)


def build_state(plan: Plan, model: nn.Module) -> TrainState:
    """The model on its device, compiled or not, and the optimizer at step 0. Also chooses the number of CPU threads.

    Raises:
        ConfigError: if batch normalization cannot work with the batch size or with accumulation.
    """
    run, spec, device, batch_size = plan.run, plan.data.spec, plan.device, plan.batch_size
    model = devices.place(model, device)
    if plan.joins:
        require(run.train.accumulate == 1, "train.accumulate", run.train.accumulate, "1 with batch normalization")
        require(batch_size > 1, "train.batch_size", batch_size, "2 or more with batch normalization")
    positions = spec.input_shape[0] if spec.kind == "tokens" else 1
    weights = sum(parameter.numel() for parameter in model.parameters())
    multiply_adds = weights * batch_size * positions
    devices.use_threads(run.settings.threads, multiply_adds)
    key = number_layers(model, device)
    has_dropout = any(isinstance(module, Dropout) for module in model.modules())
    compiles = devices.should_compile(run.settings.compile, model, device, 3.0 * multiply_adds * plan.total_steps)
    forward = devices.compiled(model, ceil(batch_size / run.train.accumulate)) if compiles else model
    return TrainState(model, forward, build_optimizer(run, model), key if has_dropout else None)


def on_one_batch(data: Data, batch_size: int, seed: int, device: torch.device) -> Data:
    """The same data with the first training batch as training and validation split, and no test split."""
    batch = InMemory(*next(training_batches(data.train, seed, batch_size, device)))
    return replace(data, train=batch, validation=batch, test=None, augmentation=None)
