"""The mean of the examples' gradients is the full one; the stochastic path is drawn beside that of full batches."""

from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from dl_lab.data.batching import training_batches
from dl_lab.plotting.figures import curves, surface_paths
from experiments.support import replay
from experiments.support.claims import Run
from experiments.support.findings import Report
from experiments.support.per_example_gradients import of_batch, per_example

D2L = "https://d2l.ai/chapter_optimization/sgd.html"
SHOWN = 80  # steps of a path


def check(runs: list[Run], report: Report) -> None:
    plan, state = replay.before(runs[0])
    inputs, targets = plan.data.train.inputs, plan.data.train.targets
    full = of_batch(state.model, F.mse_loss, inputs, targets)
    mean = per_example(state.model, F.mse_loss, inputs, targets).mean(0)
    report.equal("the mean of the examples' gradients is the full gradient", mean, full, 1e-12, "backward() on all")
    epoch = islice(training_batches(plan.data.train, plan.seed, 1, plan.device), len(targets))
    drawn = torch.stack([of_batch(state.model, F.mse_loss, *batch) for batch in epoch]).mean(0)
    report.equal("so is that of an epoch's batches of one", drawn, full, 1e-12, "backward() on all")

    x, y = inputs[:, 0].numpy(), targets[:, 0].numpy()
    line, squares, *_ = np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)
    least = float(squares[0]) / len(y)
    ended = [run.metric("val/loss") for run in runs if run.config["train.batch_size"] == "full"]
    report.equal("full batches reach the minimum, whatever the schedule", ended, [least] * len(ended), 1e-10, "numpy")

    first = [run for run in runs if run.seed == runs[0].seed]
    stochastic = [run for run in first if run.config["train.batch_size"] == 1]
    shown = {f"1 example, {run.config['schedule']}": run for run in stochastic}
    shown["all 442, constant"] = next(
        run for run in first if run.config["train.batch_size"] == "full" and run.config["schedule"] == "constant"
    )
    paths = {name: replay.path(run, SHOWN) for name, run in shown.items()}
    every = torch.cat(list(paths.values())).numpy()
    low, high = every.min(0) - 0.1, every.max(0) + 0.1
    columns, rows = np.meshgrid(*(np.linspace(low[axis], high[axis], 100) for axis in (0, 1)))
    loss = ((columns[..., None] * x + rows[..., None] - y) ** 2).mean(-1)
    names = ("slope (standardised)", "intercept (standardised)")
    title = f"The first {SHOWN} steps over the mean squared error"
    report.figure("path", surface_paths(columns, rows, loss, paths, title, names, minimum=line.tolist()))
    falling = {}
    for run in stochastic:
        history = run.history("val")
        excess = [point["loss"] - least for point in history]
        falling[f"{run.config['schedule']} lr"] = ([point["step"] for point in history], excess)
    title = "What one example a step leaves of the loss"
    report.figure("loss", curves(falling, title, "step", "loss above its minimum", log_y=True))
