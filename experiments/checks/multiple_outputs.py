"""Compare one model of three targets with least squares for each target."""

import numpy as np
import torch

from dl_lab.plotting.figures import scatter
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

NAMES = ("weight", "waist", "pulse")


def check(runs: list[Run], report: Report) -> None:
    for run in runs:
        train = replay.unstandardized(run).train
        inputs, targets = train.inputs.numpy(), train.targets.numpy()
        design = np.column_stack([np.ones(len(inputs)), inputs])
        alone = np.stack([np.linalg.lstsq(design, target, rcond=None)[0] for target in targets.T])
        coefficients, intercepts = replay.unstandardized_line(run)
        together = torch.column_stack([intercepts, coefficients])
        about = f"seed {run.seed}"
        report.equal(f"intercepts and coefficients, {about}", together, alone, 1e-6, "numpy's lstsq for each target")
        predicted = design @ together.numpy().T
        report.equal(f"predictions, {about}", predicted, design @ alone.T, 1e-6, "numpy's lstsq for each target")
    pairs = {name: (targets[:, place], predicted[:, place]) for place, name in enumerate(NAMES)}
    title = "One linear model, three targets: predicted against actual"
    actual, fitted = "actual (pounds, inches, beats)", "predicted (same units)"
    report.figure("fit", scatter(pairs, title, actual, fitted, diagonal=True))
