"""Compare the objective that scikit-learn minimizes, at our weights and at its own."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from dl_lab.plotting.figures import scatter
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

SUM = 37.75895


def check(runs: list[Run], report: Report) -> None:
    for features in dict.fromkeys(str(run.values["dataset.features"]) for run in runs):
        chosen = [run for run in runs if str(run.values["dataset.features"]) == features]
        wide = features == "[]"
        compare(chosen, "30 features" if wide else "2 features", SUM if wide else None, report)


def compare(runs: list[Run], about: str, published: float | None, report: Report) -> None:
    """Compare every seed's last weights with scikit-learn's, on the features of these runs."""
    plan, _ = replay.before(runs[0])
    inputs, targets = plan.data.train.inputs, plan.data.train.targets
    classifier = LogisticRegression(C=1.0, tol=1e-12, solver="newton-cholesky", max_iter=1000).fit(inputs, targets)
    theirs = objective(torch.tensor(classifier.coef_[0]), float(classifier.intercept_[0]), inputs, targets)
    planes = []
    for run in runs:
        _, state = replay.trained(run)
        weight, bias = (parameter.detach() for parameter in state.model.parameters())
        planes.append((weight[1] - weight[0], float(bias[1] - bias[0])))
    ours = [objective(*plane, inputs, targets) for plane in planes]
    if published is not None:
        report.equal(f"{about}: objective, penalty plus sum of log losses", ours, published, 1e-4, f"{published}")
    report.equal(f"{about}: objective of scikit-learn", ours, theirs, 1e-8, f"{theirs:.6f}")
    normals = torch.stack([normal for normal, _ in planes])
    expected = np.repeat(classifier.coef_, len(runs), 0)
    report.equal(f"{about}: every coefficient", normals, expected, 1e-5, "scikit-learn")
    pairs = {f"seed {run.seed}": (classifier.coef_[0], normal) for run, normal in zip(runs, normals, strict=True)}
    title = f"Coefficients of {about}"
    drawn = scatter(pairs, title, "scikit-learn's coefficient", "gradient descent's coefficient", diagonal=True)
    report.figure(f"coefficients/{about.replace(' ', '_')}", drawn)


def objective(normal: torch.Tensor, bias: float, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """|w|^2 / 2 plus the sum of log losses, which is scikit-learn's objective for C=1."""
    losses = F.softplus(-(2 * targets - 1) * (inputs @ normal + bias))
    return float(normal @ normal / 2 + losses.sum())
