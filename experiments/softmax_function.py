"""Softmax: exp(x_i) / sum_j exp(x_j), a probability for every logit.

Claim: computed from x - max(x) it is exact for logits of any size, where the formula as it is written overflows; it
does not change when every logit is shifted; and dividing the logits by a temperature goes from certainty to a uniform
choice (Goodfellow, Bengio & Courville 2016, Deep Learning, section 4.1: https://www.deeplearningbook.org).

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
    """As the formula is written."""
    powers = logits.exp()
    return powers / powers.sum(-1, keepdim=True)


def stable(logits: Tensor) -> Tensor:
    """The largest exponent is 0: nothing overflows, and at least one term of the sum is 1."""
    return naive(logits - logits.amax(-1, keepdim=True))


def main() -> Report:
    report = Report("softmax_function", SOURCE)
    logits = torch.randn(1000, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 10
    huge = logits + 1e4
    overflown = int(naive(huge).isnan().any(-1).sum())
    report.holds("the naive form overflows at 1e4", overflown > 0, f"{overflown} of 1000 rows are nan", "nan")
    report.equal("the stable form does not", stable(huge), scipy.special.softmax(huge.numpy(), -1), 1e-15, "scipy")
    report.equal("nor torch's", huge.softmax(-1), scipy.special.softmax(huge.numpy(), -1), 1e-15, "scipy")
    report.equal(
        "log of it, without the detour",
        huge.log_softmax(-1),
        scipy.special.log_softmax(huge.numpy(), -1),
        1e-10,
        "scipy",
    )
    shifted = stable(logits + 1000.0)
    report.equal("a shift of every logit changes nothing", shifted, stable(logits), 1e-12, "the same unshifted")

    temperatures = torch.logspace(-2, 2, 200, dtype=torch.float64)
    shares = stable(torch.tensor([3.0, 2.0, 1.0, 0.0]) / temperatures[:, None])
    report.equal("cold is certain", shares[0], np.eye(4)[0], 1e-12, "argmax")
    report.equal("hot is uniform", shares[-1], np.full(4, 0.25), 0.01, "1/4 each")
    lines = {f"logit {logit}": (temperatures, shares[:, 3 - logit]) for logit in (3, 2, 1, 0)}
    report.figure(
        "temperature", curves(lines, "Softmax of logits over temperature", "temperature", "probability", log_x=True)
    )
    return report


if __name__ == "__main__":
    main().finish()
