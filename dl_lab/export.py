"""python -m dl_lab.export run=FOLDER to=onnx|torch|safetensors [out=FOLDER]: export a trained run."""

import sys
from typing import Any, Literal

from dl_lab.cli import app, arguments
from dl_lab.core.errors import printable
from dl_lab.core.paths import user_path
from dl_lab.core.schema import Schema

HELP = """Export a run's model for programs without dl_lab: python -m dl_lab.export run=FOLDER to=onnx [key=value ...]

  run=FOLDER        a run folder (FOLDER alone, too), such as outputs/2026-11-22/10-00-00
  to=onnx           onnx, torch (a program of torch.export) or safetensors (weights)
  out=FOLDER        a new folder, or one of an earlier export; default: export/onnx in the run folder
  checkpoint=best   best or last
  device=cpu        the device of the program that to=torch writes: auto, cpu, cuda, cuda:1 or mps
  imports=[]        your modules, if the run was trained with imports

The folder contains the model with its preprocessing, config.json, README.md, and predict.py, a script that uses it.
"""

DEFAULTS: dict[str, Any] = {"out": None, "checkpoint": "best", "device": "cpu", "imports": []}


class ExportConfig(Schema):
    run: str
    to: Literal["onnx", "torch", "safetensors"]
    out: str | None
    checkpoint: Literal["best", "last"]
    device: str
    imports: list[str]


def main() -> None:
    """Write an exported model to a folder, and print its files."""
    with app.exits():
        if arguments.answered(sys.argv[1:], HELP):
            return
        keys = ("run", "to", "out", "checkpoint", "device", "imports")
        values = {**DEFAULTS, **arguments.values(sys.argv[1:], keys, texts=("run", "out"))}

        from dl_lab.config.parse import typed  # after the arguments are known to be readable
        from dl_lab.inference.exporting.export import export
        from dl_lab.inference.trained import load_trained

        options: ExportConfig = typed(ExportConfig, values, "")
        folder = user_path(options.run, "run")
        out = folder / "export" / options.to if options.out is None else user_path(options.out, "out")
        trained = load_trained(folder, options.checkpoint, options.device, options.imports)
        exported = export(trained, options.to, out)
        for note in exported.notes:
            print(printable(note), file=sys.stderr)
        print(f"largest difference to the outputs of the run: {exported.difference:.2g}")
        for path in exported.files:
            print(printable(str(path)))


if __name__ == "__main__":
    main()
