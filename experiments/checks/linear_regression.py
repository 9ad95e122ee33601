"""Compare the fitted line with scikit-learn's, and draw the paths over the loss surface."""

import torch
from sklearn.linear_model import LinearRegression
from torch import Tensor

from dl_lab.data.splits import InMemory
from dl_lab.plotting.figures import curves, surface_paths
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

PUBLISHED = 938.23786125


def check(runs: list[Run], report: Report) -> None:
    data = replay.unstandardized(runs[0])
    train, test = data.train, data.test
    theirs = LinearRegression().fit(train.inputs, train.targets)
    fitted = [replay.unstandardized_line(run) for run in runs]
    slopes = torch.stack([coefficients[0, 0] for coefficients, _ in fitted])
    intercepts = torch.stack([intercept[0] for _, intercept in fitted])
    peer = "scikit-learn's"
    report.equal("every seed's coefficient is the published one", slopes, PUBLISHED, 1e-6, "938.23786")
    report.equal("every seed's intercept is scikit-learn's", intercepts, theirs.intercept_[0], 1e-9, peer)
    # These are the last weights; the claims in YAML are about the best checkpoint.
    ours, predicted = (test.inputs * slopes + intercepts).T, [theirs.predict(test.inputs)[:, 0]] * len(runs)
    report.equal("every prediction on the test split is scikit-learn's", ours, predicted, 1e-8, peer)

    across = torch.linspace(float(train.inputs.min()), float(train.inputs.max()), 2, dtype=torch.float64)
    line = {"fitted line": (across, intercepts[0] + slopes[0] * across)}
    points = (train.inputs[:, 0], train.targets[:, 0])
    report.figure("line", curves(line, "The fitted line", "body mass index (scaled)", "progression", points=points))
    draw_paths(runs, report)


def draw_paths(runs: list[Run], report: Report) -> None:
    """Draw every seed's (slope, intercept) by step, in standardized units, over the training loss."""
    plan, _ = replay.before(runs[0])
    ended = replay.path(runs[0], plan.total_steps)[-1]
    last = torch.cat([value.flatten() for value in replay.saved(runs[0])["model"].values()])
    report.equal("the drawn path ends at the checkpoint's weights", ended, last, 0.0, "the checkpoint")
    paths = {f"seed {run.seed}": replay.path(run, 60) for run in runs}
    draw_surface(plan.data.train, paths, last, "Gradient descent over the mean squared error", report)


def draw_surface(train: InMemory, paths: dict[str, Tensor], minimum: Tensor, title: str, report: Report) -> None:
    """Draw paths (step, 2) of (slope, intercept) over the mean squared error of a line."""
    visited = torch.cat(list(paths.values()))
    low, high = (visited.amin(0) - 0.2).tolist(), (visited.amax(0) + 0.2).tolist()
    slope, intercept = (torch.linspace(*ends, 100, dtype=visited.dtype) for ends in zip(low, high, strict=True))
    rows, columns = torch.meshgrid(intercept, slope, indexing="ij")
    loss = ((columns[..., None] * train.inputs[:, 0] + rows[..., None] - train.targets[:, 0]) ** 2).mean(-1)
    names = ("slope (standardized)", "intercept (standardized)")
    report.figure("path", surface_paths(columns, rows, loss, paths, title, names, minimum=minimum.tolist()))
