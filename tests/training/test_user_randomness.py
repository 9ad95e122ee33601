"""What user code draws from the global generators is a function of (seed, step), like all random numbers of dl_lab."""

from pathlib import Path

import pytest
from support.commands import train
from support.sweeps import metrics

OWN = """
import random
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from dl_lab.core.schema import Schema
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory, Streamed
from dl_lab.registry import DATASETS, MODELS


class Config(Schema):
    workers: int


class Noisy(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        inputs = torch.full((4,), float(index % 2)) + torch.randn(4) + random.random() + np.random.rand()
        return inputs, index % 2


class Crops(InMemory):
    def batches(self, indices):
        for inputs, targets in super().batches(indices):
            yield inputs + torch.randn_like(inputs), targets


@DATASETS.register("own", Config, kinds={"features"}, tasks={"classification"})
def noisy(config, data_dir, seed):
    head = Head(name="class", task="classification", labels=("a", "b"))
    part = lambda start, end: Streamed(Noisy(), torch.arange(start, end), config.workers, torch.device("cpu"))
    if config.workers < 0:
        part = lambda start, end: Crops(torch.eye(4).repeat(10, 1)[start:end], torch.arange(start, end) % 2)
    spec = DataSpec(kind="features", input_shape=(4,), heads=(head,))
    return Data(spec=spec, train=part(0, 25), validation=part(25, 33), test=part(33, 40))


class Empty(Schema):
    pass


@MODELS.register("own", Empty, kinds={"features"})
class Own(nn.Module):
    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, spec.num_outputs))

    def forward(self, inputs):
        return self.layers(inputs + random.random() + np.random.rand() + 0.1 * torch.randn_like(inputs))
"""
BATCHES = ("train.batch_size=10", "train.validate_every=2", "train.log_every=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    for group, values in (("model", ""), ("dataset", "workers: 0\n")):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "own.yaml").write_text(f"name: own\n{values}")
    return tmp_path


def own(folder: Path, *arguments: str) -> list[dict[str, float]]:
    """The metrics of a run of the user's model, in the folder that is the last argument."""
    common = ("--config-dir", str(folder / "conf"), "imports=[own]", "model=own", *BATCHES)
    ended = train(folder, *common, *arguments[:-1], f"hydra.run.dir={arguments[-1]}")
    assert ended.status == 0, ended.err
    return metrics(folder / arguments[-1])


@pytest.mark.parametrize("data", [["dataset=iris"], ["dataset=own"], ["dataset=own", "dataset.workers=-1"]])
def test_a_resumed_run_draws_what_an_uninterrupted_one_draws(folder, data):
    whole = own(folder, *data, "train.steps=7", "whole")
    own(folder, *data, "train.steps=4", "parts")
    assert train(folder, "resume=parts", "train.steps=7", "imports=[own]").status == 0
    points = [point for point in metrics(folder / "parts") if not (point["split"] == "test" and point["step"] < 5)]
    assert [{**point, "seconds": 0} for point in points] == [{**point, "seconds": 0} for point in whole]


def test_the_number_of_workers_changes_nothing_and_the_seed_does(folder):
    few = own(folder, "dataset=own", "train.steps=7", "none")
    assert few == own(folder, "dataset=own", "train.steps=7", "dataset.workers=2", "two")
    assert few != own(folder, "dataset=own", "train.steps=7", "seed=5", "other")


MEMORY = """
import torch
from torch import nn

from dl_lab.core.schema import Schema
from dl_lab.registry import MODELS


class Empty(Schema):
    pass


@MODELS.register("memory", Empty, kinds={"features"})
class Memory(nn.Module):
    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 3), 0
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def forward(self, inputs):
        if self.training:
            self.mean.mul_(0.9).add_(inputs.mean(0))
            self.calls += COUNT
        return self.layer(inputs - self.mean) / (1 + self.calls)
"""


@pytest.mark.parametrize("count", [0, 1])
def test_a_resumed_run_has_every_buffer_and_a_warning_of_what_is_lost(tmp_path, count):
    (tmp_path / "memory.py").write_text(MEMORY.replace("COUNT", str(count)))
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "memory.yaml").write_text("name: memory\n")
    own = ("--config-dir", str(tmp_path / "conf"), "imports=[memory]", "model=memory", "dataset=iris", *BATCHES)
    assert train(tmp_path, *own, "train.steps=7", "hydra.run.dir=whole").status == 0
    assert train(tmp_path, *own, "train.steps=4", "hydra.run.dir=parts").status == 0
    ended = train(tmp_path, "resume=parts", "train.steps=7", "imports=[memory]")
    points = [metrics(tmp_path / name) for name in ("whole", "parts")]
    same, resumed = ({(p["step"], p["split"]): p["loss"] for p in each if p["split"] != "best"} for each in points)
    assert (same == {key: loss for key, loss in resumed.items() if key in same}) == (count == 0)
    assert ("training changes calls in Python" in ended.err) == (count == 1)
