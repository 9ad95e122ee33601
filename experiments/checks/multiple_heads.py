"""Both heads of one net against scikit-learn's separate models, each on the same flowers."""

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor

from dl_lab.plotting.figures import scatter
from experiments.support import replay
from experiments.support.claims import Run
from experiments.support.findings import Report

FLOWER = 1 / 45  # one flower of the test split: what two models that are alike may differ by
CARUANA = "https://doi.org/10.1023/A:1007379606734"


def check(runs: list[Run], report: Report) -> None:
    accuracies: dict[str, list[float]] = {"LogisticRegression": [], "MLPClassifier": []}
    scores: dict[str, list[float]] = {"LinearRegression": [], "MLPRegressor": []}
    for run in runs:
        plan, state = replay.trained(run, "best")
        train, test = plan.data.train, plan.data.test
        width, species = train.targets.numpy().T
        net = {"hidden_layer_sizes": (32,), "alpha": 0.01, "max_iter": 5000, "random_state": run.seed}
        classifiers = (LogisticRegression(max_iter=1000), MLPClassifier(**net))
        for name, model in zip(accuracies, classifiers, strict=True):
            model.fit(train.inputs, species)
            theirs = model.score(test.inputs, test.targets[:, 1])
            accuracies[name].append(run.metric("test/species/accuracy") - theirs)
        for name, model in zip(scores, (LinearRegression(), MLPRegressor(**net)), strict=True):
            predicted = model.fit(train.inputs, width).predict(test.inputs)
            scores[name].append(run.metric("test/petal_width/r2") - r2_score(test.targets[:, 0], predicted))
    for name, above in accuracies.items():
        expected = f"within one flower of the 45, or better: {-FLOWER:.3f} or more"
        report.mean(f"accuracy above {name}'s, trained for it alone", above, expected, -FLOWER, source=CARUANA)
    for name, above in scores.items():
        expected = "within 0.02, or better: -0.02 or more"
        report.mean(f"r2 of the width above {name}'s, trained for it alone", above, expected, -0.02, source=CARUANA)
    offset, scale = (getattr(plan.data.spec.heads[0], name)[0] for name in ("offset", "scale"))
    guessed = state.model(test.inputs).detach()[:, 0] * scale + offset
    actual = test.targets[:, 0] * scale + offset
    named = {
        label: (actual[which], guessed[which])
        for number, label in enumerate(plan.data.spec.heads[1].labels)
        if np.any(which := (test.targets[:, 1] == number).numpy())
    }
    title = f"Width of petals, by the net that names the species too, seed {runs[-1].seed}"
    report.figure("width", scatter(named, title, "actual width (cm)", "predicted width (cm)", diagonal=True))
