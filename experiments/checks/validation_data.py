"""Measure overfitting and what early stopping and weight decay gain; fit polynomials to a cosine."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.polynomial import Legendre
from numpy.polynomial.legendre import legval, legvander
from sklearn.metrics import log_loss

from dl_lab.plotting.figures import curves
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

SKLEARN = "https://scikit-learn.org/stable/auto_examples/model_selection/plot_underfitting_overfitting.html"
PUBLISHED = {1: 0.408, 4: 0.0432, 15: 1.82e8}  # mean squared error in ten-fold cross-validation


def check(runs: list[Run], report: Report) -> None:
    """Compare the runs without a remedy with early stopping and with weight decay."""
    alone, stopped, decayed = (
        [run for run in runs if run.matches({"optimizer.weight_decay": decay, "train.patience": patience})]
        for decay, patience in ((0.0, None), (0.0, 5), (2.0, None))
    )
    check_overfitting(alone, report)
    memorized = [test_loss(run, "last") for run in alone]
    for name, arm, which in (("early stopping", stopped, "best"), ("weight decay", decayed, "last")):
        gains = [before - test_loss(run, which) for before, run in zip(memorized, arm, strict=True)]
        report.mean(f"{name} lowers the test loss, nats", gains, "above 0", at_least=0.0)
    steps = [point["step"] for point in alone[0].points("val")]
    lines = {
        f"{name}, {split}": (steps, np.mean([on_steps(run, split, steps) for run in arm], axis=0))
        for name, arm in (("no remedy", alone), ("weight decay", decayed))
        for split in ("train", "val")
    }
    title = "1,000 images: loss, mean of seeds"
    report.figure("losses", curves(lines, title, "step", "cross-entropy (nats)", log_y=True))
    polynomials(report)


def on_steps(run: Run, split: str, steps: list[float]) -> list[float]:
    """The loss of a split at these steps."""
    return [point["loss"] for point in run.points(split) if point["step"] in steps]


def check_overfitting(runs: list[Run], report: Report) -> None:
    """Check that the validation loss rises from its minimum while the training loss falls."""
    rises, falls = [], []
    for run in runs:
        validation, training = run.points("val"), run.points("train")
        lowest = min(validation, key=lambda point: point["loss"])
        there = next(point for point in training if point["step"] >= lowest["step"])
        rises.append(validation[-1]["loss"] - lowest["loss"])
        falls.append(training[-1]["loss"] - there["loss"])
    # more than the standard error of 2,000 validation images, about .02
    report.mean("the validation loss rises from its minimum, nats", rises, "more than a tenth", at_least=0.1)
    report.mean("the training loss falls meanwhile, nats", falls, "below 0", at_most=0.0)


def test_loss(run: Run, which: str) -> float:
    """Cross-entropy of a checkpoint on the test images in nats, computed by scikit-learn."""
    plan, state = replay.trained(run, which)
    inputs, labels = next(iter(plan.data.test.everything(len(plan.data.test))))
    with torch.no_grad():
        logits = state.model.eval()(plan.data.prepare(inputs))
    return float(log_loss(labels.numpy(), logits.double().softmax(1).numpy()))


def polynomials(report: Report) -> None:
    """Repeat scikit-learn's example: thirty points on a noisy cosine, fitted with least squares in torch."""
    random = np.random.RandomState(0)  # as in the example, whose numbers depend on it
    x = np.sort(random.rand(30))
    y = np.cos(1.5 * np.pi * x) + random.randn(30) * 0.1
    across = np.linspace(0, 1, 200)
    lines = {"truth": (across, np.cos(1.5 * np.pi * across))}
    for degree, published in PUBLISHED.items():
        error = cross_validated(partial(fitted, degree), x, y)
        numpys = cross_validated(lambda x, y, at, degree=degree: Legendre.fit(x, y, degree)(at), x, y)
        report.equal(f"degree {degree}: error divided by that of NumPy's Legendre.fit", error / numpys, 1.0, 1e-6, "1")
        ends = {"at_least": published * 0.99, "at_most": published * 1.01}
        claim = f"degree {degree}: error is the published one"
        report.mean(claim, [error], f"{published:g} ± 1 %", **ends, source=SKLEARN)
        lines[f"degree {degree}"] = (across, np.clip(fitted(degree, x, y, across), -2, 2))
    title = "Polynomials through thirty points: underfitting, right, overfitting"
    report.figure("polynomials", curves(lines, title, "x", "y", points=(x, y)))


def cross_validated(fit: Callable[..., np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error of fit(x, y, at) on held-out points, over ten folds."""
    folds = np.array_split(np.arange(len(x)), 10)
    return float(np.mean([(fit(np.delete(x, out), np.delete(y, out), x[out]) - y[out]) ** 2 for out in folds]))


def fitted(degree: int, x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Evaluate the least-squares polynomial through (x, y) at some points, by Legendre polynomials on [0, 1].

    Powers are nearly dependent there: a solver may drop some, as scikit-learn's does since version 1.9 (tol), and then
    gets a much smaller error than the published one.
    """
    basis = torch.from_numpy(legvander(2 * x - 1, degree))
    weights = torch.linalg.lstsq(basis, torch.from_numpy(y)[:, None], driver="gelsd").solution[:, 0]
    return legval(2 * at - 1, weights.numpy())
