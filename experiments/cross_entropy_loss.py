"""Cross-entropy: minus the log-probability that a model gives to what was so, in nats.

Claim: a model that knows nothing of K classes starts at ln K; the gradient on the logits is p - y, however wrong the
model is; computed from the logits, by log-softmax, it stays finite where a probability of 0 would not (Goodfellow,
Bengio & Courville 2016, Deep Learning, section 6.2: https://www.deeplearningbook.org/contents/mlp.html). With label
smoothing e the best probability is 1 - e (K - 1) / K, not 1 (Szegedy et al. 2015: https://arxiv.org/abs/1512.00567).

    python -m experiments.cross_entropy_loss
"""

import numpy as np
import scipy.optimize
import scipy.special
import torch
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn.functional import nll_loss

from dl_lab import build, loop
from dl_lab.command_line import compose
from dl_lab.config import parse
from dl_lab.figures import curves
from dl_lab.losses.criteria import Loss
from experiments.proofs import Proof

TAKES = 10  # seconds on two cores
SOURCE = "https://www.deeplearningbook.org/contents/mlp.html"
START = "https://karpathy.github.io/2019/04/25/recipe/"
SMOOTHING = "https://arxiv.org/abs/1512.00567"
EXAMPLES, CLASSES = 1000, 10


def criterion(smoothing: float) -> Loss:
    """The registered loss, summed over examples."""
    run = parse(compose("loss=cross_entropy", f"loss.label_smoothing={smoothing}"))
    return run.loss.entry.build(run.loss.config, "classification")


def loss_at_start(dataset: str, model: str) -> tuple[float, int]:
    """The validation loss before the first step, of a model that gives equal logits, and the number of classes."""
    settings = f"dataset={dataset} model={model} initializer=zeros precision=float64 threads=1"
    run = parse(compose(*settings.split()))
    plan, state = build.prepare(run, build.build_data(run))
    return loop.evaluate(state.model, plan, plan.data.validation)["loss"], plan.data.spec.num_outputs


def check_smoothing(proof: Proof, logits: Tensor, classes: Tensor) -> None:
    log_shares, truth = scipy.special.log_softmax(logits.numpy(), 1), np.eye(CLASSES)[classes]
    lines = {}
    across = np.linspace(0.002, 0.998, 250)
    for smoothing in (0.0, 0.1, 0.3):
        loss = criterion(smoothing)
        by_hand = -((1 - smoothing) * truth + smoothing / CLASSES) * log_shares
        ours = loss(logits, classes) / EXAMPLES
        proof.equal(f"label smoothing {smoothing}", ours, by_hand.sum() / EXAMPLES, 1e-12, "by hand, SciPy")

        def at(probability: float, loss: Loss = loss) -> float:
            """The loss where the class has this probability, and the others share the rest equally."""
            shares = [probability] + [(1 - probability) / (CLASSES - 1)] * (CLASSES - 1)
            return float(loss(torch.tensor([shares], dtype=torch.float64).log(), torch.tensor([0])))

        lines[f"label smoothing {smoothing}"] = (across, [at(probability) for probability in across])
        if smoothing:
            found = scipy.optimize.minimize_scalar(at, bounds=(0.001, 0.999), options={"xatol": 1e-9}).x
            expected = 1 - smoothing * (CLASSES - 1) / CLASSES
            claim = f"the best probability with label smoothing {smoothing}"
            proof.holds(claim, abs(found - expected) < 1e-5, f"{found:.5f}", f"{expected:.5f}", SMOOTHING)
    title = f"Cross-entropy, the other {CLASSES - 1} classes equal"
    proof.figure("loss", curves(lines, title, "probability of the class", "loss (nats)"))


def main() -> Proof:
    proof = Proof("cross_entropy_loss", SOURCE)
    for dataset, model in (("digits", "logistic"), ("wine", "mlp"), ("breast_cancer", "deep_nn"), ("digits", "cnn")):
        loss, classes = loss_at_start(dataset, model)
        claim = f"{model} with weights of 0 on {dataset} starts at ln {classes}"
        proof.holds(claim, abs(loss - np.log(classes)) < 1e-12, f"{loss:.6f}", f"{np.log(classes):.6f}", START)

    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(EXAMPLES, CLASSES, dtype=torch.float64, generator=generator)
    targets = torch.randint(CLASSES, (EXAMPLES,), generator=generator)
    inputs = logits.clone().requires_grad_()
    loss = criterion(0.0)(inputs, targets)
    loss.backward()
    shares = scipy.special.softmax(logits.numpy(), 1)
    proof.equal("the gradient on the logits is p - y", inputs.grad, shares - np.eye(CLASSES)[targets], 1e-12, "SciPy")
    reference = log_loss(targets, shares, labels=range(CLASSES))
    proof.equal("the loss, mean of 1000 examples", loss / EXAMPLES, reference, 1e-12, "scikit-learn's log_loss")
    pieces = nll_loss(logits.log_softmax(1), targets)
    proof.equal("it is the nll of log-softmax", loss / EXAMPLES, pieces, 1e-12, "torch's nll_loss")
    surely_wrong = torch.tensor([[0.0, 1000.0]], dtype=torch.float64)
    from_logits = float(criterion(0.0)(surely_wrong, torch.tensor([0])))
    from_share = float(-surely_wrong.softmax(1)[0, 0].log())
    measured = f"{from_logits:g}, from the probability {from_share:g}"
    claim = "a class 1000 nats behind costs 1000, where the logarithm of its probability is lost"
    proof.holds(claim, from_logits == 1000 and np.isinf(from_share), measured, "1000 and inf")
    check_smoothing(proof, logits, targets)
    return proof


if __name__ == "__main__":
    main().report()
