"""The network's forward pass written in NumPy gives the same test accuracy; its mistakes on the test images."""

from dataclasses import replace

import numpy as np

from dl_lab.training import visualize
from experiments.checks.trained_model import load, numbers
from experiments.support.claims import Run
from experiments.support.findings import Report


def check(runs: list[Run], report: Report) -> None:
    """relu(x W1 + b1) W2 + b2, from the weights of each checkpoint."""
    by_hand = []
    for run in runs:
        model, data = load(run)
        assert data.test is not None
        images, labels = numbers(data, data.test)
        weights = {name: weight.double().numpy() for name, weight in model.state_dict().items()}
        hidden = np.maximum(images @ weights["layers.0.weight"].T + weights["layers.0.bias"], 0)
        logits = hidden @ weights["head.weight"].T + weights["head.bias"]
        by_hand.append((logits.argmax(1) == labels).mean())
        for tag, figure in visualize.figures_of(model, replace(data, validation=data.test)).items():
            if tag == "confusion":
                figure.axes[0].set_title("Confusion, 1000 test images")  # it calls what stands in for validation so
            report.figure(f"test/{tag}", figure, run.seed)
    reported = [run.metric("test/accuracy") for run in runs]
    # float32 and float64 may disagree about an image whose two best logits are nearly equal: one in 10,000 is allowed
    report.equal("the test accuracy is that of the forward pass by hand", reported, by_hand, 1.5e-4, "NumPy")
