"""Cross-entropy: minus the log-probability that a model gives to the true class, in nats.

Claim: a model that gives each of K classes the same probability starts at ln K. The gradient with respect to the logits
is p - y, however wrong the model is. Computed from the logits by log-softmax, the loss stays finite where the logarithm
of a probability of 0 does not (Goodfellow, Bengio & Courville 2016, Deep Learning, section 6.2:
https://www.deeplearningbook.org/contents/mlp.html). With label smoothing e the best probability is 1 - e (K - 1) / K,
not 1 (Szegedy et al. 2015: https://arxiv.org/abs/1512.00567).

    python -m experiments.cross_entropy_loss
"""

import numpy as np
import scipy.special
import torch
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn.functional import nll_loss

from dl_lab.config.compose import compose
from dl_lab.config.parse import parse
from dl_lab.plotting.figures import curves
from dl_lab.training import loop, setup
from experiments.support import builders
from experiments.support.findings import Report

TAKES = 5  # seconds on two cores
SOURCE = "https://www.deeplearningbook.org/contents/mlp.html"
START = "https://karpathy.github.io/2019/04/25/recipe/"
SMOOTHING = "https://arxiv.org/abs/1512.00567"
EXAMPLES, CLASSES = 1000, 10


def loss_at_start(dataset: str, model: str) -> tuple[float, int]:
    """The validation loss of a model with equal logits before its first step, and the number of classes."""
    settings = f"dataset={dataset} model={model} initializer=zeros precision=float64 threads=1"
    run = parse(compose(*settings.split()))
    plan, state = setup.build_run(run, setup.build_data(run))
    return loop.evaluate(state.model, plan, plan.data.validation)["loss"], plan.data.spec.num_outputs


def check_smoothing(report: Report, logits: Tensor, targets: Tensor) -> None:
    """Compare label smoothing with its formula, and find the probability of the true class that minimizes it."""
    log_shares, truth = scipy.special.log_softmax(logits.numpy(), 1), np.eye(CLASSES)[targets]
    across = np.linspace(0.002, 0.998, 997)
    shares = np.column_stack([across, *[(1 - across) / (CLASSES - 1)] * (CLASSES - 1)])
    lines = {}
    for smoothing in (0.0, 0.1, 0.3):
        loss = builders.loss(f"loss=cross_entropy loss.label_smoothing={smoothing}")
        by_hand = -((1 - smoothing) * truth + smoothing / CLASSES) * log_shares
        ours, theirs = loss(logits, targets) / EXAMPLES, by_hand.sum() / EXAMPLES
        report.equal(f"the loss with label smoothing {smoothing}", ours, theirs, 1e-12, "by hand, SciPy")
        curve = [float(loss(torch.from_numpy(row).log()[None], torch.tensor([0]))) for row in shares]
        lines[f"label smoothing {smoothing}"] = (across, curve)
        if smoothing:
            best, expected = across[np.argmin(curve)], 1 - smoothing * (CLASSES - 1) / CLASSES
            claim = f"the best probability with label smoothing {smoothing}, from 0.002 to 0.998"
            report.holds(claim, abs(best - expected) < 1e-6, f"{best:.3f}", f"{expected:.3f}", SMOOTHING)
    title = f"Cross-entropy, the other {CLASSES - 1} classes equal"
    report.figure("loss", curves(lines, title, "probability of the class", "loss (nats)"))


def main() -> Report:
    report = Report("cross_entropy_loss", SOURCE)
    for dataset, model in (("digits", "logistic"), ("wine", "mlp"), ("breast_cancer", "deep_nn"), ("digits", "cnn")):
        loss, classes = loss_at_start(dataset, model)
        claim = f"{model} with zero weights on {dataset} starts at ln {classes}"
        report.holds(claim, abs(loss - np.log(classes)) < 1e-12, f"{loss:.6f}", f"{np.log(classes):.6f}", START)

    cross_entropy = builders.loss("loss=cross_entropy")
    logits, targets = 5 * builders.normal(EXAMPLES, CLASSES), torch.arange(EXAMPLES) % CLASSES
    loss, gradient = cross_entropy(logits, targets) / EXAMPLES, torch.func.grad(cross_entropy)(logits, targets)
    shares = scipy.special.softmax(logits.numpy(), 1)
    report.equal("the gradient of the logits is p - y", gradient, shares - np.eye(CLASSES)[targets], 1e-12, "SciPy")
    reference = log_loss(targets, shares, labels=range(CLASSES))
    report.equal(f"the mean loss of {EXAMPLES} examples", loss, reference, 1e-12, "scikit-learn's log_loss")
    reference = nll_loss(logits.log_softmax(1), targets)
    report.equal("the loss is the nll of log-softmax", loss, reference, 1e-12, "torch's nll_loss")
    surely_wrong = torch.tensor([[0.0, 1000.0]])
    from_logits, from_share = cross_entropy(surely_wrong, torch.tensor([0])), -surely_wrong.softmax(1)[0, 0].log()
    claim = "a true class 1000 nats behind costs 1000 from the logits, and inf from its probability"
    measured = f"{from_logits:g} and {from_share:g}"
    report.holds(claim, from_logits == 1000 and from_share.isinf(), measured, "1000 and inf")
    check_smoothing(report, logits, targets)
    return report


if __name__ == "__main__":
    main().finish()
