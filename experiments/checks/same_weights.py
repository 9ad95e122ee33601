"""Did the hidden units part? From the checkpoints, and from one unit in place of all of them."""

import numpy as np
import torch

from dl_lab.config.parse import parse
from dl_lab.plotting.figures import histograms, image_grid
from dl_lab.runs import checkpoint
from dl_lab.training import setup
from experiments.support.claims import Run
from experiments.support.findings import Report

SHOWN = 16  # hidden units


def spread(weights: dict[str, torch.Tensor]) -> float:
    """The largest difference between the weights or biases of two hidden units, of those that come in and go out."""
    units = torch.cat([weights["layers.0.weight"], weights["layers.0.bias"][:, None], weights["head.weight"].T], 1)
    return float((units.amax(0) - units.amin(0)).max())


def off_by(saved: dict[str, dict]) -> float:
    """How far a net of one hidden unit, whose way out is the sum of all of theirs, is from the whole, in logits."""
    run = parse({**saved["config"], "precision": "float64", "compile": False})
    data = setup.build_data(run).to(torch.device("cpu"), torch.float64)
    model = setup.build_model(run, data.spec)
    model.load_state_dict(saved["model"])
    images = data.prepare(next(iter(data.validation.everything(1000)))[0]).flatten(1)
    w = {name: tensor.double().numpy() for name, tensor in saved["model"].items()}
    unit = np.maximum(images.numpy() @ w["layers.0.weight"][0] + w["layers.0.bias"][0], 0)
    by_one = unit[:, None] * w["head.weight"].sum(1) + w["head.bias"]
    with torch.no_grad():
        return float(np.abs(by_one - model(images).numpy()).max())


def check(runs: list[Run], report: Report) -> None:
    saved = {
        (run.config["initializer"], run.seed, name): checkpoint.load(
            run.folder / "checkpoints" / f"{name}.pt", torch.device("cpu")
        )
        for run in runs
        for name in ("best", "last")
    }
    for initializer in ("constant", "zeros", "xavier_uniform"):
        chosen = [each for key, each in saved.items() if key[0] == initializer]
        spreads, distances = [spread(each["model"]) for each in chosen], [off_by(each) for each in chosen]
        seeds = f"{len(chosen)} checkpoints, best and last"
        most, least = max(spreads), min(spreads)
        if initializer == "xavier_uniform":
            report.holds("units of Xavier's differ", least > 0.1, f"by {least:.2g} or more; {seeds}", "more than 0.1")
            claim, published = "one unit in place of all of Xavier's says something else", "more than 1, in logits"
            report.holds(claim, min(distances) > 1, f"off by {min(distances):.2g} or more", published)
        else:
            report.holds(f"{initializer}: all units stay equal", most == 0.0, f"differ by {most}; {seeds}", "exactly 0")
            claim = f"{initializer}: one unit does what all 32 do"
            report.holds(claim, max(distances) < 1e-10, f"off by {max(distances):.1e}", "equal logits, to 1e-10")
    last = {
        initializer: saved[initializer, 0, "last"]["model"] for initializer in ("constant", "zeros", "xavier_uniform")
    }
    for initializer, weights in last.items():
        units = weights["layers.0.weight"][:SHOWN].view(-1, 8, 8)
        title = f"initializer={initializer}: weights of {SHOWN} hidden units at the end (blue -, red +)"
        report.figure(f"units/{initializer}", image_grid(units, title, colours="coolwarm", shared=True))
    weights = {initializer: each["layers.0.weight"][:, 20] for initializer, each in last.items()}
    title = "Weight from one pixel to each of 32 hidden units, at the end"
    report.figure("pixel", histograms(weights, title, "weight"))
