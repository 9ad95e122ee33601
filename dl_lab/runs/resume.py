"""What a run folder says of how its run can go on."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf

from dl_lab.core.errors import ConfigError, refuse_interpolations
from dl_lab.runs import checkpoint
from dl_lab.runs.identity import LENGTH, RESUME_KEYS, signature


def last_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint of a run, or the newest other one if that is damaged, which is said; None if the run was
    interrupted before its first.

    Raises:
        ConfigError: if `folder` holds no run, or nothing but damaged checkpoints.
    """
    if not (folder / ".hydra" / "config.yaml").exists():
        raise ConfigError(
            f"resume={folder} holds no run; allowed: a run folder, as outputs/2026-11-22/10-00-00, or auto"
        )
    found, wrong = [], []
    for name in ("last.pt", "previous.pt", "best.pt"):
        path = folder / "checkpoints" / name
        if path.exists():
            try:
                found.append((name, checkpoint.load(path, torch.device("cpu"))))
            except ConfigError as error:
                wrong.append(str(error).split("; allowed", 1)[0])
        if name == "last.pt" and found:
            return found[0][1]
    if not found and not wrong:
        return None
    if not found:
        raise ConfigError(f"{wrong[0]}, and there is no other to go on from; allowed: the same again, rerun={folder}")
    name, newest = max(found, key=lambda pair: int(pair[1]["step"]))
    reason = wrong[0] if wrong else f"{folder / 'checkpoints' / 'last.pt'} is not there"
    print(f"{reason}; the run goes on from {name}, step {newest['step']}", file=sys.stderr)
    return newest


def left_off(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint of a job of a sweep; None if it was interrupted before its first, or its record began."""
    return last_checkpoint(folder) if (folder / ".hydra" / "config.yaml").exists() else None


def kept_best(checkpoints: Path, saved: dict[str, Any]) -> dict[str, float] | None:
    """The best metrics of a run that goes on from the checkpoint `saved`; best.pt then holds its weights: written from
    `saved`, if that is the best and the run was killed before it wrote it twice. None, which is said, if best.pt is
    damaged: another validation will be the best.
    """
    best: dict[str, float] | None = saved["best"]
    if best is None:
        return None
    path, reason = checkpoints / "best.pt", "is of another step"
    try:
        if checkpoint.load(path, torch.device("cpu"))["step"] == best["step"]:
            return best
    except ConfigError as error:
        reason = str(error).split("; allowed", 1)[0].removeprefix(f"{path} ")
    if best["step"] == saved["step"]:
        checkpoint.save(path, saved)
        return best
    print(f"{path} {reason}; the best validation from now on takes its place", file=sys.stderr)
    return None


def overrides_of(folder: Path) -> list[str]:
    """The overrides that a run was started with."""
    return [str(override) for override in _read(folder / ".hydra" / "overrides.yaml", list)]


def status_of(folder: Path) -> str | None:
    """The status in summary.json; None for a run that was killed, or runs."""
    path = folder / "summary.json"
    return _read(path, dict).get("status") if path.exists() else None


def _read(path: Path, kind: type) -> Any:
    """What a YAML or JSON file of a run folder holds; it is data, and nothing in it is executed or looked up.

    Raises:
        ConfigError: if it cannot be read, or is of another kind.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise ConfigError(f"{path} cannot be read ({reason}); allowed: the folder of a run") from error
    if not isinstance(content, kind):
        raise ConfigError(f"{path} is not what a run has written; allowed: the folder of a run")
    refuse_interpolations(content, str(path))
    return content


def own(folder: Path, overrides: list[str], allowed: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's configuration, as it was and with overrides of the keys allowed. Its `imports` are not taken from the
    folder: whoever runs it again gives them.

    Raises:
        ConfigError: for any other override, and for imports that are not given.
    """
    was = _read(folder / ".hydra" / "config.yaml", dict)
    for key in ("train", "imports"):
        if key not in was:
            raise ConfigError(f"{folder / '.hydra' / 'config.yaml'} has no {key}; allowed: the folder of a run")
    imported, was["imports"] = was["imports"], []
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or key not in allowed:
            raise ConfigError(f"{key} would change the run; allowed: {', '.join(allowed)}, or a new run")
    try:
        config = OmegaConf.to_container(OmegaConf.merge(was, OmegaConf.from_dotlist(overrides)))
    except Exception as error:  # YAML's and OmegaConf's words for what is no value
        raise ConfigError(f"{' '.join(overrides)} cannot be read; allowed: key=value") from error
    assert isinstance(config, dict)
    if imported and not config["imports"]:
        raise ConfigError(
            f"the run imported {imported}; allowed: to say so again, imports=[{','.join(map(str, imported))}]"
        )
    return was, {str(key): value for key, value in config.items()}


def continued(folder: Path, overrides: list[str], step: int) -> tuple[dict[str, Any], list[str]]:
    """A run's own configuration with overrides that lengthen it or say where it runs, and those overrides.

    Raises:
        ConfigError: for any other override, and for a run that has ended and is not lengthened.
    """
    was, config = own(folder, overrides, RESUME_KEYS)
    lengthens = any(
        config["train"].get(key) != was["train"].get(key) for key in (name.removeprefix("train.") for name in LENGTH)
    )
    status = status_of(folder)
    if status in ("completed", "diverged") and not (status == "completed" and lengthens):
        raise ConfigError(
            f"resume={folder} has ended ({status}); allowed: to lengthen a completed one, as train.steps=N"
        )
    steps = config["train"].get("steps")
    if isinstance(steps, int) and steps < step:
        raise ConfigError(f"train.steps={steps} lies behind step {step}, where the run is; allowed: {step} or more")
    return config, overrides


def newest_unfinished(folders: Iterable[Path], config: dict[str, Any]) -> Path | None:
    """The first folder whose run was interrupted and has this configuration; one that also has its name, tags, device
    and the like is preferred.
    """
    found = None
    for folder in folders:
        with suppress(ConfigError):  # a folder that cannot be read is not the one
            if not (path := folder / ".hydra" / "config.yaml").exists():
                continue
            was = _read(path, dict)
            if signature(was) == signature(config) and status_of(folder) in (None, "stopped", "failed"):
                if was == config:
                    return folder
                found = found or folder
    return found
