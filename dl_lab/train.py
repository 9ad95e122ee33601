"""The entrypoint: python -m dl_lab.train [group=choice ...] [key=value ...]"""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dl_lab import command_line
from dl_lab.errors import Diverged, Stopped
from dl_lab.signals import Signals

if TYPE_CHECKING:
    from dl_lab.build import Plan
    from dl_lab.config import RunConfig
    from dl_lab.milestones import Outcome


def main() -> None:
    """Train one run, or with -m one for every combination; with resume=FOLDER go on with one."""
    asked = [argument.partition("=")[2] for argument in sys.argv[1:] if argument.startswith("resume=")]
    others = [argument for argument in sys.argv[1:] if not argument.startswith("resume=")]
    if not asked:
        command_line.run(train)
        return
    with command_line.exits():
        folder = unfinished(others) if asked[-1] == "auto" else Path(asked[-1])
        if folder is not None:
            resume(folder, [] if asked[-1] == "auto" else others)
            return
    sys.argv[1:] = others
    command_line.run(train)


def train(config: DictConfig) -> float:
    """Train as `config` says, in the folder that Hydra has made. Returns the best validation metric, for sweepers.

    Raises:
        ConfigError: for what is wrong with the configuration or the data, before training.
        Diverged: if the loss stopped being finite.
    """
    from hydra.core.hydra_config import HydraConfig

    from dl_lab.config import parse  # imports torch, which takes longer than --help should

    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    given = [override for override in job.overrides.task if not command_line.is_of_sweep(override)]
    saved = None if config.sweep.resume is None else left_off(folder)
    return carry_out(parse(config), folder, given, saved)


def left_off(folder: Path) -> dict[str, Any]:
    """Where a job of a sweep was interrupted: at its last checkpoint, or before its first."""
    from dl_lab import resuming

    recorded = (folder / ".hydra" / "config.yaml").exists()
    return (resuming.last_checkpoint(folder) if recorded else None) or {"step": 0}


def resume(folder: Path, overrides: list[str]) -> float:
    """Go on with the run in `folder` from its last checkpoint, to the last bit as if it had never been interrupted.

    Raises:
        ConfigError: if there is none, if it has ended, or if an override would change it.
    """
    from dl_lab import resuming
    from dl_lab.config import parse

    saved = resuming.last_checkpoint(folder)
    config, given = resuming.continued(folder, overrides, 0 if saved is None else int(saved["step"]))
    return carry_out(parse(config), folder, [*resuming.overrides_of(folder), *given], saved or {"step": 0})


def unfinished(overrides: list[str]) -> Path | None:
    """The newest run of this very configuration that has not come to its end; None if there is none."""
    from dl_lab import resuming
    from dl_lab.config import parse

    where = [argument for argument in overrides if argument.startswith("hydra.run.dir=")]
    config = command_line.compose(*(argument for argument in overrides if not argument.startswith("hydra.")))
    roots = [Path(where[-1].partition("=")[2])] if where else sorted(Path("outputs").glob("*/*"), reverse=True)
    return resuming.newest_unfinished(roots, parse(config).as_dict)


def carry_out(run: "RunConfig", folder: Path, overrides: list[str], saved: dict[str, Any] | None = None) -> float:
    """Train `run` in `folder`, from its start or from the checkpoint `saved`. Returns the best validation metric."""
    from dl_lab import build, loop, milestones
    from dl_lab.logbook import Logbook
    from dl_lab.progress import Progress

    started = time.perf_counter()
    plan, state = build.prepare(run, build.build_data(run))
    if saved is not None and "model" in saved:
        milestones.restore(state, saved, plan.device)
    with (
        Logbook(folder, run.as_dict, overrides, None if saved is None else state.step) as logbook,
        Signals() as signals,
    ):
        if state.forward is not state.model:
            print("compiling the model, which takes up to a minute and makes its steps shorter (not: compile=false)")
        progress = Progress(plan.total_steps, state.step)
        outcome, test = milestones.Outcome("failed", "interrupted by an error"), None
        try:
            outcome = loop.fit(state, plan, logbook, progress, signals.received)
            if outcome.status == "completed":
                test = loop.evaluate_best(state, plan, logbook)
        except KeyboardInterrupt:
            outcome = milestones.Outcome("stopped", f"interrupted at step {state.step}")
            raise
        except Exception as error:
            outcome = milestones.Outcome("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            progress.close()
            logbook.finish(milestones.summarize(plan, state, outcome, test, time.perf_counter() - started))
    if outcome.status == "diverged":
        raise Diverged(f"diverged: {outcome.reason} (run {folder})")
    if outcome.status == "stopped":
        raise Stopped(f"stopped {outcome.reason}; go on with resume={shlex.quote(str(folder))}", signals.status)
    assert state.best is not None
    report(plan, state.best, outcome, test, folder)
    return state.best[run.train.best]


def report(
    plan: "Plan", best: dict[str, float], outcome: "Outcome", test: dict[str, float] | None, folder: Path
) -> None:
    """Print what came out, where it lies and how to look at it."""
    from dl_lab.progress import shown

    metrics = {name: best[name] for name in plan.task.metric_names}
    if outcome.reason:
        print(f"ended early: {outcome.reason}")
    print(f"val   {shown(metrics)}  (best val/{plan.run.train.best}, step {int(best['step'])})")
    print(f"test  {shown(test)}  (the same checkpoint)" if test else "test  this dataset has no test split")
    print(f"run   {folder}\nlook  tensorboard --logdir {shlex.quote(str(folder))}")


if __name__ == "__main__":
    main()
