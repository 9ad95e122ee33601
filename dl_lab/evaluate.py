"""python -m dl_lab.evaluate run=FOLDER [split=test | path=FILE] [checkpoint=best]: evaluate a trained run."""

import sys
from typing import TYPE_CHECKING, Any, Literal

from dl_lab.cli import app, arguments
from dl_lab.core.errors import ConfigError
from dl_lab.core.paths import user_path
from dl_lab.core.schema import Schema
from dl_lab.runs.identity import MOVED

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from dl_lab.training.state import Plan

HELP = """Evaluate a run's checkpoint: python -m dl_lab.evaluate run=FOLDER [key=value ...]

  run=FOLDER        a run folder (FOLDER alone, too), such as outputs/2026-11-22/10-00-00
  split=test        train, validation or test
  path=FILE         instead of a split: a table or a text with the targets, or a folder with a folder for each class
  out=FILE          write the exact metrics as JSON; default with path=FILE: metrics.json, which replaces only metrics
  checkpoint=best   best or last
  device=auto       auto, cpu, cuda, cuda:1 or mps
  data_dir=null     where downloaded data are now, if they were moved
  dataset.path=null where your own data are now, and so for dataset.validation_path and dataset.test_path
  imports=[]        your modules, if the run was trained with imports
  dataset.separator=auto ...     how the table of path=FILE is written, as for dl_lab.predict
"""

OUT = "metrics.json"

DEFAULTS: dict[str, Any] = {
    "split": "test",
    "path": None,
    "out": None,
    "checkpoint": "best",
    "device": "auto",
    "imports": [],
    "data_dir": None,
    "dataset": {},
}


class EvaluateConfig(Schema):
    run: str
    split: Literal["train", "validation", "test"]
    path: str | None
    out: str | None
    checkpoint: Literal["best", "last"]
    device: str
    imports: list[str]
    data_dir: str | None
    dataset: dict[str, Any]


def main() -> None:
    """Print the metrics of a checkpoint, and tables about its predictions."""
    with app.exits():
        if arguments.answered(sys.argv[1:], HELP):
            return
        evaluate(sys.argv[1:])


def evaluate(given: list[str]) -> dict[str, float]:
    """Print and return the metrics of the checkpoint that the arguments select.

    Raises:
        ConfigError: for a wrong argument, or a folder that does not hold a run.
    """
    on_file = any(argument.startswith("path=") for argument in given)
    if on_file and (both := [each for each in given if each.startswith("split=")]):
        raise ConfigError(f"{both[0]} and path=FILE are both given; allowed: one of them")
    of_data = ("path", *arguments.TABLE_KEYS) if on_file else ("split", "data_dir", *MOVED)
    keys = ("run", "out", "checkpoint", "device", "imports", *of_data)
    values = {**DEFAULTS, **arguments.values(given, keys, texts=("run", "path", "out"))}

    import torch

    from dl_lab.config.parse import typed  # after the arguments are known to be readable
    from dl_lab.core.formatting import format_metrics
    from dl_lab.inference.writing import check_metrics_file, write_metrics
    from dl_lab.training import loop, prediction_tables

    options: EvaluateConfig = typed(EvaluateConfig, values, "")
    out = user_path(options.out or OUT, "out") if on_file or options.out is not None else None
    if out is not None:
        check_metrics_file(out, replaces=options.out is not None)
    plan, model, step = restored(options) if options.path is None else with_file(options, options.path)
    split, name = (plan.data.test, options.path) if on_file else (getattr(plan.data, options.split), options.split)
    if split is None:
        raise ConfigError(f"split={options.split} does not exist in this dataset; allowed: train, validation")
    rows: list[Tensor] = []
    metrics = loop.evaluate(model, plan, split, at_end=True, rows=rows)
    weighted = ", weighted" if plan.data.spec.is_weighted else ""
    intervals = plan.task.intervals(torch.cat(rows))
    about = f"{options.checkpoint} checkpoint, step {step}{weighted}"
    print(f"{name}  {format_metrics(metrics, intervals)}  ({about})")
    for table in prediction_tables.tables_of(plan, model, split):
        print(table, end="\n\n")
    if out is not None:
        write_metrics(out, metrics)
    return metrics


def with_file(options: EvaluateConfig, path: str) -> "tuple[Plan, Module, int]":
    """The plan to evaluate a model on a file, the model, and the step of its checkpoint.

    Raises:
        ConfigError: if the folder does not hold a run, or the data do not fit it.
    """
    from dl_lab.inference.blocks import options_of
    from dl_lab.inference.labelled import plan_of
    from dl_lab.inference.trained import load_trained

    trained = load_trained(user_path(options.run, "run"), options.checkpoint, options.device, options.imports)
    plan = plan_of(trained, user_path(path, "path"), options_of(options.dataset))
    return plan, trained.model, trained.step


def restored(options: EvaluateConfig) -> "tuple[Plan, Module, int]":
    """The plan of a run, the model of a checkpoint, and its step. Raises what `with_data` raises."""
    from dl_lab.inference.restored import with_data

    moved = {} if options.data_dir is None else {"data_dir": options.data_dir}
    folder = user_path(options.run, "run")
    return with_data(folder, options.checkpoint, options.imports, options.dataset, device=options.device, **moved)


if __name__ == "__main__":
    main()
