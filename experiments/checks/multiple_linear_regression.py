"""Compare the trained coefficients with NIST's certified ones, in original units."""

import numpy as np
import torch

from dl_lab.plotting.figures import curves
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report
from experiments.support.least_squares import digits, exact

CERTIFIED = {
    "intercept": -3482258.63459582,
    "GNPDEFL": 15.0618722713733,
    "GNP": -0.0358191792925910,
    "UNEMP": -2.02022980381683,
    "ARMED": -1.03322686717359,
    "POP": -0.0511041056535807,
    "YEAR": 1829.15146461355,
}


def check(runs: list[Run], report: Report) -> None:
    certified = np.array(list(CERTIFIED.values()))
    agreed = digits([float(value) for value in exact("longley.csv", "TOTEMP")], certified)
    claim = "least squares in rational arithmetic on our copy of the data"
    report.holds(claim, agreed >= 13, f"{agreed:.1f} digits", "15 certified")
    found = []
    for run in runs:
        coefficients, intercepts = replay.unstandardized_line(run)
        found.append(torch.cat([intercepts, coefficients[0]]).numpy())
    for place, (name, value) in enumerate(CERTIFIED.items()):
        agreed = min(digits(one[place], value) for one in found)
        published = f"{value}, to 9 digits or more"
        report.holds(f"{name}, worst of {len(runs)} seeds", agreed >= 9, f"{agreed:.1f} digits", published)
    draw(runs, certified, report)


def draw(runs: list[Run], certified: "np.typing.NDArray[np.float64]", report: Report) -> None:
    """Draw the distance of the standardized weights from the certified ones by step."""
    train = replay.unstandardized(runs[0]).train
    plan, _ = replay.before(runs[0])
    mean, std = train.inputs.mean(0).numpy(), train.inputs.std(0, correction=0).numpy()
    (head,) = plan.data.spec.heads
    target = np.append(certified[1:] * std, certified[0] + certified[1:] @ mean - head.offset[0]) / head.scale[0]
    lines = {}
    for run in runs:
        distance = np.linalg.norm(replay.path(run, plan.total_steps).numpy() - target, axis=1)
        lines[f"seed {run.seed}"] = (np.arange(len(distance)), distance)
    title = "Longley: gradient descent with momentum"
    report.figure("distance", curves(lines, title, "step", "distance from the certified weights", log_y=True))
