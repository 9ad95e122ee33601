"""Where the validation loss turns; the test loss that each remedy leaves; polynomials on a cosine."""

import numpy as np
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from dl_lab.figures import curves
from experiments.checks.trained_model import load
from experiments.claims import Run
from experiments.proofs import Proof

SKLEARN = "https://scikit-learn.org/stable/auto_examples/model_selection/plot_underfitting_overfitting.html"
PUBLISHED = {1: 0.408, 4: 0.0432}  # mean squared error in ten-fold cross-validation; 15: 1.8e8


def check(runs: list[Run], proof: Proof) -> None:
    """The arm without a remedy against the two that have one."""
    alone, stopped, decayed = (
        [run for run in runs if run.matches({"optimizer.weight_decay": decay, "train.patience": patience})]
        for decay, patience in ((0.0, None), (0.0, 5), (2.0, None))
    )
    turned(alone, proof)
    by_heart = [test_loss(run, "last") for run in alone]
    for name, arm, which in (("early stopping", stopped, "best"), ("weight decay", decayed, "last")):
        gains = [before - test_loss(run, which) for before, run in zip(by_heart, arm, strict=True)]
        proof.mean(f"{name} lowers the test loss, nats", gains, "above 0", at_least=0.0)
    steps = [point["step"] for point in alone[0].history("val")]
    lines = {
        f"{name}, {split}": (steps, np.mean([on_steps(run, split, steps) for run in arm], axis=0))
        for name, arm in (("no remedy", alone), ("weight decay", decayed))
        for split in ("train", "val")
    }
    proof.figure(
        "losses", curves(lines, "1,000 images: loss, mean of seeds", "step", "cross-entropy (nats)", log_y=True)
    )
    polynomials(proof)


def on_steps(run: Run, split: str, steps: list[float]) -> list[float]:
    """The loss of a split at these steps."""
    return [point["loss"] for point in run.history(split) if point["step"] in steps]


def turned(runs: list[Run], proof: Proof) -> None:
    """From its lowest point the validation loss rises while the training loss falls further."""
    rises, falls = [], []
    for run in runs:
        validation, training = run.history("val"), run.history("train")
        lowest = min(validation, key=lambda point: point["loss"])
        there = next(point for point in training if point["step"] >= lowest["step"])
        rises.append(validation[-1]["loss"] - lowest["loss"])
        falls.append(training[-1]["loss"] - there["loss"])
    # a tenth of a nat: more than the 2,000 validation images err by, about .02
    proof.mean("the validation loss turns up, nats", rises, "more than a tenth", at_least=0.1)
    proof.mean("while the training loss falls, nats", falls, "below 0", at_most=0.0)


def test_loss(run: Run, which: str) -> float:
    """Cross-entropy of a checkpoint on the test images by scikit-learn, nats."""
    model, data = load(run, which)
    assert data.test is not None
    inputs, labels = next(iter(data.test.everything(len(data.test))))
    with torch.no_grad():
        return float(log_loss(labels.numpy(), model(data.prepare(inputs)).double().softmax(1).numpy()))


def polynomials(proof: Proof) -> None:
    """scikit-learn's example, thirty points on a cosine with noise .1, fitted by least squares from torch."""
    random = np.random.RandomState(0)  # as there; the published numbers hang on it
    x = np.sort(random.rand(30))
    y = np.cos(1.5 * np.pi * x) + random.randn(30) * 0.1
    across = np.linspace(0, 1, 200)
    lines = {"truth": (across, np.cos(1.5 * np.pi * across))}
    errors: dict[int, float] = {}
    for degree in (1, 4, 15):
        folds = []
        for held_out in np.array_split(np.arange(30), 10):
            kept = np.setdiff1d(np.arange(30), held_out)
            folds.append(np.mean((fitted(x[kept], y[kept], x[held_out], degree) - y[held_out]) ** 2))
        errors[degree] = float(np.mean(folds))
        lines[f"degree {degree}"] = (across, np.clip(fitted(x, y, across, degree), -2, 2))
        if degree in PUBLISHED:
            model = make_pipeline(PolynomialFeatures(degree, include_bias=False), LinearRegression())
            scores = -cross_val_score(model, x[:, None], y, scoring="neg_mean_squared_error", cv=10)
            proof.equal(
                f"degree {degree}: error as scikit-learn has it", errors[degree], scores.mean(), 1e-9, "scikit-learn"
            )
            published = PUBLISHED[degree]
            ends = {"at_least": published * 0.99, "at_most": published * 1.01}
            proof.mean(
                f"degree {degree}: error as published", [errors[degree]], f"{published:g}", **ends, source=SKLEARN
            )
    # published is 1.8e8, but sixteen powers on [0, 1] are nearly dependent: the solver's rounding decides
    published = "above degree 1's; 1.8e8, where rounding decides"
    proof.mean("degree 15 errs most", [errors[15]], published, at_least=PUBLISHED[1], source=SKLEARN)
    title = "Polynomials through thirty points: too stiff, right, too free"
    proof.figure("polynomials", curves(lines, title, "x", "y", points=(x, y)))


def fitted(x: np.ndarray, y: np.ndarray, at: np.ndarray, degree: int) -> np.ndarray:
    """Values `at` of the least-squares polynomial through (x, y)."""
    powers = torch.from_numpy(np.vander(x, degree + 1, increasing=True))
    weights = torch.linalg.lstsq(powers, torch.from_numpy(y)[:, None], driver="gelsd").solution[:, 0]
    return np.polynomial.polynomial.polyval(at, weights.numpy())
