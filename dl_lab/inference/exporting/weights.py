"""Export a model as weights, with its program as Python code if the program needs nothing but tensors."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind

from dl_lab.dropouts.layers import Dropout
from dl_lab.inference.exporting.trace import Traced
from dl_lab.inference.trained import Trained, configuration
from dl_lab.runs.identity import MOVED
from dl_lab.training import setup

WEIGHTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
OTHERS = "other/"  # before the names of tensors that are not in the state of the model
PROGRAM = '''"""The model as a function of PyTorch: the graph that torch.export has traced, written by dl_lab."""

import math
import operator as _operator
from math import inf, nan

import torch
from torch import device

ARGUMENTS = {arguments}
OUTPUTS = {outputs}


def forward(weights, inputs):
    """The outputs by name. `weights` are those of model.safetensors and constants.safetensors."""
    return dict(zip(OUTPUTS, graph(*(weights[name] for name in ARGUMENTS), inputs)))


{graph}
'''


def write_weights(trained: Trained, traced: Traced, folder: Path) -> dict[str, Any]:
    """Write the weights, what else the program needs, and its code. Returns what config.json says of them."""
    from safetensors.torch import save

    state = {name: value.detach() for name, value in trained.model.state_dict().items()}
    constants = {OTHERS + name: value for name, value in _other_buffers(trained.model).items()}
    buffers = sorted(constants)
    if (arguments := _plain_arguments(traced)) is not None:
        (folder / "model.py").write_text(_code(traced, [_name(name, state) for name in arguments]), encoding="utf-8")
        constants |= {_name(name, state): value for name, value in arguments.items() if _name(name, state) not in state}
    shared = _shared(state)
    of_model = {name: value for name, value in state.items() if name not in shared}
    for file, tensors in (("model", of_model), ("constants", constants)):
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        (folder / f"{file}.safetensors").write_bytes(save(plain, {"format": "pt"}))
    return {"shared": shared, "buffers": buffers, "configuration": without_folders(trained.run.as_dict)}


def _other_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that are not part of the state, without those of dropout, which evaluation does not read."""
    persistent = model.state_dict().keys()
    dropped = {f"{name}.key" for name, module in model.named_modules() if isinstance(module, Dropout)}
    return {name: value for name, value in model.named_buffers() if name not in persistent and name not in dropped}


def _name(name: str, state: Mapping[str, Tensor]) -> str:
    """The name in the files of a tensor of the graph, which has the model as `network`."""
    of_model = name.removeprefix("network.")
    return of_model if of_model != name and of_model in state else OTHERS + of_model


def _shared(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Map the name of each tensor that shares memory with an earlier one to the name of the earlier one."""
    first: dict[object, str] = {}
    shared = {}
    for name, value in tensors.items():
        place = (value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else name
        if (other := first.setdefault(place, name)) != name:
            shared[name] = other
    return shared


def _plain_arguments(traced: Traced) -> dict[str, Tensor] | None:
    """The tensors that the graph reads, by their names in it; None if it needs more than tensors, such as an object of
    the user's own. Removes those that it does not read, and checks of types, from the graph.
    """
    program = traced.program
    if program is None:
        return None
    module, tensors = program.graph_module, {**program.state_dict, **program.constants}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    arguments = {}
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
        elif node.op == "get_attr":
            return None
    for node in list(module.graph.find_nodes(op="placeholder")):
        spec = specs[node.name]
        if spec.kind in WEIGHTS and not node.users:
            module.graph.erase_node(node)
        elif spec.kind in WEIGHTS:
            arguments[str(spec.target)] = tensors[str(spec.target)]
        elif spec.kind != InputKind.USER_INPUT:
            return None
    return arguments


def _code(traced: Traced, arguments: list[str]) -> str:
    assert traced.program is not None
    source = traced.program.graph_module.graph.python_code("self").src
    graph = source.strip().replace("def forward(self, ", "def graph(", 1)
    return PROGRAM.format(arguments=arguments, outputs=traced.names, graph=graph)


def without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that names files and no folders, which others do not have and need not know."""
    plain = {**config, "dataset": dict(config["dataset"]), "data_dir": None}
    for key in MOVED:
        name = key.partition(".")[2]
        if plain["dataset"].get(name) is not None:
            plain["dataset"][name] = Path(plain["dataset"][name]).name
    return plain


def program_in(folder: Path) -> Callable[[Tensor], dict[str, Tensor]] | None:
    """The program of the files of an export, as its code computes it; None if there is none."""
    if not (folder / "model.py").exists():
        return None
    names: dict[str, Any] = {}
    exec((folder / "model.py").read_text(encoding="utf-8"), names)
    return partial(names["forward"], _tensors(folder)[0])


def _tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, and config.json."""
    from safetensors.torch import load_file

    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = {**load_file(folder / "model.safetensors"), **load_file(folder / "constants.safetensors")}
    return tensors | {name: tensors[first] for name, first in about["shared"].items()}, about


def rebuilt(folder: Path, imports: list[str] | None = None, device: str = "cpu") -> Trained:
    """The trained model of the files of an export to=safetensors."""
    tensors, about = _tensors(folder)
    state = {name: value for name, value in tensors.items() if not name.startswith(OTHERS)}
    buffers = {name.removeprefix(OTHERS): tensors[name] for name in about["buffers"]}
    run = configuration(about["configuration"], imports or [], device=device)
    saved = {"model": state, "buffers": buffers, "preprocessing": about["preprocessing"]}
    model, preprocessing = setup.trained_model(run, saved, folder)
    return Trained(folder, run, model, preprocessing, about["step"])
