"""Check that per-example gradients average to the full one, and draw stochastic and full-batch paths."""

from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from dl_lab.data.batching import training_batches
from dl_lab.plotting.figures import curves
from dl_lab.runs.reader import Run
from experiments.checks.linear_regression import draw_surface
from experiments.support import replay
from experiments.support.findings import Report
from experiments.support.per_example_gradients import of_batch, per_example

SHOWN = 80  # steps of a path


def check(runs: list[Run], report: Report) -> None:
    plan, state = replay.before(runs[0])
    inputs, targets = plan.data.train.inputs, plan.data.train.targets
    full = of_batch(state.model, F.mse_loss, inputs, targets)
    mean = per_example(state.model, F.mse_loss, inputs, targets).mean(0)
    report.equal("the mean of the per-example gradients is the full gradient", mean, full, 1e-12, "backward() on all")
    epoch = islice(training_batches(plan.data.train, plan.seed, 1, plan.device), len(targets))
    drawn = torch.stack([of_batch(state.model, F.mse_loss, *batch) for batch in epoch]).mean(0)
    claim = "the mean over one epoch of batches of 1 is the full gradient"
    report.equal(claim, drawn, full, 1e-12, "backward() on all")

    x, y = inputs[:, 0].numpy(), targets[:, 0].numpy()
    line, squares, *_ = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)
    least = float(squares[0]) / len(y)
    ended = [run.metric("last/loss") for run in runs if run.values["train.batch_size"] == "full"]
    report.equal("full batches reach the minimum with every schedule", ended, least, 1e-10, "numpy")

    first = [run for run in runs if run.seed == runs[0].seed]
    stochastic = [run for run in first if run.values["train.batch_size"] == 1]
    shown = {f"1 example, {run.values['schedule']}": run for run in stochastic}
    full_batch = {"train.batch_size": "full", "schedule": "constant"}
    shown["all 442, constant"] = next(run for run in first if run.matches(full_batch))
    paths = {name: replay.path(run, SHOWN) for name, run in shown.items()}
    title = f"The first {SHOWN} steps over the mean squared error"
    draw_surface(plan.data.train, paths, torch.from_numpy(line), title, report)
    falling = {}
    for run in stochastic:
        history = run.points("val")
        excess = [point["loss"] - least for point in history]
        falling[f"{run.values['schedule']} lr"] = ([point["step"] for point in history], excess)
    title = "Loss with one example per step"
    report.figure("loss", curves(falling, title, "step", "loss above its minimum", log_y=True))
