"""Check that no optimizer is clearly better than Adam or worse than nearest mean images; draw losses."""

from collections import defaultdict

from sklearn.neighbors import NearestCentroid

from dl_lab.plotting.figures import curves
from dl_lab.registry import OPTIMIZERS
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

CROWDED = "https://arxiv.org/abs/2007.01547"
CLEARLY = 2 * (0.97 * 0.03 / 359) ** 0.5  # two standard errors of an accuracy of 0.97 on 359 test images
LEAST_DRAWN = 1e-6  # smaller losses are noise in float32


def check(runs: list[Run], report: Report) -> None:
    by_name: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        by_name[str(run.values["optimizer"])][run.seed] = run
    report.covers("every registered optimizer is compared", OPTIMIZERS.names(), by_name)
    nearest = {seed: nearest_mean(run) for seed, run in by_name["adam"].items()}
    for name, of_seed in by_name.items():
        accuracy = {seed: run.metric("test/accuracy") for seed, run in of_seed.items()}
        above = [accuracy[seed] - nearest[seed] for seed in accuracy]
        report.mean(f"{name}: accuracy minus that of the nearest mean image", above, "0 or more, scikit-learn", 0)
        if name != "adam":
            ahead = [accuracy[seed] - by_name["adam"][seed].metric("test/accuracy") for seed in accuracy]
            claim, published = f"{name}: accuracy minus Adam's", f"at most {CLEARLY:.3f}"
            report.mean(claim, ahead, published, at_most=CLEARLY, source=CROWDED)
    draw(by_name, report)


def nearest_mean(run: Run) -> float:
    """Test accuracy when an image gets the class of the nearest mean training image, on the run's splits."""
    plan, _ = replay.before(run)
    train, test = plan.data.train, plan.data.test
    model = NearestCentroid().fit(train.inputs.flatten(1), train.targets)
    return float(model.score(test.inputs.flatten(1), test.targets))


def draw(by_name: dict[str, dict[int, Run]], report: Report) -> None:
    """Draw the first seed's training loss by step: seven optimizers per figure, and Adam in both."""
    lines = {}
    for name, of_seed in by_name.items():
        history = of_seed[min(of_seed)].points("train")
        lines[name] = ([point["step"] for point in history], [max(point["loss"], LEAST_DRAWN) for point in history])
    others = sorted(set(lines) - {"adam"})
    for number, half in enumerate((others[:7], others[7:])):
        some = {name: lines[name] for name in ["adam", *half]}
        title = f"Training loss of every optimizer ({number + 1} of 2)"
        report.figure("loss", curves(some, title, "step", "training loss (nats, from 1e-6 on)", log_y=True), number)
