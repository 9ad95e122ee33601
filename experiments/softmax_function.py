"""Softmax: exp(x_i) / sum_j exp(x_j), a probability for every logit.

Claim: computed from x - max(x), softmax is exact for logits of any size, while the formula as written overflows. Adding
a constant to every logit changes nothing. Dividing the logits by a temperature leads from certainty (low) to a uniform
choice (high) (Goodfellow, Bengio & Courville 2016, Deep Learning, section 4.1: https://www.deeplearningbook.org).

    python -m experiments.softmax_function
"""

import numpy as np
import scipy.special
import torch
from torch import Tensor

from dl_lab.plotting.figures import curves
from experiments.support.findings import Report

TAKES = 3  # seconds on two cores
SOURCE = "https://www.deeplearningbook.org/contents/numerical.html"


def naive(logits: Tensor) -> Tensor:
    """Softmax exactly as the formula is written."""
    powers = logits.exp()
    return powers / powers.sum(-1, keepdim=True)


def stable(logits: Tensor) -> Tensor:
    """Softmax with a largest exponent of 0: nothing overflows, and at least one term of the sum is 1."""
    return naive(logits - logits.amax(-1, keepdim=True))


def main() -> Report:
    report = Report("softmax_function", SOURCE)
    logits = torch.randn(1000, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 10
    huge = logits + 1e4
    overflown = int(naive(huge).isnan().any(-1).sum())
    measured, expected = f"{overflown} of 1000 rows are nan", scipy.special.softmax(huge.numpy(), -1)
    report.holds("the naive formula overflows for logits near 1e4", overflown > 0, measured, "nan")
    report.equal("the stable formula does not overflow", stable(huge), expected, 1e-15, "scipy")
    report.equal("torch's softmax does not overflow", huge.softmax(-1), expected, 1e-15, "scipy")
    logs = scipy.special.log_softmax(huge.numpy(), -1)
    report.equal("torch's log_softmax does not overflow", huge.log_softmax(-1), logs, 1e-10, "scipy")
    shifted = stable(logits + 1000.0)
    report.equal("adding a constant to every logit changes nothing", shifted, stable(logits), 1e-12, "unshifted")

    temperatures = torch.logspace(-2, 2, 200, dtype=torch.float64)
    shares = stable(torch.tensor([3.0, 2.0, 1.0, 0.0]) / temperatures[:, None])
    report.equal("a low temperature selects the largest logit", shares[0], np.eye(4)[0], 1e-12, "argmax")
    report.equal("a high temperature is uniform", shares[-1], 0.25, 0.01, "1/4 each")
    lines = {f"logit {logit}": (temperatures, shares[:, 3 - logit]) for logit in (3, 2, 1, 0)}
    title = "Softmax of logits by temperature"
    report.figure("temperature", curves(lines, title, "temperature", "probability", log_x=True))
    return report


if __name__ == "__main__":
    main().finish()
