"""Sweeps that fail or are interrupted, and the files they write."""

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from support.commands import Ended, train


def plant(folder: Path) -> None:
    """Write a user's model that fails in four ways, selected by its width."""
    (folder / "own" / "model").mkdir(parents=True)
    (folder / "own" / "model" / "planted.yaml").write_text("name: planted\nwidth: 1\n")
    (folder / "planted_models.py").write_text(PLANTED)


def run_until(
    folder: Path, *arguments: str, call: int, of: Callable | None = None, number: int = signal.SIGKILL
) -> int:
    """Run a sweep in a forked process and send it a signal at a call of the function `of`, or if it is None, at an
    operation on a file in `folder`. Return the exit status, or minus the signal that ended the process.
    """
    with warnings.catch_warnings(action="ignore"):  # Python 3.12 and newer warn about threads, which torch has
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    with suppress(BaseException):  # the test framework above belongs to the parent
        send_at(folder, call, of, number)
        status = train(folder, *arguments).status
    os._exit(status)


def send_at(folder: Path, call: int, of: Callable | None, number: int) -> None:
    """Have this process send itself the signal at the `call`-th call."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), number)

    def audit(event: str, arguments: Sequence[object]) -> None:
        if (event == "open" or event.startswith("os.")) and str(folder) in str(arguments[:1]):
            count()

    def counted(*arguments: object, **options: object) -> object:
        count()
        return of(*arguments, **options)

    if of is None:
        sys.addaudithook(audit)
    else:
        setattr(sys.modules[of.__module__], of.__name__, counted)


def table(folder: Path) -> list[dict[str, object]]:
    """Return the jobs of the manifest without their seconds."""
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    return [{key: value for key, value in job.items() if key != "seconds"} for job in jobs]


def add_model(folder: Path, name: str, code: str, values: str, group: str = "model") -> None:
    """Write a user's choice into `folder`: its module, and its YAML for --config-dir own."""
    (folder / f"{name}.py").write_text(code)
    (folder / "own" / group).mkdir(parents=True)
    (folder / "own" / group / f"{name}.yaml").write_text(f"name: {name}\n{values}\n")


def by_number(ended: Ended) -> list[Path]:
    return sorted(ended.runs, key=lambda run: int(run.name))


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_close(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    """Check that metrics are equal up to the rounding of float32 after a few steps."""
    assert [(point["step"], point["split"]) for point in ours] == [(point["step"], point["split"]) for point in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for name in other.keys() - {"split"}:
            is_defined = other[name] is not None
            assert mine[name] == (pytest.approx(other[name], rel=1e-5, abs=1e-7) if is_defined else None), name


PLANTED = """
from dataclasses import dataclass

import torch
from torch import nn

from dl_lab.core.errors import ConfigError
from dl_lab.registry import MODELS


@dataclass(frozen=True, kw_only=True)
class PlantedConfig:
    width: int


@MODELS.register("planted", PlantedConfig, kinds={"features"})
class Planted(nn.Module):
    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.layer = nn.Linear(spec.input_shape[0], spec.num_outputs)
        self.diverges = config.width == 39
        if config.width == 36:
            print(1 / 0)
        if config.width == 37:
            raise ConfigError("model.width=37 is not allowed; allowed: another")
        if config.width == 38:
            torch.empty(10**15)

    def forward(self, inputs):
        outputs = self.layer(inputs)
        return outputs + (outputs * 0).sqrt() if self.diverges else outputs  # zero, with an infinite gradient
"""
