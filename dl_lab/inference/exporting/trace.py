"""Trace a trained model to a program of torch.export."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from dl_lab.config.messages import described
from dl_lab.core.errors import ConfigError
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.spec import DataSpec
from dl_lab.inference.exporting.graph import GRAPHS, Graph, output_names
from dl_lab.inference.trained import Trained

Raw = NDArray[Any]
Function = Callable[[Raw], dict[str, Tensor]]  # outputs by name, on the CPU

MOST = 2**31 - 1  # examples in a batch; without a limit, torch 2.6 confuses their number with the end of a slice
HINT = (
    "hint: use operations on tensors only, such as torch.where instead of if, and no loop over a batch; "
    "to=safetensors exports the weights without the program"
)
ADVICE = re.compile(r"For more information, run with TORCH_LOGS=\S+( - )?")  # of torch, about its own logs


@dataclass(frozen=True)
class Traced:
    """A program with its inputs; no program if only the weights are exported. `any_length`: it takes sequences that are
    shorter than those of training.
    """

    preprocessing: Preprocessing
    program: ExportedProgram | None
    names: list[str]  # of the outputs
    dtype: torch.dtype  # of raw inputs
    any_length: bool
    device: str = "cpu"

    @property
    def spec(self) -> DataSpec:
        return self.preprocessing.spec

    @property
    def columns(self) -> Sequence[Mapping[str, Any]]:
        """The columns of a table, each of which is one number of the input; none for images and texts."""
        return self.preprocessing.columns if self.spec.kind == "features" else ()

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of a raw example."""
        return (len(self.columns),) if self.columns else self.spec.input_shape


def input_dtype(trained: Trained) -> torch.dtype:
    """The type of raw inputs: pixels of our own datasets are bytes; those of others may be larger."""
    if trained.spec.kind != "image":
        return torch.int64 if trained.spec.kind == "tokens" else torch.float64
    if trained.preprocessing.mean is None:
        return torch.float32
    is_ours = trained.run.dataset.entry.build.__module__.startswith("dl_lab.")
    return torch.uint8 if is_ours else torch.int32


def trace(trained: Trained, precision: torch.dtype, device: torch.device) -> Traced:
    """The program of a model and its preprocessing, whose network computes in this precision.

    Raises:
        ConfigError: if torch.export cannot trace the model.
    """
    graph, traced = graph_of(trained, precision, device), replace(untraced(trained), device=str(device))
    shape = traced.raw_shape
    example = torch.zeros(3, *shape, dtype=traced.dtype, device=device)  # torch.export takes a size of 1 for a constant
    if traced.spec.kind == "tokens" and shape[0] > 2:
        with suppress(ConfigError):  # a model may take sequences of one length only
            sizes = {0: Dim("batch", max=MOST), 1: Dim("time", max=shape[0])}
            return replace(traced, program=_program(graph, example[:, 1:].contiguous(), sizes), any_length=True)
    return replace(traced, program=_program(graph, example, {0: Dim("batch", max=MOST)}))


def untraced(trained: Trained) -> Traced:
    spec = trained.spec
    return Traced(trained.preprocessing, None, output_names(spec.heads, spec.kind), input_dtype(trained), False)


def graph_of(trained: Trained, precision: torch.dtype, device: torch.device) -> Graph:
    """The model between its preprocessing and its heads."""
    kind, names = trained.spec.kind, output_names(trained.spec.heads, trained.spec.kind)
    network = placed(trained.model, precision, device)
    return GRAPHS[kind](network, trained.preprocessing, names, precision).to(device).eval()


def placed(model: nn.Module, precision: torch.dtype, device: torch.device) -> nn.Module:
    """The model itself, or a copy that computes on another device or in another precision."""
    weights = next(model.parameters())
    if weights.device == device and weights.dtype in (precision, torch.bfloat16):
        return model
    copied = deepcopy(model).to(device)
    return copied.double() if precision == torch.float64 else copied.float()


def _program(graph: Graph, example: Tensor, sizes: dict[int, Any]) -> ExportedProgram:
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(graph, (example,), dynamic_shapes=(sizes,), strict=False)
    except Exception as error:  # of many kinds
        raise ConfigError(f"the model cannot be exported ({reason(error)}); {HINT}") from error


def reason(error: BaseException) -> str:
    """The innermost cause of an error, in a few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return ADVICE.sub("", described(error))[:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Show no warnings of libraries inside the context, and nothing that they print, such as whole graphs."""
    before, nowhere = logging.root.manager.disable, StringIO()
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(before)
