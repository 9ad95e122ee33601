"""Repeat the test accuracy with a forward pass in NumPy, and draw the mistakes on the test images."""

from dataclasses import replace

import numpy as np

from dl_lab.runs.reader import Run
from dl_lab.training import visualize
from experiments.support import replay
from experiments.support.findings import Report


def check(runs: list[Run], report: Report) -> None:
    """Compute relu(x W1 + b1) W2 + b2 with the weights of each checkpoint."""
    by_hand = []
    for run in runs:
        plan, state = replay.trained(run, "best")
        model, data = state.model.eval(), plan.data
        images, labels = replay.arrays(data, data.test)
        weights = {name: weight.double().numpy() for name, weight in model.state_dict().items()}
        hidden = np.maximum(images @ weights["layers.0.weight"].T + weights["layers.0.bias"], 0)
        logits = hidden @ weights["head.weight"].T + weights["head.bias"]
        by_hand.append((logits.argmax(1) == labels).mean())
        for tag, figure in visualize.figures_of(model, replace(data, validation=data.test), plan.task).items():
            if tag == "confusion":
                figure.axes[0].set_title("Confusion, 1000 test images")  # the function names the validation split
            report.figure(f"test/{tag}", figure, run.seed)
    reported = [run.metric("test/accuracy") for run in runs]
    # float32 and float64 may disagree on one image of 10,000 with two nearly equal logits
    report.equal("the test accuracy equals that of a hand-written forward pass", reported, by_hand, 1.5e-4, "NumPy")
