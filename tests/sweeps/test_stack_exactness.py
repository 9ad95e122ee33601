"""A model of a user's own ends in a sweep of stacks where it ends alone, whatever it does besides tensor operations."""

import sys
from pathlib import Path

import pytest
from support.commands import TINY, train
from support.sweeps import add_model, assert_close, by_number, metrics

from dl_lab.vectorized import autotune

WEIGHTS = "0.1,0.2,0.3,0.4,0.5"

MODEL = """
import random
import threading

import numpy as np
import torch
from torch import nn

from dl_lab.core.schema import Schema
from dl_lab.registry import MODELS


CALLS = [0]


class Config(Schema):
    p: float


class Counter:
    __slots__ = ("calls", "lock")

    def __init__(self):
        self.calls, self.lock = 0, threading.Lock()


@MODELS.register("own", Config, kinds={{"features"}}, tasks={{"classification"}})
class Own(nn.Module):
    calls = 0

    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        {built}

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs))
        {forward}
        return self.second(hidden)
"""

MEAN = "self.register_buffer('mean', torch.zeros(8))"
CENTERED = "hidden = hidden - self.mean"
NOT_MAPPED, DIFFERS = "its computation cannot be stacked", "a stack computes another"

# Lines of the constructor, lines of forward; and the reason why the model does not stack.
IN_A_STACK = {
    "plain": ("", ""),
    "shared layer": ("self.third = self.fourth = nn.Linear(8, 8)", "hidden = self.fourth(self.third(hidden))"),
    "buffer changed in place": (MEAN, f"self.mean.add_(self.training * hidden.detach().mean(0)); {CENTERED}"),
    "batch normalization": ("self.norm = nn.BatchNorm1d(8)", "hidden = self.norm(hidden)"),
    "constant": ("self.factor = 1.5", "hidden = hidden * self.factor"),
    "norm that stays in evaluation mode": (
        "self.norm = nn.BatchNorm1d(8); Own.train = lambda self, mode=True: super(Own, self).train(mode).norm.eval()",
        "hidden = self.norm(hidden)",
    ),
}
ALONE = {
    "frozen layer": ("self.first.requires_grad_(False)", "", "its parameter first.weight is frozen"),
    "assigned buffer": (MEAN, f"self.mean = 0.9 * self.mean + hidden.detach().mean(0); {CENTERED}", DIFFERS),
    "backward hook": (
        "self.second.register_full_backward_hook(lambda module, inputs, outputs: (2 * inputs[0],))",
        "",
        "its module second has hooks",
    ),
    "forward hook": (
        "self.first.register_forward_hook(lambda module, inputs, output: 2 * output)",
        "",
        "its module first has hooks",
    ),
    "tensor hook": ("self.first.weight.register_hook(lambda slope: slope / 2)", "", "first.weight has hooks"),
    "counter": ("self.calls = 0", "self.calls += 1; hidden = hidden / self.calls", "training changes calls"),
    "list": ("self.seen = []", "self.seen.append(0); hidden = hidden / len(self.seen)", "training changes seen"),
    "tensor attribute": (
        "self.mean = torch.zeros(8)",
        f"self.mean = self.mean.to(hidden.dtype) + hidden.detach().mean(0); {CENTERED}",
        "training changes mean",
    ),
    "closure": (
        "calls = []; self.count = lambda: calls.append(0) or len(calls)",
        "hidden = hidden / self.count()",
        "training changes count",
    ),
    "recurrent layer": ("self.net = nn.GRU(8, 8)", "hidden = self.net(hidden[None])[0][0]", "alone"),
    "layer in a list": ("self.others = [nn.Linear(8, 8)]", "hidden = self.others[0](hidden.float())", "no other run"),
    "constant of each run": ("self.factor = torch.rand(()).item()", "hidden = hidden * self.factor", "no other run"),
    "value of a tensor": ("", "hidden = hidden if hidden.sum() > 0 else 2 * hidden", NOT_MAPPED),
    "numbers of torch": ("self.drop = nn.Dropout(0.5)", "hidden = self.drop(hidden)", "random numbers of torch"),
    "numbers of NumPy": ("", "hidden = hidden * np.random.rand()", DIFFERS),
    "numbers of Python": ("", "hidden = hidden * random.random()", DIFFERS),
    "numbers in validation": ("", "hidden = hidden if self.training else hidden * random.random()", DIFFERS),
    "statistics of a batch": (
        "self.norm = nn.BatchNorm1d(8, track_running_stats=False)",
        "hidden = self.norm(hidden)",
        "alone",
    ),
    "counter that cannot be copied": (
        "self.counter = Counter()",
        "self.counter.calls += 1; hidden = hidden / self.counter.calls",
        NOT_MAPPED,
    ),
    "weight normalization": ("nn.utils.parametrizations.weight_norm(self.first)", "", "alone"),
    "spectral normalization": ("nn.utils.parametrizations.spectral_norm(self.first)", "", "alone"),
}


@pytest.fixture(autouse=True)
def a_stack_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "seconds_of", lambda step: 1.0)


def sweep_and_single_runs(folder: Path, built: str, forward: str) -> str:
    """Train three seeds as a stack and one by one, compare every number, and return what the stack printed."""
    add_model(folder, "own", MODEL.format(built=built, forward=forward), "p: 0.5")
    own = (
        "--config-dir",
        str(folder / "own"),
        "imports=[own]",
        "model=own",
        "train.validate_every=2",
        *TINY[:2],
        *TINY[3:],
    )
    ended = train(folder, *own, "-m", "hydra/launcher=vectorized", "hydra.launcher.processes=1", "seed=1,2,3")
    assert (ended.status, len(ended.runs)) == (0, 3), ended.err
    in_turn = train(folder, *own, "-m", "hydra.sweep.dir=in_turn", "seed=1,2,3")
    assert in_turn.status == 0
    for run in by_number(ended):
        assert_close(metrics(run), metrics(folder / "in_turn" / run.name))
    return ended.out


@pytest.mark.parametrize("case", IN_A_STACK)
def test_models_that_stack(case, tmp_path):
    assert "together: 3 runs as one stack" in sweep_and_single_runs(tmp_path, *IN_A_STACK[case])


@pytest.mark.parametrize("case", ALONE)
def test_models_that_train_alone(case, tmp_path):
    built, forward, reason = ALONE[case]
    out = sweep_and_single_runs(tmp_path, built, forward)
    assert "alone: 3 jobs" in out
    assert reason in out


@pytest.mark.parametrize("counter", ["CALLS[0]", "type(self).calls"])
def test_what_all_runs_of_a_process_share_is_found_and_put_back(counter, tmp_path):
    add_model(tmp_path, "own", MODEL.format(built="", forward=f"{counter} += 1; hidden = hidden / {counter}"), "p: 0.5")
    own = ("--config-dir", str(tmp_path / "own"), "imports=[own]", "model=own", *TINY, "-m", "seed=1,2")
    ended = train(tmp_path, "hydra.sweep.dir=stacks", *own, "hydra/launcher=vectorized", "hydra.launcher.processes=1")
    assert ended.status == 0, ended.err
    assert f"training changes {'own.CALLS' if 'CALLS' in counter else 'Own.calls'} in Python" in ended.out
    sys.modules["own"].CALLS[0] = sys.modules["own"].Own.calls = 0
    assert train(tmp_path, "hydra.sweep.dir=in_turn", *own).status == 0
    for job in "01":
        assert metrics(tmp_path / "stacks" / job) == metrics(tmp_path / "in_turn" / job)


LOSS = """
import torch.nn.functional as F

from dl_lab.core.schema import Schema
from dl_lab.registry import LOSSES


class Config(Schema):
    weight: float


@LOSSES.register("loss_of_my_own", Config, tasks={"classification"})
def build(config, task):
    factor = 2.0 if config.weight == 0.3 and isinstance(config.weight, float) else 1.0
    return lambda outputs, targets: factor * F.cross_entropy(outputs, targets, reduction="sum")
"""


def test_every_number_of_a_loss_is_tried(tmp_path):
    (tmp_path / "own_loss.py").write_text(LOSS)
    (tmp_path / "own" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "loss" / "loss_of_my_own.yaml").write_text("name: loss_of_my_own\nweight: 1.0\n")
    own = ("--config-dir", str(tmp_path / "own"), "imports=[own_loss]", "loss=loss_of_my_own", *TINY)
    ended = train(
        tmp_path, *own, "-m", "hydra/launcher=vectorized", "hydra.launcher.processes=1", f"loss.weight={WEIGHTS}"
    )
    assert "alone: 5 jobs" in ended.out
