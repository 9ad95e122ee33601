"""Optimizers: twenty steps of every registered optimizer on f(x) = 0.1 x1^2 + 2 x2^2 from (-5, -2).

Claim: gradient descent and momentum end where Dive into Deep Learning says (Zhang et al. 2023, chapter 12: lr 0.4 at
(-0.943467, -0.000073), lr 0.6 with momentum 0.5 at (0.007188, 0.002553)), and every optimizer follows the rule of its
paper (experiments/support/update_rules.py) to six decimals.

    python -m experiments.optimizers
"""

from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dl_lab.plotting.figures import surface_paths
from dl_lab.registry import OPTIMIZERS
from experiments.support import builders, update_rules
from experiments.support.findings import Report

TAKES = 5  # seconds on two cores
SOURCE = "https://d2l.ai/chapter_optimization/momentum.html"
START, STEPS = (-5.0, -2.0), 20
CURVATURE = np.array([0.2, 4.0])
# Settings that cross this surface in twenty steps; all others are those of conf/optimizer. L-BFGS takes plain steps.
CHANGES: dict[str, dict[str, Any]] = {
    **{name: {"lr": 0.5} for name in ("adam", "adamw", "nadam", "adamax", "adagrad", "rprop", "muon", "adafactor")},
    **{name: {"lr": 0.4} for name in ("sgd", "asgd", "rmsprop", "radam")},
    "lbfgs": {"max_iter": 1, "line_search_fn": None, "tolerance_change": 0.0},
}
# torch runs Newton-Schulz in bfloat16, with a resolution of 2^-8: each update, about lr long, is off by as much.
WITHIN = {"muon": STEPS * 1.2 * 0.5 * 2**-8}


def path(name: str, config: Any) -> Tensor:
    """The points (step + 1, 2) that a registered optimizer visits; Muon gets them as a matrix of one row."""
    shape = (1, 2) if name == "muon" else (2,)
    point = torch.tensor(START, dtype=torch.float64).view(shape).requires_grad_()
    optimizer = OPTIMIZERS[name].build(config, [point])
    visited = [point.detach().flatten().clone()]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (torch.from_numpy(CURVATURE) / 2 * point.flatten() ** 2).sum()
        loss.backward()
        return loss

    for _ in range(STEPS):
        optimizer.step(closure)
        visited.append(point.detach().flatten().clone())
    return torch.stack(visited)


def draw(paths: dict[str, Tensor], report: Report) -> None:
    """Draw the paths on the surface, about five per figure."""
    columns, rows = np.meshgrid(np.linspace(-5.6, 3, 120), np.linspace(-3, 3.2, 120))
    names = sorted(paths)
    for number, group in enumerate((names[:5], names[5:10], names[10:])):
        title = f"Twenty steps on 0.1 x1² + 2 x2² ({number + 1} of 3)"
        some = {name: paths[name] for name in group}
        heights = 0.1 * columns**2 + 2 * rows**2
        report.figure("paths", surface_paths(columns, rows, heights, some, title, ("x1", "x2"), minimum=(0, 0)), number)


def main() -> Report:
    report = Report("optimizers", SOURCE)
    paths = {}
    for claim, changes, end in (
        ("gradient descent, lr 0.4", {"lr": 0.4}, (-0.943467, -0.000073)),
        ("momentum 0.5, lr 0.6", {"lr": 0.6, "momentum": 0.5}, (0.007188, 0.002553)),
    ):
        paths[claim] = path("sgd", builders.optimizer_settings("sgd", changes))
        report.equal(claim, paths[claim][-1], end, 1e-6, str(end))
    for name in OPTIMIZERS.names():
        config = builders.optimizer_settings(name, CHANGES.get(name, {}))
        rule = getattr(update_rules, name)(np.array(START), lambda x: CURVATURE * x, config)
        expected = np.stack([np.array(START), *islice(rule, STEPS)])
        paths[name] = path(name, config)
        claim = f"{name}, all {STEPS} steps"
        report.equal(claim, paths[name], expected, WITHIN.get(name, 1e-6), "the published rule in NumPy")
    del paths["sgd"]  # close to gradient descent, which is drawn
    draw(paths, report)
    return report


if __name__ == "__main__":
    main().finish()
