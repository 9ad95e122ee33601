"""Training a finished run again, and resuming a run: both start from the configuration in its run folder."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dl_lab.config import hints
from dl_lab.config.compose import with_new_keys
from dl_lab.config.parse import parse
from dl_lab.config.schema import own_data_folder
from dl_lab.core.download import only_into
from dl_lab.core.errors import Diverged, printable, unknown_key
from dl_lab.runs import diff, resume
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.identity import RERUN_KEYS, RESUME_KEYS
from dl_lab.runs.reader import read_strict
from dl_lab.training.result import Result
from dl_lab.training.run import Start, start_in, train


def continue_run(folder: Path, overrides: list[str]) -> Result:
    """Continue the run in `folder` from its last checkpoint, exactly as if it had never been interrupted.

    Raises:
        ConfigError: if there is no run, if it has ended, or if an override would change what it computes.
    """
    run = read_strict(folder)
    refuse_unknown(run.config, overrides, RESUME_KEYS)
    start = start_in(folder)
    step = 0 if start.checkpoint is None else int(start.checkpoint["step"])
    config = resume.continued(run, overrides, step)
    new = [override for override in overrides if override not in run.overrides]
    with downloads_of_the_command(config, overrides):
        return train(parse(with_new_keys(config)), folder, [*run.overrides, *new], start)


def refuse_unknown(config: Mapping[str, Any], overrides: Sequence[str], permitted: Sequence[str]) -> None:
    """Raise ConfigError for a key that a run does not have, if one that is permitted was probably meant."""
    for key, _, value in (override.partition("=") for override in overrides):
        group, _, name = key.rpartition(".")
        node = config.get(group) if group else config
        if isinstance(node, Mapping) and name not in node:
            hint = hints.of_key(group, name, value, config)
            if hint.partition("=")[0] in permitted:
                raise unknown_key(group, name, permitted, hint)


def downloads_of_the_command(config: Mapping[str, Any], overrides: Sequence[str]) -> AbstractContextManager[None]:
    """Download only into the data_dir of these overrides, or the default: that of the run folder is only read."""
    is_given = any(override.startswith("data_dir=") for override in overrides)
    return only_into(own_data_folder(config["data_dir"] if is_given else None))


def rerun(folder: Path, overrides: list[str]) -> tuple[bool, str]:
    """Train the run in `folder` again, in a new run folder or in hydra.run.dir. Returns whether every metric is the
    same to the last bit, and a text that names the first difference and what may explain it.

    Raises:
        ConfigError: if there is no run, or an override would change what it computes.
    """
    where = [override.partition("=")[2] for override in overrides if override.startswith("hydra.run.dir=")]
    given = [override for override in overrides if not override.startswith("hydra.run.dir=")]
    first = read_strict(folder)
    refuse_unknown(first.config, given, RERUN_KEYS)
    points, config = first.points(), resume.with_overrides(first, given, RERUN_KEYS)
    run, both = parse(with_new_keys(config)), [*first.overrides, *given]
    again = Path(where[-1]) if where else Path(reserve_run_folder("outputs"))
    try:
        with downloads_of_the_command(config, given):
            print(train(run, again, both, Start(same_data_as=(resume.trained_on(first), folder))))
    except Diverged as diverged:  # the first run may have diverged as well
        print(printable(str(diverged)))
    second = read_strict(again)
    difference = diff.first_difference(points, second.points(), ended=first.status in ("completed", "diverged"))
    if difference is None:
        return True, f"same  every metric at all {len(points)} points is that of {folder}, to the last bit"
    largest = diff.largest_difference(points, second.points())
    return False, "\n  ".join(map(printable, [f"differs  {difference}", largest, *diff.explanations(first, second)]))
