"""What a run trains, in a few lines at its start: model, data, device, length and folder."""

import os
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import torch
from torch import nn

from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import counted
from dl_lab.core.terminal import columns_of, labelled
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Split, Windows
from dl_lab.training.state import Plan, TrainState

SIZES = (  # the attributes of a layer of torch that describe it best, of the first row that it has
    ("in_features", "out_features"),
    ("in_channels", "out_channels", "kernel_size"),
    ("num_embeddings", "embedding_dim"),
    ("input_size", "hidden_size"),
    ("normalized_shape",),
    ("num_features",),
    ("embed_dim", "num_heads"),
)
SOURCES = {"bundled": "bundled with scikit-learn", "memory": "given in Python"}
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
LONGEST = 110  # characters of all layers
NAMED = 40  # characters of the names of all classes


def lines(plan: Plan, state: TrainState, folder: Path, resumes: bool) -> list[str]:
    """The lines that a run prints before its first step, or, if it `resumes`, before its next one."""
    at = f"step {state.step} of {plan.total_steps}" if state.step else "the start, as it had no checkpoint yet"
    described = {
        "model": model_line(plan.run.model.entry.name, state.model),
        "data": data_line(plan.run, plan.data),
        "device": device_line(plan, compiled=state.forward is not state.model),
        "train": length_line(plan),
    }
    where = {"folder": str(folder.absolute()), **({"resume": f"continues from {at}"} if resumes else {})}
    return labelled(described, columns_of(sys.stdout)) + labelled(where)


def model_line(name: str, model: nn.Module) -> str:
    """The name of a model, its layers and the number of its parameters."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    total, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    frozen = f" ({trained:,} of them trained)" if trained < total else ""
    return f"{name}: {shortened(collapsed(layers(model)))}; {counted(total, 'parameter')}{frozen}"


def layers(module: nn.Module) -> list[str]:
    """The layers of a module that have parameters. A block in a list is named by its class."""
    if type(module).__module__.startswith("torch.nn") and not isinstance(module, CONTAINERS):
        return [layer_name(module)] if has_parameters(module) else []
    own = [parameter_name(name, parameter) for name, parameter in module.named_parameters(recurse=False)]
    if own and not any(map(has_parameters, module.children())):
        return [f"{type(module).__name__}({', '.join(own)})"]
    found = list(own)
    for child in filter(has_parameters, module.children()):
        is_block = isinstance(module, nn.ModuleList) and any(True for _ in child.children())
        found += [type(child).__name__] if is_block else layers(child)
    return found


def has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def layer_name(layer: nn.Module) -> str:
    """A layer of torch with its sizes, such as Conv2d(1, 32, 3x3)."""
    names: Iterable[str] = next((row for row in SIZES if all(hasattr(layer, name) for name in row)), ())
    values = [getattr(layer, name) for name in names]
    sizes = ["x".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
    return f"{type(layer).__name__}({', '.join(sizes)})" if sizes else type(layer).__name__


def parameter_name(name: str, parameter: nn.Parameter) -> str:
    return f"{name} {'x'.join(map(str, parameter.shape)) or 'of one number'}"


def collapsed(names: list[str]) -> list[str]:
    """Neighbours with the same name as one, as torch prints them: 4 x Block."""
    counts = [(name, len(list(same))) for name, same in groupby(names)]
    return [name if count == 1 else f"{count} x {name}" for name, count in counts]


def shortened(names: list[str]) -> str:
    """The names, with those in the middle left out if they are too long for a line."""
    text, left_out = ", ".join(names), 0
    while len(text) > LONGEST and left_out < len(names) - 2:
        left_out += 1
        first = (len(names) - left_out + 1) // 2
        text = ", ".join([*names[:first], f"... ({left_out} more)", *names[first + left_out :]])
    return text or "without layers"


def data_line(run: RunConfig, data: Data) -> str:
    """The name of a dataset, its source, the sizes of its splits, its inputs and its targets."""
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    sizes = [f"{size_of(split)[0]:,} {name}" for name, split in splits.items() if split is not None]
    targets = "; ".join(target_of(data.spec, head) for head in data.spec.heads[:3] if head.task != "language_modelling")
    more = f"; {len(data.spec.heads) - 3} more targets" if len(data.spec.heads) > 3 else ""
    parts = [f"{', '.join(sizes[:-1])} and {sizes[-1]} {inputs_of(data)}", *filter(None, [f"{targets}{more}"])]
    return f"{run.dataset.entry.name} ({source_of(run, data)}): {'; '.join(parts)}"


def size_of(split: Split) -> tuple[int, str]:
    """The number of examples of a split, and what they are; of tokens, if it is a text."""
    return (len(split.tokens), "token") if isinstance(split, Windows) else (len(split), "example")


def inputs_of(data: Data) -> str:
    """What the examples are, and their shape."""
    spec = data.spec
    if spec.kind == "image":
        channels, height, width = spec.input_shape
        return f"images of {height}x{width} pixels{f' and {channels} channels' if channels > 1 else ''}"
    if spec.kind == "features":
        return f"examples of {counted(spec.input_shape[0], 'feature')}"
    if isinstance(data.train, Windows):
        unit = "characters" if data.tokenizer is not None and data.tokenizer.kind == "characters" else "tokens"
        return f"{unit}, windows of {spec.input_shape[0]}, vocabulary of {spec.vocabulary:,}"
    return f"sequences of {spec.input_shape[0]} tokens, vocabulary of {spec.vocabulary or 0:,}"


def target_of(spec: DataSpec, head: Head) -> str:
    """The classes, labels or values that a head predicts, by name if there are few."""
    kinds = {"classification": ("class", "classes"), "multilabel": ("label", "labels"), "regression": ("target", None)}
    one, several = kinds[head.task]
    name = f"{head.name}: " if len(spec.heads) > 1 and head.task != "regression" else ""
    labels = ", ".join(head.labels)
    named = f" ({labels})" if len(labels) <= NAMED and not labels.replace(", ", "").isdigit() else ""
    return f"{name}{counted(head.size, one, several)}{named}"


def source_of(run: RunConfig, data: Data) -> str:
    """Where the data come from: a file or folder, a package, a generator or the code of a user."""
    if (path := getattr(run.dataset.config, "path", None)) is not None:
        return str(path)
    if data.files:
        places = [place.absolute() for place in data.files.values()]
        return str(places[0] if len(places) == 1 else os.path.commonpath(places))
    package, _, module = run.dataset.entry.build.__module__.rpartition(".")
    return SOURCES.get(module, "generated") if package == "dl_lab.datasets" else f"made by {module}"


def device_line(plan: Plan, compiled: bool) -> str:
    """The device, the precision and, on a CPU, the number of threads."""
    name = plan.device.type
    if name == "cuda":
        name = f"{plan.device} ({torch.cuda.get_device_name(plan.device)})"
    threads = [counted(torch.get_num_threads(), "thread")] if name == "cpu" else []
    return ", ".join([name, *threads, plan.run.settings.precision, *(["compiled"] if compiled else [])])


def length_line(plan: Plan) -> str:
    """The optimizer, the batch size and the planned steps, epochs and validations."""
    optimizer, epochs = plan.run.optimizer, plan.total_steps / plan.steps_per_epoch
    rate = f" with lr {lr:g}" if isinstance(lr := getattr(optimizer.config, "lr", None), float) else ""
    length = f"{counted(plan.total_steps, 'step')} ({epochs:.4g} {'epoch' if epochs == 1 else 'epochs'})"
    last_only = plan.validate_every >= plan.total_steps
    validated = "validation at the end" if last_only else f"validation every {counted(plan.validate_every, 'step')}"
    return f"{optimizer.entry.name}{rate}, batch size {plan.batch_size:,}, {length}, {validated}"
