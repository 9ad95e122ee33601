"""dataset.sample_weight and loss.class_weights from the command line, against scikit-learn."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from support.commands import train

RANDOM = np.random.default_rng(0)
ROWS = 120
EXACT = ("model=linear", "optimizer=lbfgs", "train.steps=60", "train.validate_every=20", "train.batch_size=full")
EXACT += ("precision=float64", "dataset.validation=0", "dataset.test=0", "dataset.shuffle=false")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two features, a number, a class, and weights of which a third is 0."""
    features = RANDOM.normal(size=(ROWS, 2))
    noise = RANDOM.normal(size=(ROWS, 2))
    price = features @ [2.0, -1.0] + noise[:, 0]
    kind = np.where(features @ [1.0, 2.0] + noise[:, 1] > 1, "rare", "usual")
    weight = RANDOM.integers(0, 3, ROWS)
    path = tmp_path_factory.mktemp("data") / "t.csv"
    lines = [f"{a},{b},{y},{k},{w}" for (a, b), y, k, w in zip(features, price, kind, weight, strict=True)]
    path.write_text("\n".join(["a,b,price,kind,w", *lines]))
    return path, features, price, kind, weight


def standardized(values):
    return (values - values.mean(0)) / values.std(0)


def trained(folder, path, *arguments):
    ended = train(folder, "dataset=table", f"dataset.path={path}", *EXACT, *arguments)
    assert ended.status == 0, ended.err
    saved = torch.load(ended.run / "checkpoints" / "last.pt", weights_only=True)["model"]
    weight, bias = (value.numpy() for value in saved.values())
    return ended, weight, bias


def test_a_weighted_regression_is_that_of_scikit_learn(tmp_path, table):
    path, features, price, _, weight = table
    chosen = ("dataset.targets=[price]", "dataset.drop=[kind]", "dataset.sample_weight=w")
    ended, found, bias = trained(tmp_path, path, *chosen)
    model = Ridge(alpha=0).fit(standardized(features), standardized(price), sample_weight=weight)
    assert found[0] == pytest.approx(model.coef_, rel=1e-6)
    assert bias[0] == pytest.approx(model.intercept_, abs=1e-6)
    r2 = model.score(standardized(features), standardized(price), sample_weight=weight)
    assert ended.lines("val")[-1]["r2"] == pytest.approx(r2, rel=1e-6)


@pytest.mark.parametrize("files", [False, True])
def test_weighted_images_are_the_weighted_least_squares_of_their_pixels(tmp_path, table, files):
    """The normal equations in the pixels, with the mean and deviation of all of them, of rows or of picture files."""
    _, _, price, _, weight = table
    pixels = np.random.default_rng(1).integers(0, 256, (ROWS, 4), dtype=np.uint8)
    header, images = "p1,p2,p3,p4", [",".join(map(str, row)) for row in pixels]
    if files:
        header, images = "file", [f"{number}.png" for number in range(ROWS)]
        for name, row in zip(images, pixels, strict=True):
            Image.fromarray(row.reshape(2, 2)).save(tmp_path / name)
    lines = [f"{image},{y},{w}" for image, y, w in zip(images, price, weight, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join([f"{header},price,w", *lines]))
    chosen = ["dataset.targets=[price]", "dataset.sample_weight=w", "dataset.image_shape=[1,2,2]"]
    chosen += ["optimizer.tolerance_change=1e-16", "optimizer.tolerance_grad=1e-12"]
    chosen += ["dataset.images=file"] * files
    ended, found, bias = trained(tmp_path / "run", tmp_path / "t.csv", *chosen)
    matrix = np.column_stack([(pixels - pixels.mean()) / pixels.std(), np.ones(ROWS)])
    root, wanted = np.sqrt(weight), standardized(price)
    solution = np.linalg.lstsq(matrix * root[:, None], wanted * root, rcond=None)[0]
    np.testing.assert_allclose([*found[0].ravel(), bias[0]], solution, rtol=1e-6)
    expected = np.average(np.square(matrix @ solution - wanted), weights=weight) * price.var()
    assert ended.lines("val")[-1]["mse"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_weighted_classification_is_that_of_scikit_learn(tmp_path, table, balanced, weighted):
    path, features, _, kind, weight = table
    chosen = ["dataset.targets=[kind]", "dataset.features=[a,b]"]
    chosen += ["loss.class_weights=balanced"] * balanced + ["dataset.sample_weight=w"] * weighted
    ended, found, _ = trained(tmp_path, path, *chosen)
    own = weight if weighted else np.ones(ROWS)
    if balanced:  # scikit-learn's class_weight ignores sample_weight when it counts the classes
        share = {label: own.sum() / (2 * own[kind == label].sum()) for label in ("rare", "usual")}
        total = own * np.vectorize(share.get)(kind)
    else:
        total = own
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(standardized(features), kind, total)
    assert found[1] - found[0] == pytest.approx(model.coef_[0], rel=1e-4)
    assert ("metrics are weighted" in ended.out, "loss of kind weights its classes" in ended.out) == (
        weighted,
        balanced,
    )
    assert list(ended.summary.get("class_weights", {})) == ["kind"] * balanced
    accuracy = model.score(standardized(features), kind, sample_weight=own)
    assert ended.lines("val")[-1]["accuracy"] == pytest.approx(accuracy)


def test_several_heads_share_the_weights(tmp_path, table):
    path, *_ = table
    ended, *_ = trained(tmp_path, path, "dataset.targets=[price,kind]", "dataset.sample_weight=w")
    assert {"price/r2", "kind/accuracy"} <= ended.lines("val")[-1].keys()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (["1", "", "2", "1"], "has no weight in line 3, column w; allowed: a number of 0 or more in each row"),
        (["1", "-2", "2", "1"], "has '-2' in line 3, column w; allowed: a number of 0 or more"),
        (["1", "much", "2", "1"], "has 'much' in line 3, column w; allowed"),
        (["0", "0", "0", "0"], "is 0 in all rows of the training split; allowed: a weight above 0"),
    ],
)
def test_weights_that_are_no_weights_are_refused(tmp_path, weights, message):
    lines = [f"{number},{number * number % 7},{weight}" for number, weight in enumerate(weights * 5)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,w", *lines]))
    chosen = ("dataset=table", "dataset.path=t.csv", "dataset.targets=[y]", "model=linear", "dataset.sample_weight=w")
    ended = train(tmp_path, *chosen)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert f"error: dataset.sample_weight=w {message}" in ended.err


@pytest.mark.parametrize(
    ("name", "message"), [("y", "neither target nor feature"), ("v", "is not known; allowed: a, b, kind, price, w")]
)
def test_a_column_that_cannot_have_weights_is_refused(tmp_path, table, name, message):
    path, *_ = table
    chosen = ("dataset=table", f"dataset.path={path}", "dataset.targets=[price]", f"dataset.sample_weight={name}")
    ended = train(tmp_path, *chosen, *(["dataset.features=[y]"] if name == "y" else []))
    assert ended.status == 2
    assert f"dataset.sample_weight={name}" in ended.err
    assert message in ended.err
