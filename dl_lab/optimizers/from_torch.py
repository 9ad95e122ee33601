"""Register an optimizer of torch whose parameters are the fields of its schema."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from dl_lab.core.schema import Schema
from dl_lab.registry import OPTIMIZERS


def register(
    name: str, schema: type[Schema], optimizer: Callable[..., torch.optim.Optimizer], about: str, **implementation: bool
) -> None:
    """`about` names the publication; `implementation` selects torch's fastest one, such as fused=True."""

    def build(config: Any, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return optimizer(parameters, **asdict(config), **implementation)

    build.__doc__ = about
    OPTIMIZERS.register(name, schema)(build)
