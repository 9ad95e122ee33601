"""Every model over every kind of data and task that it accepts; known architectures, by their sizes and by hand."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from support.configs import parsed
from torch import Tensor, nn

from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import TASKS, DataSpec, Head
from dl_lab.registry import MODELS
from dl_lab.training.setup import build_model, build_task

BATCH = 5


def regression(count: int) -> Head:
    names = tuple(f"y{number}" for number in range(count))
    return Head(name="value", task="regression", labels=names, offset=(0.0,) * count, scale=(1.0,) * count)


def classes(count: int, task: str = "classification") -> Head:
    return Head(name="kind", task=task, labels=tuple(f"c{number}" for number in range(count)))


HEADS: dict[str, tuple[Head, ...]] = {
    "regression of 1": (regression(1),),
    "regression of 3": (regression(3),),
    "classification": (classes(4),),
    "language_modelling": (classes(11, "language_modelling"),),
    "multilabel": (classes(5, "multilabel"),),
    "multi_output": (regression(2), classes(3)),
}
SHAPES = {"features": (7,), "image": (2, 8, 8), "tokens": (9,)}


def spec_of(kind: str, shape: tuple[int, ...], *heads: Head) -> DataSpec:
    return DataSpec(kind=kind, input_shape=shape, heads=heads, vocabulary=11 if kind == "tokens" else None)


def cases() -> list[Any]:
    """Every model with every spec that it accepts; only tokens are modelled as language."""
    found = []
    for name in MODELS.names():
        for kind in sorted(MODELS[name].kinds):
            for what, heads in HEADS.items():
                spec = spec_of(kind, SHAPES[kind], *heads)
                if spec.task in MODELS[name].tasks and (kind == "tokens" or what != "language_modelling"):
                    found.append(pytest.param(name, spec, id=f"{name}, {kind}, {what}"))
    return found


CASES = cases()


@cache
def run_of(name: str, *overrides: str) -> RunConfig:
    """A run of the model on data that it accepts; the data themselves are not looked at."""
    entry = MODELS[name]
    data = next(choice for choice in ("digits", "iris", "sorting") if fits(entry.kinds, choice))
    return parsed(f"model={name}", f"dataset={data}", *overrides)


def fits(kinds: frozenset[str], dataset: str) -> bool:
    return {"digits": "image", "iris": "features", "sorting": "tokens"}[dataset] in kinds


def with_seed(run: RunConfig, seed: int) -> RunConfig:
    return replace(run, settings=replace(run.settings, seed=seed))


def batch_of(spec: DataSpec) -> Tensor:
    random = torch.Generator().manual_seed(0)
    if spec.kind == "tokens":
        assert spec.vocabulary is not None
        return torch.randint(spec.vocabulary, (BATCH, *spec.input_shape), generator=random)
    return torch.randn(BATCH, *spec.input_shape, generator=random)


def targets_of(spec: DataSpec) -> Tensor:
    random = torch.Generator().manual_seed(1)
    columns = [
        torch.randn(BATCH, head.columns, generator=random)
        if head.task == "regression"
        else torch.randint(2, (BATCH, head.columns), generator=random).float()
        if head.task == "multilabel"
        else torch.randint(head.size, (BATCH, 1), generator=random)
        for head in spec.heads
    ]
    if spec.is_language:
        return torch.randint(spec.num_outputs, (BATCH, *spec.input_shape), generator=random)
    return columns[0].squeeze(1) if spec.task == "classification" else torch.cat(columns, dim=1)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_task_is_met_by_some_model_below() -> None:
    assert {case.values[0] for case in CASES} == set(MODELS.names())
    assert {case.values[1].task for case in CASES} == set(TASKS)


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_a_model_gives_as_many_outputs_as_its_spec_asks_for(name: str, spec: DataSpec) -> None:
    outputs = build_model(run_of(name), spec)(batch_of(spec))
    times = spec.input_shape if spec.is_language else ()
    assert outputs.shape == (BATCH, *times, spec.num_outputs)
    assert outputs.dtype == torch.float32


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_every_parameter_learns_from_every_task(name: str, spec: DataSpec) -> None:
    model, task = build_model(run_of(name), spec), build_task(run_of(name), spec)
    targets = targets_of(spec)
    task.objective(task.totals(model(batch_of(spec)), targets), task.counts(targets)).backward()
    assert [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_weights_are_a_function_of_the_seed(name: str, spec: DataSpec) -> None:
    weights = build_model(run_of(name), spec).state_dict()
    torch.manual_seed(123)  # the global generator has no say
    before = torch.random.get_rng_state()
    again = build_model(run_of(name), spec).state_dict()
    torch.testing.assert_close(torch.random.get_rng_state(), before)
    other = build_model(with_seed(run_of(name), 1), spec).state_dict()
    torch.testing.assert_close(again, weights, rtol=0, atol=0)
    matrices = [key for key, weight in weights.items() if weight.ndim > 1]
    assert matrices
    assert all(not torch.equal(weights[key], other[key]) for key in matrices)


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_a_state_dict_is_all_that_a_model_is(name: str, spec: DataSpec) -> None:
    first, second = (build_model(with_seed(run_of(name), seed), spec).eval() for seed in (0, 1))
    inputs = batch_of(spec)
    assert not torch.equal(second(inputs), first(inputs))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(inputs), first(inputs), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_an_example_is_answered_alike_alone_and_in_a_batch(name: str, spec: DataSpec) -> None:
    model, inputs = build_model(run_of(name, "precision=float64"), spec).eval(), batch_of(spec)
    inputs = inputs if spec.kind == "tokens" else inputs.double()
    torch.testing.assert_close(model(inputs[2:3]), model(inputs)[2:3], rtol=1e-12, atol=1e-12)  # float64 rounding


MNIST = spec_of("image", (1, 28, 28), classes(10))
LENET = [
    "model.channels=[6,16]",
    "model.kernel_size=5",
    "model.padding=[same,valid]",
    "model.activation=sigmoid",
    "model.pooling=average",
    "model.head_sizes=[120,84]",
]


@pytest.mark.parametrize(
    ("name", "overrides", "parameters"),
    [
        ("linear", [], 784 * 10 + 10),
        ("logistic", ["model.bias=false"], 784 * 10),
        ("mlp", [], 101_770),  # 784-128-10
        ("cnn", [], 421_642),
        ("cnn", LENET, 61_706),  # LeNet-5 as in d2l.ai, chapter 7.6
        ("deep_nn", ["model.depth=3", "model.width=32"], 784 * 32 + 32 + 2 * (32 * 32 + 32) + 3 * 64 + 330),
    ],
)
def test_known_architectures_have_their_known_sizes(name: str, overrides: list[str], parameters: int) -> None:
    assert count(build_model(run_of(name, *overrides), MNIST)) == parameters


def copied(model: nn.Module, layers: list[nn.Module]) -> nn.Sequential:
    """A Sequential of these layers that holds the model's weights, taken in order."""
    by_hand = nn.Sequential(*layers).double()
    for target, source in zip(by_hand.parameters(), model.parameters(), strict=True):
        target.data.copy_(source)
    return by_hand


BY_HAND: dict[str, tuple[str, list[str], list[nn.Module]]] = {
    "no hidden layer": ("mlp", ["model.hidden_sizes=[]"], [nn.Flatten(), nn.Linear(784, 10)]),
    "mlp": ("mlp", [], [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)]),
    "two hidden layers": (
        "mlp",
        ["model.hidden_sizes=[30,20]", "model.activation=tanh"],
        [nn.Flatten(), nn.Linear(784, 30), nn.Tanh(), nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 10)],
    ),
    "cnn": (
        "cnn",
        [],
        [
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)),
        ],
    ),
    "LeNet-5": (
        "cnn",
        LENET,
        [
            *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten()),
            *(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)),
        ],
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_a_model_is_a_sequential_built_by_hand(case: str) -> None:
    name, overrides, layers = BY_HAND[case]
    model, images = build_model(run_of(name, *overrides, "precision=float64"), MNIST), batch_of(MNIST).double()
    # The same operations in the same order, but for how a matrix product is blocked: float64 rounding.
    torch.testing.assert_close(model(images), copied(model, layers)(images), rtol=1e-12, atol=1e-12)


def test_a_cnn_with_batch_normalisation_and_a_mean_over_space_is_a_sequential_built_by_hand() -> None:
    overrides = ["model.normalization=batch", "model.pooling=none", "model.readout=mean", "model.head_sizes=[]"]
    model = build_model(run_of("cnn", *overrides, "precision=float64"), MNIST)
    first, second = nn.BatchNorm2d(32).double(), nn.BatchNorm2d(64).double()
    convolutions = [nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)]
    copied(model, [*convolutions, nn.BatchNorm2d(32), nn.BatchNorm2d(64), head := nn.Linear(64, 10)])
    layers = [convolutions[0], first, nn.ReLU(), convolutions[1], second, nn.ReLU()]
    by_hand = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    images = batch_of(MNIST).double()
    torch.testing.assert_close(model(images), by_hand(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_a_deep_nn_adds_its_layers_to_their_inputs_if_residual(residual: bool, normalization: str) -> None:
    overrides = [f"model.residual={residual}", f"model.normalization={normalization}", "model.depth=3"]
    model = build_model(run_of("deep_nn", *overrides, "precision=float64"), MNIST)
    weights, hidden = model.state_dict(), batch_of(MNIST).double().flatten(1)
    for number in range(3):
        change = hidden @ weights[f"layers.{number}.weight"].T + weights[f"layers.{number}.bias"]
        if normalization != "none":  # freshly built, so that both scale by 1 and shift by 0
            axis = 0 if normalization == "batch" else 1
            change = change - change.mean(axis, keepdim=True)
            change = change / (change.square().mean(axis, keepdim=True) + 1e-5).sqrt()
        change = change.clamp(min=0)
        hidden = hidden + change if residual and number > 0 else change
    expected = hidden @ weights["head.weight"].T + weights["head.bias"]
    torch.testing.assert_close(model(batch_of(MNIST).double()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("cnn", ["model.channels=[4,4,4,4,4]"], "model.channels has 5 convolutions, too many for images of 28x28"),
        ("cnn", ["model.channels=[4]", "model.kernel_size=29", "model.padding=[valid]"], "too many for images"),
        (
            "transformer",
            ["model.patch_size=5"],
            "model.patch_size=5 does not divide images of 28x28; .* 1, 2, 4, 7, 14",
        ),
    ],
)
def test_an_image_that_does_not_fit_is_refused(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(run_of(name, *overrides), MNIST)


@pytest.mark.parametrize("channels", [[4, 4, 4, 4], [4] * 9])
def test_poolings_are_refused_only_where_they_leave_nothing(channels: list[int]) -> None:
    """Four halvings take 28 to 1; with none, any number of same convolutions fits."""
    pooling = "max" if len(channels) == 4 else "none"
    model = build_model(run_of("cnn", f"model.channels={channels}", f"model.pooling={pooling}"), MNIST)
    assert model(batch_of(MNIST)).shape == (BATCH, 10)


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("mlp", "hidden_sizes=[0]"),
        ("mlp", "activation=reluu"),
        ("deep_nn", "depth=0"),
        ("deep_nn", "normalization=group"),
        ("cnn", "channels=[]"),
        ("cnn", "kernel_size=2"),
        ("cnn", "padding=[same,same,same]"),
        ("cnn", "pooling=median"),
        ("cnn", "readout=max"),
        ("transformer", "num_heads=3"),
        ("transformer", "context_length=0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(name: str, override: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.{override.split('=')[0]}=.*; allowed: "):
        run_of(name, f"model.{override}")
