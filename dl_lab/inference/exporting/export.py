"""Export a trained model for programs without dl_lab, and verify that it computes what the model computes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dl_lab.core.atomic_io import name_in_errors
from dl_lab.core.devices import PRECISIONS
from dl_lab.core.errors import ConfigError, Failed
from dl_lab.data.spec import Head
from dl_lab.inference.exporting import files, onnx, weights
from dl_lab.inference.exporting.folder import publishing
from dl_lab.inference.exporting.graph import Heads
from dl_lab.inference.exporting.samples import samples, stored_of
from dl_lab.inference.exporting.trace import Function, Raw, Traced, placed, quiet, reason, trace, untraced
from dl_lab.inference.trained import Trained

Outputs = dict[str, Tensor]
Target = Literal["onnx", "torch", "safetensors"]

TOLERANCE = 1e-5  # of probabilities, and of values in standard deviations of the target
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": (), "safetensors": ("safetensors",)}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Exported:
    """The files of an export, the largest difference between its outputs and those of the model, and notes."""

    files: list[Path]
    difference: float
    notes: list[str]


def export(trained: Trained, to: Target, out: Path) -> Exported:
    """Write the model to the folder `out`, with a script that uses it and a description.

    Raises:
        ConfigError: if the model cannot be exported, a library is missing, or `out` has files of other origin.
        Failed: if the exported model computes other outputs than the model.
    """
    for module in NEEDS[to]:
        try:
            import_module(module)
        except ImportError as error:
            hint = f"pip install 'dl_lab[{to}]'"
            raise ConfigError(f"to={to} needs {module}, which cannot be imported; hint: {hint}") from error
    reference, notes = _reference(trained, to)
    with publishing(out) as folder, quiet(), name_in_errors(out):
        difference = WRITERS[to](reference, notes, folder)
        names = sorted(path.name for path in folder.iterdir())
    return Exported([out / name for name in names], difference, notes)


def _reference(trained: Trained, to: Target) -> tuple[Trained, list[str]]:
    """The model that the exported one is compared with: in float32 if it was trained in bfloat16, whose rounding no
    other program repeats; on a CPU, unless the program is for its device, as a GPU may round convolutions to TF32.
    """
    settings, notes = trained.run.settings, []
    if settings.precision == "bfloat16":
        settings = replace(settings, precision="float32")
        notes.append("the run computes in bfloat16, the exported model in float32, more precisely")
    if to != "torch":
        settings = replace(settings, device="cpu")
    reference = replace(trained, run=replace(trained.run, settings=settings))
    return replace(reference, model=placed(trained.model, _precision(reference), reference.device)), notes


def _precision(trained: Trained) -> torch.dtype:
    return PRECISIONS[trained.run.settings.precision]


def _to_onnx(trained: Trained, notes: list[str], folder: Path) -> float:
    """Compute in the run's precision, or in float32 if onnxruntime lacks an operation in float64."""
    path, precision = folder / "model.onnx", _precision(trained)
    traced = trace(trained, precision, CPU)
    try:
        onnx.write_onnx(traced, path)
        difference = verified(trained, traced, onnx.runner(traced, path))
    except Exception as error:  # onnxruntime raises many types
        if isinstance(error, ConfigError | Failed) or precision != torch.float64:
            raise
        notes.append(f"it computes in float32, as onnxruntime cannot in float64 ({reason(error)})")
        traced = trace(trained, torch.float32, CPU)
        onnx.write_onnx(traced, path)
        difference = verified(trained, traced, onnx.runner(traced, path))
    files.write_config(trained, traced, "onnx", {}, folder)
    files.write_texts(traced, "onnx", difference, notes, folder)
    return difference


def _to_torch(trained: Trained, notes: list[str], folder: Path) -> float:
    traced = trace(trained, _precision(trained), trained.device)
    assert traced.program is not None
    content = BytesIO()  # torch's own errors of a full disk are tracebacks
    torch.export.save(traced.program, content)
    (folder / "model.pt2").write_bytes(content.getbuffer())
    difference = verified(
        trained, traced, _on_tensors(torch.export.load(folder / "model.pt2").module(), trained.device)
    )
    files.write_config(trained, traced, "torch", {}, folder)
    files.write_texts(traced, "torch", difference, notes, folder)
    return difference


def _to_safetensors(trained: Trained, notes: list[str], folder: Path) -> float:
    """Write the weights, and the program where it can be traced; verify it, and the model as it is rebuilt."""
    traced = untraced(trained)
    try:
        traced = trace(trained, _precision(trained), CPU)
    except ConfigError as error:
        notes.append(str(error).partition("; hint")[0])
    about = weights.write_weights(trained, traced, folder)
    files.write_config(trained, traced, "safetensors", about, folder)
    again = weights.rebuilt(folder)
    difference = verified(trained, replace(traced, any_length=False), partial(_by_dl_lab, again, traced))
    if (forward := weights.program_in(folder)) is not None:
        try:
            difference = max(difference, verified(trained, traced, _on_tensors(forward, CPU)))
        except Failed as error:
            notes.append(str(error).partition("; hint")[0])
            (folder / "model.py").unlink()
    files.write_texts(traced, "safetensors", difference, notes, folder)
    return difference


WRITERS = {"onnx": _to_onnx, "torch": _to_torch, "safetensors": _to_safetensors}


def _on_tensors(function: Callable[[Tensor], Outputs], device: torch.device) -> Function:
    def run(raw: Raw) -> Outputs:
        with torch.no_grad():
            return {name: value.cpu() for name, value in function(torch.from_numpy(raw).to(device)).items()}

    return run


def _by_dl_lab(trained: Trained, traced: Traced, raw: Raw) -> Outputs:
    outputs = torch.cat(list(trained.outputs(stored_of(traced, raw))))
    return Heads(traced.spec.heads, traced.names)(outputs.double().cpu())


def verified(trained: Trained, traced: Traced, function: Function) -> float:
    """The largest difference between the outputs of an exported model and those that dl_lab computes.

    Raises:
        Failed: if it is larger than TOLERANCE.
    """
    largest = 0.0
    for raw in samples(traced):
        expected, found = _by_dl_lab(trained, traced, raw), function(raw)
        for head, name in zip(traced.spec.heads, traced.names, strict=True):
            largest = max(largest, _difference(head, expected[name], found[name].double()))
    if not largest <= TOLERANCE:
        raise Failed(
            f"the exported model computes other outputs than the model, by up to {largest:.2g} (allowed: {TOLERANCE}); "
            "hint: a model that draws random numbers or changes itself in evaluation cannot be exported"
        )
    return largest


def _difference(head: Head, expected: Tensor, found: Tensor) -> float:
    """The largest difference; of regression in standard deviations of the target, relative to values above 1."""
    if head.task == "regression":
        scale = torch.tensor(head.scale or (1.0,), dtype=torch.float64)
        offset = torch.tensor(head.offset or (0.0,), dtype=torch.float64)
        expected, found = ((values - offset) / scale for values in (expected, found))
        size = max(1.0, float(expected.abs().nan_to_num().max()))
        expected, found = expected / size, found / size
    if expected.shape != found.shape or not torch.equal(expected.isfinite(), found.isfinite()):
        return inf
    return float((expected - found).nan_to_num().abs().max())
