"""Resume a run: find its last checkpoint, and combine its configuration with the overrides that are permitted."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from dl_lab.core.errors import ConfigError, printable
from dl_lab.core.progress import announce, write
from dl_lab.runs import checkpoint
from dl_lab.runs.checkpoint import Checkpoint
from dl_lab.runs.folders import is_locked
from dl_lab.runs.identity import LENGTH, RESUME_KEYS, difference, signature
from dl_lab.runs.reader import Run, read_strict

CPU = torch.device("cpu")


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The last checkpoint of the run in `folder`, or with a warning the newest other one if it is damaged. None if the
    run was interrupted before its first checkpoint, or before its record began.

    Raises:
        ConfigError: if all checkpoints are damaged.
    """
    found, problems = [], []
    for name in ("last.pt", "previous.pt", "best.pt"):
        path = folder / "checkpoints" / name
        if path.exists():
            try:
                found.append((name, checkpoint.load(path, CPU)))
            except ConfigError as error:
                problems.append(problem(error))
        if name == "last.pt" and found:
            return found[0][1]
    if not found and not problems:
        return None
    if not found:
        raise ConfigError(f"{problems[0]}, and there is no other checkpoint; hint: start again with rerun={folder}")
    name, newest = max(found, key=lambda pair: int(pair[1]["step"]))
    reason = problems[0] if problems else f"{folder / 'checkpoints' / 'last.pt'} does not exist"
    print(printable(f"{reason}; the run continues from {name}, step {newest['step']}"), file=sys.stderr)
    return newest


def problem(error: ConfigError) -> str:
    """The message of an error without its advice."""
    return str(error).partition("; ")[0]


def restore_best(checkpoints: Path, last: Checkpoint) -> dict[str, float] | None:
    """The metrics of the best checkpoint of a run that continues from `last`. If best.pt is damaged it is written again
    from `last`, where that is the best. Otherwise it is given up with a warning: returns None.
    """
    best: dict[str, float] | None = last["best"]
    if best is None:
        return None
    path, reason = checkpoints / "best.pt", "is of another step"
    try:
        saved = checkpoint.load(path, CPU)
        if difference(saved["config"], last["config"]) is not None or saved.get("data") != last.get("data"):
            reason = "is of another run"
        elif saved["step"] == best["step"]:
            return best
    except ConfigError as error:
        reason = problem(error).removeprefix(f"{path} ")
    if best["step"] == last["step"]:
        checkpoint.save(path, last)
        return best
    write(printable(f"{path} {reason}; the best validation from now on replaces it"), sys.stderr)
    return None


def trained_on(run: Run) -> str | None:
    """The fingerprint of the data of a run, if it is known."""
    if run.summary.get("data") is not None:
        return str(run.summary["data"])
    with suppress(ConfigError):
        saved = last_checkpoint(run.folder)
        return None if saved is None else saved.get("data")
    return None


def with_overrides(run: Run, overrides: list[str], permitted: Sequence[str]) -> dict[str, Any]:
    """The configuration of a run with overrides of permitted keys. Its `imports` are never taken from the run folder,
    so that no code in a folder runs without consent.

    Raises:
        ConfigError: for any other override, and for imports that the overrides do not repeat.
    """
    path = run.folder / ".hydra" / "config.yaml"
    for key in ("train", "imports"):
        if key not in run.config:
            raise ConfigError(f"{path} has no {key}; hint: give the folder of a run")
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or key not in permitted:
            raise ConfigError(f"{key} would change the run; allowed: {', '.join(permitted)}; hint: start a new run")
    try:
        merged = OmegaConf.merge(dict(run.config, imports=[]), OmegaConf.from_dotlist(overrides))
        config = OmegaConf.to_container(merged)
    except Exception as error:  # YAML and OmegaConf raise many kinds
        raise ConfigError(f"{' '.join(overrides)} cannot be read; allowed: key=value") from error
    assert isinstance(config, dict)
    if (imports := run.config["imports"]) and not config["imports"]:
        raise ConfigError(f"the run imported {imports}; hint: repeat {as_argument(imports)} if you trust the code")
    return {str(key): value for key, value in config.items()}


def as_argument(imports: object) -> str:
    """The argument that repeats the imports of a run, whose file may be damaged."""
    names = imports if isinstance(imports, list) else [imports]
    return f"imports=[{','.join(map(str, names))}]"


def continued(run: Run, overrides: list[str], step: int) -> dict[str, Any]:
    """The configuration with which a run continues from `step`.

    Raises:
        ConfigError: for an override that would change the run, and for a run that has ended and is not lengthened.
    """
    config = with_overrides(run, overrides, RESUME_KEYS)
    names = [key.removeprefix("train.") for key in LENGTH]
    lengthened = any(config["train"].get(name) != run.config["train"].get(name) for name in names)
    if run.status == "completed" and run.reason is not None:
        raise ConfigError(f"resume={run.folder} has ended early ({run.reason}); hint: start a new run")
    if run.status == "diverged" or (run.status == "completed" and not lengthened):
        longer = "lengthen it, as with train.steps=N" if run.status == "completed" else "start a new run"
        raise ConfigError(f"resume={run.folder} has ended ({run.status}); hint: {longer}")
    steps = config["train"].get("steps")
    if isinstance(steps, int) and steps < step:
        raise ConfigError(f"train.steps={steps} lies before step {step} of the run; allowed: {step} or more")
    return config


def newest_unfinished(folders: Iterable[Path], config: dict[str, Any]) -> Path | None:
    """The first folder whose run was interrupted, is not under way in another process, and computes what `config` does;
    a run with the same name, device and other harmless keys is preferred.
    """
    found = None
    for folder in folders:
        with suppress(ConfigError):
            run = read_strict(folder)
            unfinished = run.status in ("unfinished", "stopped", "failed") and not is_locked(folder)
            if unfinished and signature(run.config) == signature(config):
                found = found or folder
                if run.config == config:
                    found = folder
                    break
    state = "starts a new run: none with this configuration is unfinished"
    announce(f"resume=auto {state if found is None else f'continues {found}'}")
    return found
