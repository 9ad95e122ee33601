"""Check whether hidden units stay equal, and whether one unit can replace all of them."""

import numpy as np
import torch

from dl_lab.plotting.figures import histograms, image_grid
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

SHOWN = 16  # hidden units
INITIALIZERS = ("constant", "zeros", "xavier_uniform")


def spread(weights: dict[str, torch.Tensor]) -> float:
    """The largest difference between two hidden units in an incoming weight, a bias or an outgoing weight."""
    units = torch.cat([weights["layers.0.weight"], weights["layers.0.bias"][:, None], weights["head.weight"].T], 1)
    return float((units.amax(0) - units.amin(0)).max())


def off_by(run: Run, which: str) -> float:
    """The largest difference in logits when one hidden unit, with the summed outgoing weights, replaces all units."""
    plan, state = replay.trained(run, which, precision="float64", compile=False)
    images = plan.data.prepare(next(iter(plan.data.validation.everything(1000)))[0]).flatten(1)
    w = {name: tensor.numpy() for name, tensor in state.model.state_dict().items()}
    unit = np.maximum(images.numpy() @ w["layers.0.weight"][0] + w["layers.0.bias"][0], 0)
    by_one = unit[:, None] * w["head.weight"].sum(1) + w["head.bias"]
    with torch.no_grad():
        return float(np.abs(by_one - state.model(images).numpy()).max())


def check(runs: list[Run], report: Report) -> None:
    for name in INITIALIZERS:
        chosen = [(run, which) for run in runs for which in ("best", "last") if run.values["initializer"] == name]
        spreads = [spread(replay.saved(*each)["model"]) for each in chosen]
        errors = [off_by(*each) for each in chosen]
        most, least, checkpoints = max(spreads), min(spreads), f"{len(chosen)} checkpoints, best and last"
        if name == "xavier_uniform":
            measured = f"by {least:.2g} or more; {checkpoints}"
            report.holds(f"{name}: units differ", least > 0.1, measured, "more than 0.1")
            claim, measured = f"{name}: one unit does not replace all 32", f"off by {min(errors):.2g} or more"
            report.holds(claim, min(errors) > 1, measured, "more than 1, in logits")
        else:
            measured = f"differ by {most}; {checkpoints}"
            report.holds(f"{name}: all units stay equal", most == 0.0, measured, "exactly 0")
            claim, measured = f"{name}: one unit replaces all 32", f"off by {max(errors):.1e}"
            report.holds(claim, max(errors) < 1e-10, measured, "equal logits, to 1e-10")
    draw([run for run in runs if run.seed == 0], report)


def draw(runs: list[Run], report: Report) -> None:
    """Draw the last weights of the hidden units, as images and as a histogram for one pixel."""
    last = {run.values["initializer"]: replay.saved(run)["model"] for run in runs}
    for initializer, weights in last.items():
        units = weights["layers.0.weight"][:SHOWN].view(-1, 8, 8)
        title = f"initializer={initializer}: weights of {SHOWN} hidden units at the end (blue -, red +)"
        report.figure(f"units/{initializer}", image_grid(units, title, colors="coolwarm", shared=True))
    weights = {initializer: each["layers.0.weight"][:, 20] for initializer, each in last.items()}
    title = "Weight from one pixel to each of 32 hidden units, at the end"
    report.figure("pixel", histograms(weights, title, "weight"))
