"""python -m dl_lab.evaluate run=FOLDER [split=test] [checkpoint=best] [device=auto]: a trained run, once more."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from dl_lab.config import messages
from dl_lab.core import errors
from dl_lab.core.errors import ConfigError, check, one_of

if TYPE_CHECKING:
    from torch import Tensor

    from dl_lab.training.state import Plan

HELP = """Evaluate a run's checkpoint: python -m dl_lab.evaluate run=FOLDER [key=value ...]

  run=FOLDER        the run, as outputs/2026-11-22/10-00-00
  split=test        train, validation or test
  checkpoint=best   best or last
  device=auto       auto, cpu, cuda, cuda:1 or mps
  imports=[]        modules of yours that the run needs
"""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    run: str
    split: str
    checkpoint: str
    device: str
    imports: list[str]

    def __post_init__(self) -> None:
        check("", self, {"split": one_of("train", "validation", "test"), "checkpoint": one_of("best", "last")})


def main() -> None:
    """Print the metrics of a checkpoint, and scikit-learn's report for classes."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(HELP)
        return
    try:
        evaluate(sys.argv[1:])
    except Exception as error:
        line = messages.explain(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(errors.MISTAKE)


def evaluate(arguments: list[str]) -> dict[str, float]:
    """Evaluate as the arguments say. Returns the metrics.

    Raises:
        ConfigError: for a wrong argument, or a folder that holds no run.
    """
    defaults = {"split": "test", "checkpoint": "best", "device": "auto", "imports": []}
    values = {**defaults, **_as_dict(arguments)}

    import torch  # after the arguments are known to be readable

    from dl_lab.config.parse import import_user_modules, parse, typed
    from dl_lab.core.progress import shown
    from dl_lab.runs import checkpoint
    from dl_lab.training import loop, setup

    options: EvaluateConfig = typed(EvaluateConfig, values, "")
    path = Path(options.run) / "checkpoints" / f"{options.checkpoint}.pt"
    saved = checkpoint.load(path, torch.device("cpu"))
    import_user_modules(options.imports)
    train = {**saved["config"].get("train", {}), "one_batch": False}
    try:
        run = parse({**saved["config"], "train": train, "device": options.device, "imports": [], "compile": False})
    except ConfigError as error:
        imported = saved["config"].get("imports")
        if imported and not options.imports:
            raise ConfigError(f"{error} (the run imported {imported}: give imports=[{','.join(imported)}])") from error
        raise
    plan, state = setup.prepare(run, setup.build_data(run))
    state.model.load_state_dict(saved["model"])
    split = getattr(plan.data, options.split)
    if split is None:
        raise ConfigError(f"split={options.split} is not there: this dataset has none; allowed: train, validation")
    metrics = loop.evaluate(state.model, plan, split)
    print(f"{options.split}  {shown(metrics)}  ({options.checkpoint} checkpoint, step {saved['step']})")
    if plan.data.spec.task == "classification":
        print(class_report(plan, state.model, split))
    return metrics


def _as_dict(arguments: list[str]) -> dict[str, Any]:
    wrong = [argument for argument in arguments if "=" not in argument]
    if wrong:
        raise ConfigError(f"{wrong[0]} cannot be read; allowed: key=value, as run=outputs/2026-11-22/10-00-00")
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist(arguments))
    except Exception as error:  # YAML's and OmegaConf's words for what is no value
        raise ConfigError(f"{' '.join(arguments)} cannot be read; allowed: key=value, quoted for the shell") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def class_report(plan: "Plan", model: Any, split: Any) -> str:
    """Precision, recall and F1 of every class, by scikit-learn."""
    import torch
    from sklearn.metrics import classification_report

    from dl_lab.training import loop

    predicted: list[Tensor] = []
    actual: list[Tensor] = []
    model.eval()
    with torch.inference_mode():
        for inputs, targets in split.everything(plan.eval_batch_size):
            predicted.append(loop.apply(model, plan, plan.data.prepare(inputs)).argmax(dim=1).cpu())
            actual.append(targets.cpu())
    names = plan.data.spec.heads[0].labels
    report = classification_report(
        torch.cat(actual).numpy(),
        torch.cat(predicted).numpy(),
        labels=range(len(names)),
        target_names=names,
        digits=3,
        zero_division=0.0,
    )
    return str(report)


if __name__ == "__main__":
    main()
