"""Write a traced program as ONNX, and run it with onnxruntime."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from dl_lab.core.errors import ConfigError
from dl_lab.inference.exporting.trace import Function, Raw, Traced, reason

LARGEST = 1_500_000_000  # bytes of weights in one file, whose format ends at 2 GB


def write_onnx(traced: Traced, path: Path) -> None:
    """Raises: ConfigError if ONNX lacks an operation of the program."""
    assert traced.program is not None
    try:
        with torch.no_grad():
            found = _converted(traced.program, traced.spec.kind)
        _rename(found.model.graph, traced)
    except Exception as error:  # of many kinds
        raise ConfigError(
            f"the model cannot be exported to ONNX ({reason(error)}); allowed: torch, safetensors"
        ) from error
    size = sum(value.numel() * value.element_size() for value in traced.program.state_dict.values())
    found.save(path, external_data=size > LARGEST)


def _converted(program: ExportedProgram, name: str) -> Any:
    try:
        return torch.onnx.export(program, (), dynamo=True, verbose=False, input_names=[name])
    except Exception:  # torch 2.6 cannot convert batch normalization with a newer onnxscript
        simpler = program.run_decompositions({torch.ops.aten._native_batch_norm_legit_no_training.default: _normalized})
        return torch.onnx.export(simpler, (), dynamo=True, verbose=False, input_names=[name])


def _normalized(
    inputs: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization in evaluation as a formula; the other results are those of training."""
    shape = [1, -1, *[1] * (inputs.ndim - 2)]
    outputs = (inputs - mean.view(shape)) * (variance + eps).rsqrt().view(shape)
    outputs = outputs if weight is None else outputs * weight.view(shape)
    outputs = outputs if bias is None else outputs + bias.view(shape)
    return outputs, inputs.new_zeros(0), inputs.new_zeros(0)


def _rename(graph: Any, traced: Traced) -> None:
    """Name outputs after heads, and variable sizes. Two values of a graph cannot have the same name."""
    taken = {traced.spec.kind, *traced.names}
    inner = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    for number, value in enumerate(inner):
        if value.name in taken:
            value.name = f"{value.name}.{number}.inner"
    for name, value in zip(traced.names, graph.outputs, strict=True):
        value.name = name
    named = zip(graph.inputs[0].shape, ("batch", "time"), strict=False)
    sizes = {str(size): name for size, name in named if not isinstance(size, int)}
    for value in (*graph.inputs, *inner):
        if value.shape is not None:
            value.shape = type(value.shape)([sizes.get(str(size), size) for size in value.shape])


def runner(traced: Traced, path: Path) -> Function:
    """The exported model as a function of raw inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # warnings would be written to the terminal
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(raw: Raw) -> dict[str, torch.Tensor]:
        outputs = session.run(traced.names, {traced.spec.kind: raw})
        return dict(zip(traced.names, map(torch.from_numpy, outputs), strict=True))

    return run
