"""Measure the gradient noise by batch size, and draw the loss by examples seen and by seconds."""

import time
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from dl_lab.data.batching import training_batches
from dl_lab.plotting.figures import curves
from dl_lab.runs.reader import Run
from dl_lab.training import loop
from experiments.support import replay
from experiments.support.findings import Report
from experiments.support.per_example_gradients import of_batch, per_example

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
DRAWS = 400  # batches of each size: enough for a standard deviation of 0.01 in the slope
SLOPE_WITHIN = 0.05
Curve = tuple[list[float], list[float], list[float]]


def check(runs: list[Run], report: Report) -> None:
    draw_noise([run for run in runs if run.values["train.batch_size"] == 32], report)
    drawn = {}
    for run in (run for run in runs if run.seed == runs[0].seed):
        size, reached = run.values["train.batch_size"], run.metric("last/loss")
        drawn[size] = replayed(run)
        claim = f"batch size {size}: the replayed loss ends at the run's"  # a stack adds in another order
        report.equal(claim, drawn[size][2][-1], reached, 1e-5 * reached, "last/loss")
    ratio = drawn[1][1][-1] / drawn[32][1][-1]
    claim = "seconds of an epoch with batches of 1, divided by those with batches of 32"
    published = "more than 1: a batch reads the weights once for many examples"
    report.holds(claim, ratio > 1, f"{ratio:.1f}", published)
    names = {1: "1 example", 32: "32 examples", "full": "all examples"}
    for place, (tag, axis) in enumerate((("examples", "examples seen"), ("seconds", "seconds of training"))):
        lines = {names[size]: (curve[place], curve[2]) for size, curve in drawn.items()}
        title = f"Loss by {axis}, for each batch size"
        report.figure(f"loss/{tag}", curves(lines, title, axis, "validation loss (nats)", log_x=True, log_y=True))


def draw_noise(runs: list[Run], report: Report) -> None:
    """Draw the mean squared distance of a batch's gradient from the full gradient, at the initial weights."""
    lines, slopes = {}, []
    for run in runs:
        plan, state = replay.before(run)
        train, number = plan.data.train, len(plan.data.train)
        gradients = per_example(state.model, F.cross_entropy, train.inputs, train.targets)
        full = of_batch(state.model, F.cross_entropy, train.inputs, train.targets)
        claim = f"the mean of the per-example gradients is the full gradient, seed {run.seed}"
        report.equal(claim, gradients.mean(0), full, 1e-5, "torch")
        noise = []
        for size in SIZES:
            batches = islice(training_batches(train, plan.seed, size, plan.device), DRAWS)
            distances = [(of_batch(state.model, F.cross_entropy, *batch) - full).square().sum() for batch in batches]
            # corrects for sampling without replacement, where a full batch has no noise
            noise.append(float(torch.stack(distances).mean()) * (number - 1) / (number - size))
        slopes.append(float(np.polyfit(np.log(SIZES), np.log(noise), 1)[0]))
        lines[f"measured, seed {run.seed}"] = (SIZES, noise)
    spread = float((gradients - full).square().sum(1).mean())
    lines["variance of the examples / size"] = (SIZES, [spread / size for size in SIZES])
    claim, published = "the gradient noise falls as 1 / batch size: log-log slope", f"-1 ± {SLOPE_WITHIN}"
    report.mean(claim, slopes, published, -1 - SLOPE_WITHIN, -1 + SLOPE_WITHIN)
    title = "Noise of a batch's gradient"
    report.figure("noise", curves(lines, title, "batch size", "variance of the gradient", log_x=True, log_y=True))


def replayed(run: Run) -> Curve:
    """Examples seen, seconds of training alone, and validation loss, at about thirty steps of the run."""
    plan, state = replay.before(run)
    measured_steps = set(np.geomspace(1, plan.total_steps, 30).astype(int).tolist()) | {plan.total_steps}
    examples, seconds, losses = [], [], []
    spent, since = 0.0, time.perf_counter()
    for step in replay.steps(plan, state, plan.total_steps):
        if step in measured_steps:
            spent += time.perf_counter() - since
            examples.append(min(step * plan.batch_size, step / plan.steps_per_epoch * len(plan.data.train)))
            seconds.append(spent)
            losses.append(loop.evaluate(state.model, plan, plan.data.validation)["loss"])
            since = time.perf_counter()
    return examples, seconds, losses
