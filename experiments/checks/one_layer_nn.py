"""Compare both models with scikit-learn's solvers on the same points."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from dl_lab.runs.reader import Run
from experiments.support import replay
from experiments.support.findings import Report


def check(runs: list[Run], report: Report) -> None:
    for name, sizes, within in (("linear model", [], 0.01), ("hidden layer", [32], 0.01)):
        ours, theirs = [], []
        for run in (run for run in runs if run.matches({"model.hidden_sizes": sizes})):
            data = replay.before(run)[0].data
            solver = LogisticRegression(C=np.inf)
            if sizes:
                solver = MLPClassifier(sizes, alpha=0, solver="lbfgs", max_iter=2000, random_state=run.seed)
            solver.fit(*replay.arrays(data, data.train))
            theirs.append(solver.score(*replay.arrays(data, data.test)))
            ours.append(run.metric("test/accuracy"))
        claim = f"the {name} is as good as scikit-learn's on the same points, mean over seeds"
        report.equal(claim, np.mean(ours), np.mean(theirs), within, f"scikit-learn's {type(solver).__name__}")
