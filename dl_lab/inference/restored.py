"""Load a trained model together with the data that it was trained on, to evaluate it on their splits."""

from pathlib import Path
from typing import Any

from torch import nn

from dl_lab.config.schema import own_data_folder
from dl_lab.core.download import only_into
from dl_lab.inference.trained import configuration, refuse_mixed_folder, saved_in
from dl_lab.training import setup
from dl_lab.training.state import Plan, load_model, unfit, warn_of_python_state


def with_data(
    folder: Path, checkpoint_name: str, imports: list[str], dataset: dict[str, str], **changes: Any
) -> tuple[Plan, nn.Module, int]:
    """The plan of a run, the model of a checkpoint, and its step. `dataset` has the places to which the data moved, and
    `changes` the changed values of other keys.

    Raises:
        ConfigError: if the folder does not hold a run, or its data have changed.
    """
    saved = saved_in(folder, checkpoint_name)
    if dataset:
        changes["dataset"] = {**saved["config"]["dataset"], **dataset}
    run = configuration(saved["config"], imports, **changes)
    refuse_mixed_folder(folder, saved["config"])
    with only_into(own_data_folder(changes.get("data_dir"))):
        data = setup.build_data(run, again=True)
    setup.refuse_other_data(run, data, saved.get("data"), folder)
    plan, state = setup.build_run(run, data)
    warn_of_python_state(plan, state, saved, folder)
    try:
        load_model(state.model, saved)
    except Exception as error:  # of many kinds
        raise unfit(folder, error) from error
    return plan, state.model, saved["step"]
