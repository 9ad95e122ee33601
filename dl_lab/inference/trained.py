"""Load a trained model with what it needs: its configuration and its preprocessing, but none of its data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab.config.compose import with_new_keys
from dl_lab.config.parse import import_user_modules, parse
from dl_lab.config.schema import RunConfig
from dl_lab.core import devices
from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.spec import DataSpec
from dl_lab.data.splits import InMemory, Split
from dl_lab.runs import checkpoint
from dl_lab.runs.finder import SWEEP
from dl_lab.runs.reader import read_configuration
from dl_lab.runs.resume import as_argument
from dl_lab.training import loop, setup
from dl_lab.training.state import Plan
from dl_lab.training.tasks.task import Task


@dataclass(frozen=True)
class Trained:
    """The model of a checkpoint, in evaluation mode on its device, with its preprocessing. `class_weights`, by the name
    of the head, enter the loss only.
    """

    folder: Path
    run: RunConfig
    model: nn.Module
    preprocessing: Preprocessing
    step: int
    class_weights: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def spec(self) -> DataSpec:
        return self.preprocessing.spec

    @cached_property
    def device(self) -> torch.device:
        return devices.choose(self.run.settings.device, self.run.settings.precision)

    @cached_property
    def task(self) -> Task:
        dtype = devices.widest_dtype(self.device)
        weights = {name: torch.tensor(each, dtype=dtype).to(self.device) for name, each in self.class_weights.items()}
        return setup.build_task(self.run, self.spec, weights)

    def plan(self, split: Split) -> Plan:
        """The plan to evaluate the model on a split of stored examples, which is its test split."""
        mean, std = (
            None if values is None else torch.tensor(values, dtype=torch.float64)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        dtype = devices.PRECISIONS[self.run.settings.precision]
        split = split.to(self.device, dtype)
        data = Data(
            spec=self.spec,
            train=split,
            validation=split,
            test=split,
            mean=mean,
            std=std,
            tokenizer=self.preprocessing.tokenizer,
        )
        given, most = self.run.train.batch_size, self.run.train.BATCH_SIZE
        batch = given if isinstance(given, int) else min(most, len(split)) if given is None else len(split)
        schedule = setup.build_schedule(self.run, 1)
        data = data.to(self.device, dtype)
        return Plan(self.run, data, self.task, schedule, self.device, batch, 1, 1)

    def outputs(self, stored: Tensor) -> Iterator[Tensor]:
        """The outputs of the model for stored inputs (see `Preprocessing.stored`), in the batches of `evaluate` and
        exactly as it computes them.
        """
        nothing = torch.zeros(len(stored), dtype=torch.int64)
        plan = self.plan(InMemory(stored, nothing))
        assert plan.data.test is not None
        with torch.no_grad():
            for outputs, _ in loop.predictions(self.model, plan, plan.data.test):
                yield outputs
        self.model.eval()  # the loop leaves it in training mode


def load_trained(
    folder: Path, checkpoint_name: str = "best", device: str = "auto", imports: list[str] | None = None
) -> Trained:
    """The model of a run's checkpoint, best or last. Needs no data.

    Raises:
        ConfigError: if the folder does not hold a run, or its parts do not fit each other.
    """
    saved = saved_in(folder, checkpoint_name)
    run = configuration(saved["config"], imports or [], device=device)
    refuse_mixed_folder(folder, saved["config"])
    model, preprocessing = setup.trained_model(run, saved, folder)
    weights = saved.get("class_weights", {})
    sizes = {head.name: head.size for head in preprocessing.spec.heads if head.task == "classification"}
    if any(sizes.get(name) != len(each) for name, each in weights.items()):
        raise ConfigError(f"{folder}: class_weights do not fit the model; hint: use another checkpoint")
    return Trained(folder, run, model, preprocessing, saved["step"], weights)


def saved_in(folder: Path, checkpoint_name: str) -> checkpoint.Checkpoint:
    """The contents of a checkpoint, best or last.

    Raises:
        ConfigError: if there is none; with a hint if the folder is that of a sweep, or one in or around that of a run.
    """
    path, other = folder / "checkpoints" / f"{checkpoint_name}.pt", "last" if checkpoint_name == "best" else "best"
    if path.exists():
        return checkpoint.load(path, torch.device("cpu"))
    if path.with_name(f"{other}.pt").exists():
        raise ConfigError(f"{path} does not exist; allowed: a checkpoint of the run; hint: checkpoint={other}")
    inner = sorted(folder.glob("*/checkpoints")) or sorted(folder.glob("*/*/checkpoints"))
    around = [each for each in folder.parents if (each / "checkpoints").is_dir() and each.name]
    found = [each.parent for each in inner] or around
    what = f"{folder} is a sweep" if (folder / SWEEP).exists() else f"{path} does not exist"
    hint = f"run={found[0]}" if found else "give the folder of a run that has saved a checkpoint"
    raise ConfigError(f"{what}; allowed: the folder of a run; hint: {hint}")


def refuse_mixed_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise ConfigError if the folder has a configuration that is not that of its checkpoint."""
    if (folder / ".hydra" / "config.yaml").exists():
        setup.refuse_other_run(read_configuration(folder), config, folder)


def configuration(saved: Mapping[str, Any], imports: list[str], **changes: Any) -> RunConfig:
    """The configuration of a checkpoint for evaluation, with the user's modules `imports` and with these changes.

    Raises:
        ConfigError: if it is not valid, for example because it needs imports.
    """
    import_user_modules(imports)
    chosen = {"imports": [], "compile": False, "train": {**saved.get("train", {}), "one_batch": False}, **changes}
    try:
        return parse(with_new_keys({**saved, **chosen}))
    except ConfigError as error:
        imported = saved.get("imports")
        if imported and not imports:
            raise ConfigError(f"{error}; hint: the run was trained with {as_argument(imported)}") from error
        raise
