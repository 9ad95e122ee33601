"""The noise of a batch's gradient over its size, and the loss over examples seen and over seconds."""

import time
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from dl_lab.data.batching import training_batches
from dl_lab.plotting.figures import curves
from dl_lab.training import loop
from experiments.support import replay
from experiments.support.claims import Run
from experiments.support.findings import Report
from experiments.support.per_example_gradients import of_batch, per_example

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
DRAWS = 400  # batches of each size: their mean square scatters by a few percent, and the slope by 0.01
SLOPE_WITHIN = 0.05
Curve = tuple[list[float], list[float], list[float]]


def check(runs: list[Run], report: Report) -> None:
    draw_noise([run for run in runs if run.config["train.batch_size"] == 32], report)
    drawn = {run.config["train.batch_size"]: retraced(run) for run in runs if run.seed == runs[0].seed}
    for run in (run for run in runs if run.seed == runs[0].seed):
        size = run.config["train.batch_size"]
        ended = drawn[size][2][-1]
        reached = run.metric("val/loss")  # in a stack, where sums are in another order: to 1e-5 what it is alone
        report.equal(f"batch {size}: the curve ends where the run did", ended, reached, 1e-5 * reached, "val/loss")
    per_pass = {size: seconds[-1] for size, (_, seconds, _) in drawn.items()}
    ratio = per_pass[1] / per_pass[32]
    published = "more than 1: vectors are read once for many examples"
    report.holds("seconds of a pass by one example, over those by 32", ratio > 1, f"{ratio:.1f}", published)
    names = {1: "1 example", 32: "32 examples", "full": "all examples"}
    for place, (tag, axis) in enumerate((("examples", "examples seen"), ("seconds", "seconds of training"))):
        lines = {names[size]: (curve[place], curve[2]) for size, curve in drawn.items()}
        title = f"Loss over {axis}, by examples a step"
        report.figure(f"loss/{tag}", curves(lines, title, axis, "validation loss (nats)", log_x=True, log_y=True))


def draw_noise(runs: list[Run], report: Report) -> None:
    """The mean squared distance of a batch's gradient from the full one, at the initial weights of every seed."""
    lines, slopes = {}, []
    for run in runs:
        plan, state = replay.before(run)
        train, number = plan.data.train, len(plan.data.train)
        gradients = per_example(state.model, F.cross_entropy, train.inputs, train.targets)
        full = of_batch(state.model, F.cross_entropy, train.inputs, train.targets)
        report.equal(
            f"the mean of the examples' gradients is the full one, seed {run.seed}",
            gradients.mean(0),
            full,
            1e-5,
            "torch",
        )
        noise = []
        for size in SIZES:
            batches = islice(training_batches(train, plan.seed, size, plan.device), DRAWS)
            distances = [(of_batch(state.model, F.cross_entropy, *batch) - full).square().sum() for batch in batches]
            # without replacement: a batch of everything has no noise at all
            noise.append(float(torch.stack(distances).mean()) * (number - 1) / (number - size))
        slopes.append(float(np.polyfit(np.log(SIZES), np.log(noise), 1)[0]))
        lines[f"measured, seed {run.seed}"] = (SIZES, noise)
    spread = float((gradients - full).square().sum(1).mean())
    lines["variance of the examples / size"] = (SIZES, [spread / size for size in SIZES])
    published = f"-1 ± {SLOPE_WITHIN}"
    report.mean(
        "the noise of the gradient falls as one over the size of the batch, slope",
        slopes,
        published,
        -1 - SLOPE_WITHIN,
        -1 + SLOPE_WITHIN,
    )
    title = "Noise of a batch's gradient"
    report.figure("noise", curves(lines, title, "examples a batch", "variance of the gradient", log_x=True, log_y=True))


def retraced(run: Run) -> Curve:
    """Examples seen, seconds of training alone, and validation loss, some thirty times along the run."""
    plan, state = replay.before(run)
    looks = set(np.geomspace(1, plan.total_steps, 30).astype(int).tolist()) | {plan.total_steps}
    examples, seconds, losses = [], [], []
    spent, since = 0.0, time.perf_counter()
    for step in replay.steps(plan, state, plan.total_steps):
        if step in looks:
            spent += time.perf_counter() - since
            examples.append(min(step * plan.batch_size, step / plan.steps_per_epoch * len(plan.data.train)))
            seconds.append(spent)
            losses.append(loop.evaluate(state.model, plan, plan.data.validation)["loss"])
            since = time.perf_counter()
    return examples, seconds, losses
