"""Every registered dataset keeps its promises; bundled ones are scikit-learn's, generated ones obey their law."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.datasets
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from support.configs import parsed
from support.pictures import SIZE, write
from support.tables import TABLE
from support.torchvision_sets import SETS, made_up, pairs, publish
from torch import Tensor

from dl_lab.config.schema import RunConfig
from dl_lab.core import rng
from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data, preprocessing_of
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.splits import PADDING, InMemory, Split, Streamed, Windows
from dl_lab.datasets.generated import GeneratedConfig
from dl_lab.datasets.images import image_data
from dl_lab.datasets.memory import Examples, held
from dl_lab.datasets.table import TableConfig
from dl_lab.registry import DATASETS
from dl_lab.runs import checkpoint
from dl_lab.training.setup import build_data, build_run, trained_model
from dl_lab.training.state import checkpoint_of

LETTERS = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 1000))
REPEATED_ROWS = {"iris": 1}  # two of Fisher's flowers have the same measures


def configured(name: str, *overrides: str) -> RunConfig:
    model = "transformer" if DATASETS[name].kinds == {"tokens"} else "mlp"
    return parsed(f"dataset={name}", f"model={model}", *overrides)


def built(name: str, *overrides: str) -> Data:
    return build_data(configured(name, *overrides))


def raw(name: str, *overrides: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Inputs and targets of a whole table, in its own units and order."""
    data = built(name, "dataset.standardize=false", "dataset.shuffle=false", *overrides)
    inputs, targets = whole(data)
    return inputs.numpy(), targets.numpy()


def stored(split: Split) -> tuple[Tensor, Tensor]:
    batches = zip(*split.batches(split.in_order().split(64)), strict=True)
    inputs, targets = (torch.cat(parts) for parts in batches)
    return inputs, targets


def splits(data: Data) -> list[Split]:
    return [split for split in (data.train, data.validation, data.test) if split is not None]


def whole(data: Data) -> tuple[Tensor, Tensor]:
    inputs, targets = (torch.cat(parts) for parts in zip(*map(stored, splits(data)), strict=True))
    return inputs, targets


def files_for(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write what a dataset reads, if it reads anything; gives the overrides that lead there."""
    if name in SETS:
        publish(name, made_up(name), folder, monkeypatch)
    elif name == "tiny_shakespeare":
        (folder / name).mkdir()
        (folder / name / "input.txt").write_text(LETTERS)
        monkeypatch.setattr("dl_lab.datasets.text.SHAKESPEARE_SHA256", sha256(LETTERS.encode()).hexdigest())
        return [f"data_dir={folder}", "dataset.context_length=8", "dataset.validation=0.2"]
    elif name == "text":
        (folder / "input.txt").write_text(LETTERS)
        return [f"dataset.path={folder}/input.txt", "dataset.context_length=8"]
    elif name == "memory":  # held by the fixture
        return ["dataset.targets=[pet,price]", "dataset.digest=x"]
    elif name in ("csv", "table"):
        (folder / "table.csv").write_text(TABLE)
        return [f"dataset.path={folder}/table.csv", "dataset.targets=[pet,price]"]
    elif name == "image_folder":
        write(folder, {"a": 12, "b": 8})
        return [f"dataset.path={folder}", f"dataset.size={SIZE}", "dataset.num_workers=0"]
    return [f"data_dir={folder}"]


@dataclass
class Ready:
    """A dataset whose files are there."""

    name: str
    run: RunConfig
    build: Callable[[int], Data]  # from a seed


@pytest.fixture(scope="module", params=DATASETS.names())
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    name, entry = request.param, DATASETS[request.param]
    rows = Examples(pl.read_csv(TABLE.encode()), ("pet", "price"), None, "x")
    with pytest.MonkeyPatch.context() as monkeypatch, held(rows):
        overrides = files_for(name, tmp_path_factory.mktemp(name), monkeypatch)
        if issubclass(entry.schema, TableConfig):
            overrides.append("dataset.standardize=true")
        run = configured(name, *overrides)
        yield Ready(name, run, lambda seed: entry.build(run.dataset.config, run.settings.data_folder, seed))


def test_every_dataset_gives_what_its_registration_and_its_spec_say(ready: Ready) -> None:
    data, entry = ready.build(0), DATASETS[ready.name]
    assert data.spec.kind in entry.kinds
    task = getattr(ready.run.dataset.config, "task", None)
    task = "multi_output" if task == "auto" else task
    assert data.spec.task == (set(entry.tasks).pop() if len(entry.tasks) == 1 else task)
    assert len(splits(data)) >= 2
    for split in splits(data):
        inputs, targets = stored(split)
        assert inputs.shape[1:] == data.spec.input_shape
        assert len(inputs) == len(targets) == len(split.in_order())
        assert torch.isfinite(inputs).all()
        if data.spec.kind == "tokens":
            assert inputs.dtype == targets.dtype == torch.int64
            assert 0 <= inputs.min() <= inputs.max() < data.spec.vocabulary == data.spec.num_outputs
            assert PADDING <= targets.min() <= targets.max() < data.spec.vocabulary
        else:
            columns = targets[:, None] if targets.ndim == 1 else targets
            parts = columns.split([head.columns for head in data.spec.heads], dim=1)
            for head, part in zip(data.spec.heads, parts, strict=True):
                assert torch.isfinite(part).all()
                if head.task == "classification":
                    assert set(part.flatten().tolist()) <= set(range(len(head.labels)))


def test_every_dataset_has_splits_of_the_sizes_asked_for_that_share_no_example(ready: Ready) -> None:
    data = ready.build(0)
    if isinstance(data.train, Windows):
        sizes = [int((stored(split)[1] != PADDING).sum()) + 1 for split in splits(data)]  # all tokens but the first
    else:
        sizes = [len(split) for split in splits(data)]
        rows = [row.numpy().tobytes() for split in splits(data) for row in stored(split)[0]]
        assert len(set(rows)) == len(rows) - REPEATED_ROWS.get(ready.name, 0)
    config = ready.run.dataset.config
    total = sum(sizes[:2]) if ready.name in SETS else sum(sizes)  # theirs is published with a test split
    assert sizes[1] == round(config.validation * total)
    if ready.name not in SETS and config.test:
        assert sizes[2] == round(config.test * total)


def same(one: Data, other: Data) -> bool:
    parts = zip(splits(one), splits(other), strict=True)
    return all(torch.equal(mine, theirs) for a, b in parts for mine, theirs in zip(stored(a), stored(b), strict=True))


def test_every_dataset_is_a_function_of_its_seed(ready: Ready) -> None:
    first, again, other = (ready.build(seed) for seed in (0, 0, 1))
    assert same(first, again)
    assert first.spec == again.spec
    assert same(first, other) == isinstance(first.train, Windows)  # a text is cut in order, whatever the seed


def test_every_dataset_is_normalised_by_its_training_split_alone(ready: Ready) -> None:
    data = ready.build(0)
    inputs, targets = stored(data.train)
    prepared = data.prepare(inputs)
    if data.spec.kind == "tokens":
        assert prepared is inputs
        return
    axes = (0, 2, 3) if data.spec.kind == "image" else 0
    # float64 sums of up to 1e5 terms near 1; anything held out would shift them by far more
    np.testing.assert_allclose(prepared.numpy().mean(axes), 0, atol=1e-9)
    np.testing.assert_allclose(prepared.numpy().std(axes), 1, atol=1e-9)
    for head in data.spec.heads:
        if head.task == "regression":  # the first columns
            np.testing.assert_allclose(targets[:, : head.columns].mean(0), 0, atol=1e-9)
            np.testing.assert_allclose(targets[:, : head.columns].std(0, correction=0), 1, atol=1e-9)


def raw_inputs(data: Data, ready: Ready, folder: Path) -> tuple[Any, Tensor]:
    """Five validation examples as a user has them, and as the dataset stores them."""
    split, (head, *_) = data.validation, data.spec.heads
    if isinstance(split, Windows):
        return "".join(head.labels[token] for token in split.tokens[:5]), split.tokens[:5].long()
    inputs = stored(split)[0][:5]
    if data.spec.kind == "tokens":
        return " ".join(head.labels[token] for token in inputs[0]), inputs[0]
    if isinstance(split, Streamed):
        return [split.dataset.files[index][0] for index in split.indices[:5]], inputs
    if data.spec.kind == "features":
        unscaled = replace(ready.run.dataset.config, standardize=False)
        entry = ready.run.dataset.entry
        return entry.build(unscaled, ready.run.settings.data_folder, 0).validation.inputs[:5].tolist(), inputs
    paths = [folder / f"{number}.png" for number in range(len(inputs))]
    for path, image in zip(paths, inputs.numpy(), strict=True):
        white = image.astype(float) * (255 / 16) if ready.name == "digits" else image
        Image.fromarray(np.rint(white).astype(np.uint8).transpose(1, 2, 0).squeeze()).save(path)
    return paths, inputs


def test_a_checkpoint_alone_gives_the_inputs_and_outputs_of_every_dataset(ready: Ready, tmp_path: Path) -> None:
    plan, state = build_run(ready.run, build_data(ready.run))
    raw, inputs = raw_inputs(build_data(ready.run), ready, tmp_path)
    checkpoint.save(tmp_path / "last.pt", checkpoint_of(state, plan))
    saved = checkpoint.load(tmp_path / "last.pt", plan.device)
    model, preprocessing = trained_model(ready.run, saved, tmp_path)
    assert preprocessing == Preprocessing.from_dict(json.loads(json.dumps(saved["preprocessing"])))
    assert preprocessing == plan.data.preprocessing
    assert preprocessing.spec == plan.data.spec
    stored_again = preprocessing.stored(raw)
    assert torch.equal(stored_again, inputs)
    dtype = torch.float32
    expected = plan.data.prepare(InMemory(inputs, inputs).to(plan.device, dtype).inputs)
    prepared = preprocessing.prepare(stored_again, plan.device, dtype)
    assert torch.equal(prepared, expected)
    assert prepared.dtype == expected.dtype
    batch = prepared[None].long() if plan.data.spec.kind == "tokens" else prepared
    assert torch.equal(model(batch), state.model.eval()(batch))


@pytest.mark.parametrize("standardize", [True, False])
def test_pixels_that_are_held_out_change_nothing_that_is_learned(standardize: bool) -> None:
    config = replace(parsed("dataset=digits").dataset.config, standardize=standardize, validation=5)
    images = (torch.arange(48 * 64) % 200).reshape(-1, 1, 8, 8).byte()
    order = torch.randperm(len(images), generator=rng.generator(0, "split"))
    made = []
    for held_out in (0, 255):
        images[order[-10:]] = held_out
        made.append(preprocessing_of(image_data(config, 0, images, torch.zeros(48).long(), ["a"], test=5)))
    assert made[0] == made[1]


def rows(inputs: Any, targets: Any) -> list[tuple[float, ...]]:
    return sorted(map(tuple, np.column_stack([inputs, targets]).tolist()))


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "linnerud"])
def test_bundled_tables_are_scikit_learns_row_for_row(name: str) -> None:
    bunch = getattr(sklearn.datasets, f"load_{name}")()
    inputs, targets = raw(name)
    np.testing.assert_array_equal(inputs, bunch.data)
    np.testing.assert_array_equal(targets, bunch.target.reshape(targets.shape))
    shuffled = built(name, "dataset.standardize=false")
    assert rows(*whole(shuffled)) == rows(bunch.data, bunch.target)  # every row once
    names = getattr(bunch, "target_names", ["progression"])
    assert [label.lower() for label in shuffled.spec.heads[0].labels] == [str(label).lower() for label in names]


def test_digits_are_scikit_learns() -> None:
    bunch, data = sklearn.datasets.load_digits(), built("digits")
    images, labels = whole(data)
    assert pairs(images, labels) == pairs(bunch.images.astype(np.uint8)[:, None], bunch.target)
    assert [len(split) for split in splits(data)] == [1258, 180, 359]


def test_digits_that_are_not_standardised_go_from_0_to_1() -> None:
    """Their largest value is 16."""
    data = built("digits", "dataset.standardize=false")
    inputs = data.prepare(data.train.inputs)
    assert torch.equal(inputs, data.train.inputs.double() / 16)


def fitted(inputs: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares by NumPy: a weight each feature, and the intercept last."""
    return np.linalg.lstsq(np.column_stack([inputs, np.ones(len(inputs))]), targets[:, 0])[0]


@pytest.mark.parametrize(
    "name", [name for name in DATASETS.names() if issubclass(DATASETS[name].schema, GeneratedConfig)]
)
def test_another_seed_draws_other_points_as_many_as_asked_for(name: str) -> None:
    drawn = [raw(name, "dataset.examples=30", f"seed={seed}")[0] for seed in (0, 1)]
    assert [len(points) for points in drawn] == [30, 30]
    assert not np.isin(*drawn).any()


LAWS = [
    ("line", ["dataset.slope=-3.5", "dataset.intercept=0.25"], [-3.5, 0.25]),
    ("plane", ["dataset.weights=[2,-3.4,0.5,7]", "dataset.intercept=4.2"], [2, -3.4, 0.5, 7, 4.2]),
    ("polynomial", ["dataset.coefficients=[0.5,-1,0,2]", "dataset.degree=4"], [-1, 0, 2, 0, 0.5]),
]


@pytest.mark.parametrize(("name", "overrides", "weights"), LAWS, ids=[name for name, *_ in LAWS])
def test_without_noise_least_squares_finds_the_configured_weights(
    name: str, overrides: list[str], weights: list[float]
) -> None:
    inputs, targets = raw(name, "dataset.noise=0", "dataset.examples=60", *overrides)
    assert len(inputs) == 60
    # float64; the powers of x are conditioned to about 1e2
    np.testing.assert_allclose(fitted(inputs, targets), weights, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "law"),
    [("line", stats.uniform(-1, 2)), ("plane", stats.norm()), ("polynomial", stats.uniform(-1, 2))],
    ids=["line", "plane", "polynomial"],
)
def test_noise_is_normal_as_wide_as_configured_and_leaves_the_inputs_alone(name: str, law: Any) -> None:
    overrides = ["dataset.examples=4000", *(["dataset.weights=[2]"] if name == "plane" else [])]
    clean, exact = raw(name, "dataset.noise=0", *overrides)
    inputs, targets = raw(name, "dataset.noise=0.3", *overrides)
    noise = (targets - exact)[:, 0]
    np.testing.assert_array_equal(inputs, clean)
    # what is drawn from the law falls below that once in a thousand; the seed is fixed
    assert stats.kstest(noise / 0.3, "norm").pvalue > 1e-3
    assert stats.kstest(inputs[:, 0], law.cdf).pvalue > 1e-3
    # a correlation of 4,000 independent pairs is normal, 1/63 wide; 4 of that
    assert abs(stats.pearsonr(inputs[:, 0], noise).statistic) < 4 / np.sqrt(4000)


def test_the_features_of_a_polynomial_are_powers() -> None:
    inputs, _ = raw("polynomial", "dataset.degree=5")
    np.testing.assert_allclose(inputs, inputs[:, :1] ** np.arange(1, 6), rtol=1e-14)  # float64, 4 products


@pytest.mark.parametrize("noise", [0, 0.2])  # 5 standard deviations are 1, the way to the other sign
def test_the_class_of_xor_is_the_exclusive_or_of_two_signs(noise: float) -> None:
    points, classes = raw("xor", f"dataset.noise={noise}")
    positive = points > 0
    np.testing.assert_array_equal(classes, positive[:, 0] ^ positive[:, 1])
    corners, counts = np.unique(positive, axis=0, return_counts=True)
    assert len(corners) == 4
    assert abs(counts - 250).max() < 5 * np.sqrt(1000 * 0.25 * 0.75)  # binomial, 5 standard deviations
    np.testing.assert_allclose(np.abs(points).mean(), 1, atol=5 * noise / np.sqrt(2000))


def test_circles_have_radius_1_and_one_half() -> None:
    points, classes = raw("circles", "dataset.noise=0")
    np.testing.assert_allclose(np.hypot(*points.T), np.where(classes == 1, 0.5, 1.0), rtol=1e-12)  # float64
    assert np.bincount(classes).tolist() == [500, 500]


def test_moons_are_two_half_circles_that_reach_into_each_other() -> None:
    points, classes = raw("moons", "dataset.noise=0")
    upper, lower = points[classes == 0], points[classes == 1] - [1, 0.5]
    np.testing.assert_allclose(np.hypot(*upper.T), 1, rtol=1e-12)
    np.testing.assert_allclose(np.hypot(*lower.T), 1, rtol=1e-12)
    assert upper[:, 1].min() > -1e-12
    assert lower[:, 1].max() < 1e-12


def test_blobs_are_as_many_clouds_as_classes_each_as_wide_as_configured() -> None:
    points, classes = raw("blobs", "dataset.classes=4", "dataset.noise=0.5", "dataset.examples=4000")
    assert np.bincount(classes).tolist() == [1000] * 4
    for number in range(4):
        # the spread of 1,000 normal numbers is known to 1/sqrt(2000); 5 of that
        np.testing.assert_allclose(points[classes == number].std(axis=0), 0.5, rtol=5 / np.sqrt(2000))


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.0), (3, 1.75), (5, 0.0)])
def test_the_angle_of_a_spiral_grows_with_its_radius(classes: int, turns: float) -> None:
    points, labels = raw("spirals", "dataset.noise=0", f"dataset.classes={classes}", f"dataset.turns={turns}")
    radius = np.hypot(*points.T)
    on_its_arm = radius * np.exp(2j * np.pi * (turns * radius + labels / classes))
    np.testing.assert_allclose(points[:, 0] + 1j * points[:, 1], on_its_arm, atol=1e-12)  # float64
    assert np.ptp(np.bincount(labels)) <= 1  # arms of equal numbers
    # uniform over the area
    assert stats.kstest(radius**2, stats.uniform(0.02, 0.98).cdf).pvalue > 1e-3


def questions_and_answers(data: Data, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The questions of all splits, `length` tokens, and the answers; what is no answer must not be a target."""
    inputs, targets = whole(data)
    assert (targets[:, : length - 1] == PADDING).all()
    answers = targets[:, length - 1 :]
    assert torch.equal(inputs[:, length:], answers[:, :-1])  # what was answered is read on
    return inputs[:, :length].numpy(), answers.numpy()


def test_sorting_asks_for_every_sequence_once_and_answers_it_in_order() -> None:
    data = built("sorting", "dataset.length=4", "dataset.digits=3")
    questions, answers = questions_and_answers(data, 4)
    assert len(questions) == len(np.unique(questions, axis=0)) == 3**4
    assert set(questions.flatten()) == {0, 1, 2}
    np.testing.assert_array_equal(answers, np.sort(questions, axis=1))
    assert data.spec.heads[0].labels == ("0", "1", "2")


def test_sorting_can_draw_fewer_distinct_sequences_by_the_seed() -> None:
    drawn = [
        questions_and_answers(built("sorting", "dataset.length=5", "dataset.examples=50", f"seed={seed}"), 5)[0]
        for seed in (0, 1)
    ]
    assert [len(np.unique(questions, axis=0)) for questions in drawn] == [50, 50]
    assert len(np.unique(np.concatenate(drawn), axis=0)) > 50


def test_modular_addition_asks_for_every_pair_once() -> None:
    data = built("modular_addition", "dataset.modulus=11")
    questions, answers = questions_and_answers(data, 3)
    assert sorted(map(tuple, questions[:, :2].tolist())) == [(a, b) for a in range(11) for b in range(11)]
    np.testing.assert_array_equal(answers[:, 0], (questions[:, 0] + questions[:, 1]) % 11)
    assert set(questions[:, 2]) == {data.spec.heads[0].labels.index("=")}
    assert data.spec.heads[0].labels[:11] == tuple(str(number) for number in range(11))


def test_a_class_and_a_number_make_two_heads() -> None:
    data = built("iris", "dataset.targets=[species,petal_width]", "dataset.standardize=false", "dataset.shuffle=false")
    bunch = sklearn.datasets.load_iris()
    assert data.spec.task == "multi_output"
    assert [(head.task, head.labels) for head in data.spec.heads] == [
        ("regression", ("petal_width",)),
        ("classification", ("setosa", "versicolor", "virginica")),
    ]
    inputs, targets = whole(data)
    np.testing.assert_array_equal(inputs, bunch.data[:, :3])
    np.testing.assert_array_equal(targets, np.column_stack([bunch.data[:, 3], bunch.target]))


def test_numbers_alone_make_one_regression() -> None:
    inputs, targets = raw("iris", "dataset.targets=[petal_width,sepal_length]")
    measures = sklearn.datasets.load_iris().data
    np.testing.assert_array_equal(inputs, measures[:, 1:3])  # the class is no number
    np.testing.assert_array_equal(targets, measures[:, [3, 0]])
    data = built("iris", "dataset.targets=[petal_width,sepal_length]")
    (head,) = data.spec.heads
    assert head.labels == ("petal_width", "sepal_length")
    in_cm = whole(data)[1].numpy() * head.scale + head.offset
    # float64, one division and its inverse
    np.testing.assert_allclose(np.sort(in_cm, axis=0), np.sort(measures[:, [3, 0]], axis=0), rtol=1e-12)


def test_features_are_those_named_in_the_order_asked_for() -> None:
    inputs, _ = raw("diabetes", "dataset.features=[s5,bmi]")
    bunch = sklearn.datasets.load_diabetes()
    columns = [bunch.feature_names.index(name) for name in ("s5", "bmi")]
    np.testing.assert_array_equal(inputs, bunch.data[:, columns])


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("iris", ["dataset.targets=[specie]"], "dataset.targets=specie is not known (nearest: species)"),
        ("diabetes", ["dataset.features=[bmj]"], "dataset.features=bmj is not known (nearest: bmi)"),
        ("diabetes", ["dataset.features=[bmi,progression]"], "dataset.features=progression"),
        ("iris", ["dataset.features=[species]", "dataset.targets=[petal_width]"], "dataset.features=species"),
        ("iris", ["dataset.targets=[]"], "dataset.targets is empty"),
        ("iris", ["dataset.targets=[species,species]"], "dataset.targets=species"),
        ("diabetes", ["dataset.features=[bmi,bmi]"], "dataset.features=bmi"),
        ("line", ["dataset.targets=[x,y]"], "dataset.features"),
        ("sorting", ["dataset.length=4", "dataset.examples=82"], "dataset.examples=82 is not allowed"),
        ("sorting", ["dataset.length=60"], "dataset.length=60 is not allowed"),
        ("modular_addition", ["dataset.modulus=1"], "dataset.modulus=1 is not allowed"),
        ("blobs", ["dataset.classes=1"], "dataset.classes=1 is not allowed"),
        ("spirals", ["dataset.classes=9", "dataset.examples=8"], "dataset.examples=8 is not allowed"),
        ("moons", ["dataset.noise=-0.1"], "dataset.noise=-0.1 is not allowed"),
        ("line", ["dataset.slope=nan"], "dataset.slope=nan is not allowed"),
        ("plane", ["dataset.weights=[]"], "dataset.weights=[] is not allowed"),
        ("plane", ["dataset.weights=[1,nan]"], "dataset.weights=[1, nan] is not allowed"),
        ("plane", ["dataset.intercept=inf"], "dataset.intercept=inf is not allowed"),
        ("polynomial", ["dataset.coefficients=[inf]"], "dataset.coefficients=[inf] is not allowed"),
        ("polynomial", ["dataset.degree=0"], "dataset.degree=0 is not allowed"),
        ("digits", ["dataset.examples=0"], "dataset.examples=0 is not allowed"),
        ("digits", ["dataset.examples=1259"], "dataset.examples=1259 is not allowed; allowed: at most 1258"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_reported_in_one_line(name: str, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(name, *overrides)
    assert str(caught.value).startswith(said)
    assert "allowed: " in str(caught.value) or "hint: " in str(caught.value)
    assert "\n" not in str(caught.value)
