"""Compare both heads of one network with scikit-learn's separate models."""

from collections import defaultdict

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from dl_lab.plotting.figures import scatter
from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report

FLOWER = 1 / 45  # one flower of the test split: equally good models may differ by as much
CARUANA = "https://doi.org/10.1023/A:1007379606734"


def check(runs: list[Run], report: Report) -> None:
    accuracies, scores = defaultdict(list), defaultdict(list)  # ours minus theirs, by the name of the model
    for run in runs:
        plan, state = replay.trained(run, "best")
        train, test = plan.data.train, plan.data.test
        width, species = train.targets.numpy().T
        net = {"hidden_layer_sizes": (32,), "alpha": 0.01, "max_iter": 5000, "random_state": run.seed}
        for model in (LogisticRegression(max_iter=1000), MLPClassifier(**net)):
            theirs = model.fit(train.inputs, species).score(test.inputs, test.targets[:, 1])
            accuracies[type(model).__name__].append(run.metric("test/species/accuracy") - theirs)
        for model in (LinearRegression(), MLPRegressor(**net)):
            theirs = model.fit(train.inputs, width).score(test.inputs, test.targets[:, 0])
            scores[type(model).__name__].append(run.metric("test/petal_width/r2") - theirs)
    for name, above in accuracies.items():
        claim = f"species accuracy minus that of {name} trained on species alone"
        report.mean(claim, above, f"at least {-FLOWER:.3f}, one flower of 45", -FLOWER, source=CARUANA)
    for name, above in scores.items():
        claim = f"width r2 minus that of {name} trained on width alone"
        report.mean(claim, above, "at least -0.02", -0.02, source=CARUANA)
    offset, scale = (getattr(plan.data.spec.heads[0], name)[0] for name in ("offset", "scale"))
    guessed = state.model(test.inputs).detach()[:, 0] * scale + offset
    actual = test.targets[:, 0] * scale + offset
    named = {
        label: (actual[which], guessed[which])
        for number, label in enumerate(plan.data.spec.heads[1].labels)
        if np.any(which := (test.targets[:, 1] == number).numpy())
    }
    title = f"Petal width, predicted by the network with two heads, seed {runs[-1].seed}"
    report.figure("width", scatter(named, title, "actual width (cm)", "predicted width (cm)", diagonal=True))
