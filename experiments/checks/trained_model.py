"""The model of a run folder, as it was trained, with its data."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from dl_lab.config.parse import parse
from dl_lab.core.devices import PRECISIONS
from dl_lab.data.dataset import Data
from dl_lab.data.splits import Split
from dl_lab.runs import checkpoint
from dl_lab.training import setup
from experiments.support.claims import Run

CPU = torch.device("cpu")


def load(run: Run, which: str | None = "best") -> tuple[nn.Module, Data]:
    """The model of a run's checkpoint, best or last, or for None as it was drawn, with its data; on the CPU."""
    saved = checkpoint.load(run.folder / "checkpoints" / f"{which or 'last'}.pt", CPU)
    config = parse({**saved["config"], "device": "cpu"})
    data = setup.build_data(config).to(CPU, PRECISIONS[config.settings.precision])
    model = setup.build_model(config, data.spec)
    if which is not None:
        model.load_state_dict(saved["model"])
    return model.eval(), data


def numbers(data: Data, split: Split | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every input of a split as the model takes it, flat (example, feature), and the targets."""
    assert split is not None
    inputs, targets = next(iter(split.everything(len(split))))
    return data.prepare(inputs).flatten(1).double().numpy(), targets.numpy()
