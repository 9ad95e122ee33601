"""The fitted line against scikit-learn's and the published digits, and the way down the loss surface."""

import torch
from sklearn.linear_model import LinearRegression

from dl_lab.data.splits import InMemory
from dl_lab.plotting.figures import curves, surface_paths
from experiments.support import replay
from experiments.support.claims import Run
from experiments.support.findings import Report

PUBLISHED = 938.23786125


def check(runs: list[Run], report: Report) -> None:
    data = replay.in_own_units(runs[0])
    train, test = data.train, data.test
    assert isinstance(train, InMemory)
    assert isinstance(test, InMemory)
    theirs = LinearRegression().fit(train.inputs, train.targets)
    predicted = theirs.predict(test.inputs)
    fitted = [replay.linear_in_own_units(run) for run in runs]
    slopes = torch.stack([coefficients[0, 0] for coefficients, _ in fitted])
    intercepts = torch.stack([intercept[0] for _, intercept in fitted])
    report.equal(
        "the coefficient of every seed is the published one", slopes, [PUBLISHED] * len(runs), 1e-6, "938.23786"
    )
    report.equal("the intercept is", intercepts, [theirs.intercept_[0]] * len(runs), 1e-9, "scikit-learn's")
    # The final weights: the metrics above are of the best checkpoint, the first whose loss rounds to the least.
    ours = (test.inputs * slopes + intercepts).T
    report.equal("every prediction on the test split is", ours, [predicted[:, 0]] * len(runs), 1e-8, "scikit-learn's")

    across = torch.linspace(float(train.inputs.min()), float(train.inputs.max()), 2, dtype=torch.float64)
    line = {"fitted line": (across, intercepts[0] + slopes[0] * across)}
    points = (train.inputs[:, 0], train.targets[:, 0])
    report.figure("line", curves(line, "The fitted line", "body mass index (scaled)", "progression", points=points))
    draw_paths(runs, report)


def draw_paths(runs: list[Run], report: Report) -> None:
    """Every seed's (slope, intercept) by step, standardised as they are trained, over the training loss."""
    plan, _ = replay.before(runs[0])
    train = plan.data.train
    assert isinstance(train, InMemory)
    x, y = train.inputs[:, 0], train.targets[:, 0]
    paths = {f"seed {run.seed}": replay.path(run, 60) for run in runs}
    every = torch.cat(list(paths.values()))
    ended = replay.path(runs[0], plan.total_steps)[-1]
    last = torch.cat([value.flatten() for value in replay.saved(runs[0])["model"].values()])
    report.equal("the path that is drawn ends where the run did", ended, last, 0.0, "the checkpoint")
    low, high = every.amin(0) - 0.3, every.amax(0) + 0.3
    slope, intercept = (torch.linspace(float(low[axis]), float(high[axis]), 100, dtype=x.dtype) for axis in (0, 1))
    rows, columns = torch.meshgrid(intercept, slope, indexing="ij")
    loss = ((columns[..., None] * x + rows[..., None] - y) ** 2).mean(-1)
    names = ("slope (standardised)", "intercept (standardised)")
    title = "Gradient descent over the mean squared error"
    report.figure("path", surface_paths(columns, rows, loss, paths, title, names, minimum=last.tolist()))
