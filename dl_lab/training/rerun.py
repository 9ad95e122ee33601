"""Training a finished run again, and resuming a run: both start from the configuration in its run folder."""

from pathlib import Path

from dl_lab.config.parse import parse
from dl_lab.core.errors import Diverged
from dl_lab.runs import diff, resume
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.identity import RERUN_KEYS
from dl_lab.training.run import AGAIN, NEW, Result, Start, train


def continue_run(folder: Path, overrides: list[str]) -> Result:
    """Continue the run in `folder` from its last checkpoint, exactly as if it had never been interrupted.

    Raises:
        ConfigError: if there is no run, if it has ended, or if an override would change what it computes.
    """
    saved = resume.last_checkpoint(folder)
    config, given = resume.continued(folder, overrides, 0 if saved is None else int(saved["step"]))
    earlier = resume.overrides_of(folder)
    new = [override for override in given if override not in earlier]
    start = AGAIN if saved is None else Start(in_own_folder=True, checkpoint=saved)
    return train(parse(config), folder, [*earlier, *new], start)


def rerun(folder: Path, overrides: list[str]) -> tuple[bool, str]:
    """Train the run in `folder` again, in a new run folder or in hydra.run.dir. Returns whether every metric is the
    same to the last bit, and a text that names the first difference and what may explain it.

    Raises:
        ConfigError: if there is no run, or an override would change what it computes.
    """
    where = [override.partition("=")[2] for override in overrides if override.startswith("hydra.run.dir=")]
    given = [override for override in overrides if not override.startswith("hydra.run.dir=")]
    first, status = diff.points(folder), resume.status_of(folder)
    _, config = resume.own(folder, given, RERUN_KEYS)
    run, both = parse(config), [*resume.overrides_of(folder), *given]
    again = Path(where[-1]) if where else Path(reserve_run_folder("outputs"))
    try:
        print(train(run, again, both, NEW))
    except Diverged as diverged:  # the first run may have diverged as well
        print(diverged)
    second = diff.points(again)
    difference = diff.first_difference(first, second, ended=status in ("completed", "diverged"))
    if difference is None:
        return True, f"same  every metric at all {len(first)} points is that of {folder}, to the last bit"
    apart = diff.largest_difference(first, second)
    return False, "\n  ".join([f"differs  {difference}", apart, *diff.circumstances(folder, again)])
