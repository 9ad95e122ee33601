"""Write the files beside an exported model: config.json, README.md, and predict.py, which uses it without dl_lab."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import dl_lab
from dl_lab.data.spec import Head
from dl_lab.data.tables.cells import MISSING, marks_of
from dl_lab.inference.exporting import scripts
from dl_lab.inference.exporting.trace import Traced
from dl_lab.inference.trained import Trained

MODELS = {"onnx": "model.onnx", "torch": "model.pt2", "safetensors": "model.safetensors"}
SHOWN = 10  # labels in README.md; config.json has all


def write_config(trained: Trained, traced: Traced, to: str, more: Mapping[str, Any], folder: Path) -> None:
    """Write everything that a program needs to feed the model and to read its outputs, as JSON."""
    preprocessing = traced.preprocessing.as_dict()
    columns = preprocessing["columns"]
    for column in columns:
        if column["kind"] == "date":
            column["formats"] = python_formats(column["pattern"])
    reading = preprocessing["reading"] or {}
    outputs = {
        name: {"head": head.name, "task": head.task, "labels": list(map(str, head.labels))}
        for name, head in zip(traced.names, traced.spec.heads, strict=True)
    }
    values = {
        "dl_lab": dl_lab.__version__,
        "torch": torch.__version__,
        "model": trained.run.model.entry.name,
        "step": trained.step,
        "file": MODELS[to],
        "input": {"name": traced.spec.kind, "type": _type(traced), "shape": _shape(traced)},
        "outputs": outputs,
        "missing": sorted(MISSING | marks_of(reading.get("missing", []))),
        "preprocessing": preprocessing,
        **more,
    }
    (folder / "config.json").write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def python_formats(pattern: str) -> list[str]:
    """The formats of Python's strptime that together read what a format of polars does."""
    fractions = [pattern.replace("%.f", end) for end in ("", ".%f")] if "%.f" in pattern else [pattern]
    return [each.replace("%#z", "%z") for each in fractions]


def write_texts(traced: Traced, to: str, difference: float, notes: list[str], folder: Path) -> None:
    """Write README.md, and predict.py if there is a program."""
    has_program = to != "safetensors" or (folder / "model.py").exists()
    if has_program:
        script = scripts.script(traced, to)
        (folder / "predict.py").write_text(script, encoding="utf-8")
        if (tokenizer := traced.preprocessing.tokenizer) is not None and tokenizer.kind == "bpe":
            (folder / "tokenizer.json").write_text(tokenizer.as_json(), encoding="utf-8")
    lines = [
        f"# A model exported from dl_lab {dl_lab.__version__}",
        "",
        f"`{MODELS[to]}` maps the input `{traced.spec.kind}` to "
        + ", ".join(map(_plain, traced.names))
        + f". Its outputs differ from those of dl_lab by at most {difference:.1e} (of regression in standard "
        "deviations of the target), on random inputs and on inputs like the data, in batches of several sizes.",
        *(f"\nNote: {note}." for note in notes),
        "",
        "## Input",
        "",
        f"`{traced.spec.kind}`: {_type(traced)}, of shape ({', '.join(map(str, _shape(traced)))}). {_meaning(traced)}",
        *_columns(traced),
        "",
        "## Outputs",
        "",
        *(_output(traced, name, head) for name, head in zip(traced.names, traced.spec.heads, strict=True)),
        "",
        "## Use",
        "",
        *_use(to, has_program, traced),
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _type(traced: Traced) -> str:
    return str(traced.dtype).removeprefix("torch.")


def _shape(traced: Traced) -> list[str | int]:
    shape = traced.spec.input_shape
    return (
        ["batch", *((f"time, up to {shape[0]}",) if traced.any_length else shape)]
        if not traced.columns
        else ["batch", len(traced.columns)]
    )


def _meaning(traced: Traced) -> str:
    preprocessing = traced.preprocessing
    match traced.spec.kind:
        case "image":
            if preprocessing.mean is None:
                return "Values as the model was trained on."
            return f"Pixels from 0 (black) to {preprocessing.white:g} (white); the model normalizes them."
        case "tokens":
            return "The number of each token is its place in the labels of the output in `config.json`, from 0."
    if traced.columns:
        return "One number for each column, in its own unit; the model standardizes them:"
    return "Numbers as the model was trained on."


def _columns(traced: Traced) -> list[str]:
    found = []
    for column in traced.columns:
        match column["kind"]:
            case "number":
                text = "a number"
            case "boolean":
                text = f"0 for {column['words'][0]}, 1 for {column['words'][1]}"
            case "date":
                text = "seconds since 1970-01-01"
            case _:
                others = f"{len(column['labels'])} for any other value"
                text = f"the place of its label from 0, {others}: {_some(column['labels'])}"
        found.append(f"- {_plain(column['name'])}: {text}{'; nan if missing' if 'fill' in column else ''}")
    return ["", *found] if found else []


def _output(traced: Traced, name: str, head: Head) -> str:
    shape = ["batch", *["time"] * (head.task == "language_modelling"), str(head.size)]
    what = {
        "classification": "the probability of each class",
        "multilabel": "the probability of each label, of which any number can be true",
        "language_modelling": "the probability of each token as the next one",
        "regression": "values in the unit of each target",
    }[head.task]
    return f"- {_plain(name)}: ({', '.join(shape)}), {what}: {_some(head.labels)}"


def _some(labels: Any) -> str:
    shown = ", ".join(_plain(json.dumps(label, ensure_ascii=False)) for label in labels[:SHOWN])
    return f"{shown}, ... ({len(labels)}, see `config.json`)" if len(labels) > SHOWN else shown


def _plain(text: str) -> str:
    """A text of the data, escaped for Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split())) or repr(text)


def _use(to: str, has_program: bool, traced: Traced) -> list[str]:
    if not has_program:
        return [
            "The program of this model could not be traced: its weights need dl_lab and the code of the model.",
            "",
            "    from pathlib import Path",
            "    from dl_lab.inference.exporting.weights import rebuilt",
            "    rebuilt(Path('.'), imports=[...]).model",
        ]
    needs = {"onnx": "numpy and onnxruntime", "torch": "numpy and torch", "safetensors": "numpy, torch and safetensors"}
    files = " `model.py` is the program in PyTorch." if to == "safetensors" else ""
    return [
        f"`python predict.py {scripts.argument(traced)}` prints one line of JSON for each example. It needs "
        f"{needs[to]}{scripts.further_packages(traced)}, not dl_lab.{files} `config.json` has all names and labels.",
    ]
