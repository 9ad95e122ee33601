"""Build single parts of dl_lab (a loss, a model, an optimizer's settings) from command-line settings."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from dl_lab.config.compose import CONF, compose
from dl_lab.config.parse import parse, typed
from dl_lab.core.devices import PRECISIONS
from dl_lab.data.spec import DataSpec, Head
from dl_lab.losses.losses import Loss
from dl_lab.registry import OPTIMIZERS
from dl_lab.training.setup import build_data, build_model


def loss(settings: str, task: str = "classification") -> Loss:
    """The registered loss that the settings choose; it sums over examples."""
    labels = "table dataset.path=unread dataset.targets=[label] dataset.task=multilabel"
    dataset = {"classification": "digits", "regression": "diabetes", "multilabel": labels}[task]
    run = parse(compose(*settings.split(), *f"dataset={dataset}".split()))
    return run.loss.entry.build(run.loss.config, task)


def optimizer_settings(name: str, changes: Mapping[str, Any]) -> Any:
    """The values of the optimizer's YAML file, with some changed."""
    values = yaml.safe_load((CONF / "optimizer" / f"{name}.yaml").read_text())
    del values["name"]
    return typed(OPTIMIZERS[name].schema, values | changes, "optimizer")


def model_and_examples(settings: str, number: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A model on the CPU, the inputs of its first training examples, and their targets."""
    run = parse(compose(*settings.split()))
    data = build_data(run).to(torch.device("cpu"), PRECISIONS[run.settings.precision])
    inputs, targets = next(iter(data.train.everything(number)))
    return build_model(run, data.spec), data.prepare(inputs), targets


def plain_layers(settings: str, depth: int, width: int, labels: Sequence[str]) -> nn.Module:
    """A network of `depth` layers (linear, activation) of one width, and a linear head for the labels."""
    plain = f"model=deep_nn model.depth={depth} model.width={width} model.normalization=none model.residual=false"
    task = "classification" if len(labels) > 1 else "regression"
    head = Head(name="y", task=task, labels=tuple(labels))
    spec = DataSpec(kind="features", input_shape=(width,), heads=(head,))
    return build_model(parse(compose(*plain.split(), *settings.split())), spec)


def record_layers(model: nn.Module) -> list[Tensor]:
    """A list that receives the output of each layer of `plain_layers` in the next forward pass."""
    outputs: list[Tensor] = []
    for dropout in model.dropouts:  # each directly follows an activation
        dropout.register_forward_hook(lambda _, __, output: outputs.append(output))
    return outputs


def normal(*size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers that depend only on the seed."""
    return torch.randn(size, dtype=dtype, generator=torch.Generator().manual_seed(seed))
