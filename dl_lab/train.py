"""The entrypoint: python -m dl_lab.train [group=choice ...] [key=value ...]"""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dl_lab import command_line
from dl_lab.errors import Diverged

if TYPE_CHECKING:
    from dl_lab.build import Plan, TrainState
    from dl_lab.loop import Outcome


def main() -> None:
    """Train one run, or with -m one for every combination."""
    command_line.run(train)


def train(config: DictConfig) -> float:
    """Train as `config` says, in the folder that Hydra has made. Returns the best validation metric, for sweepers.

    Raises:
        ConfigError: for what is wrong with the configuration or the data, before training.
        Diverged: if the loss stopped being finite.
    """
    from hydra.core.hydra_config import HydraConfig

    from dl_lab import build, loop  # imports torch, which takes longer than --help should
    from dl_lab.config import parse
    from dl_lab.logbook import Logbook
    from dl_lab.progress import Progress

    started = time.perf_counter()
    run = parse(config)
    job = HydraConfig.get()
    plan, state = build.prepare(run, build.build_data(run))
    folder = Path(job.runtime.output_dir)
    with Logbook(folder, run.as_dict, list(job.overrides.task)) as logbook:
        if state.forward is not state.model:
            print("compiling the model, which takes up to a minute and makes its steps shorter (not: compile=false)")
        progress = Progress(plan.total_steps)
        outcome, test = loop.Outcome("failed", "interrupted by an error"), None
        try:
            outcome = loop.fit(state, plan, logbook, progress)
            if outcome.status == "completed":
                test = loop.evaluate_best(state, plan, logbook)
        except KeyboardInterrupt:
            outcome = loop.Outcome("stopped", f"interrupted at step {state.step}")
            raise
        except Exception as error:
            outcome = loop.Outcome("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            progress.close()
            logbook.finish(summarize(plan, state, outcome, test, time.perf_counter() - started))
    if outcome.status == "diverged":
        raise Diverged(f"diverged: {outcome.reason} (run {folder})")
    assert state.best is not None
    report(plan, state.best, outcome, test, folder)
    return state.best[run.train.best]


def summarize(
    plan: "Plan", state: "TrainState", outcome: "Outcome", test: dict[str, float] | None, seconds: float
) -> dict[str, Any]:
    """What summary.json holds, but for versions and commit."""
    import torch

    settings = plan.run.settings
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "steps": state.step,
        "epochs": state.step / plan.steps_per_epoch,
        "seconds": round(seconds, 3),
        "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
        "best": state.best,
        "last": outcome.last,
        "test": test,
        "name": settings.name,
        "tags": settings.tags,
        "seed": settings.seed,
        "device": str(plan.device),
        "threads": torch.get_num_threads(),
        "compiled": state.forward is not state.model,
    }


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
