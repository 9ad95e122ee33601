"""The helpers of concept programs against values computed by hand, and the list of experiments."""

import importlib
import re
from pathlib import Path

import pytest
import torch
from support.configs import choices

from experiments import reproduce
from experiments.support import builders
from experiments.support.array_semantics import added, addresses, broadcast
from experiments.support.autograd_graph import walk
from experiments.support.ngrams import NGrams
from experiments.support.numerical_gradients import autograd, central, complex_step, passing

EXPERIMENTS = Path(reproduce.__file__).parent
GUIDES = (EXPERIMENTS.parent / "README.md", EXPERIMENTS / "README.md", EXPERIMENTS / "RESULTS.md")
COMMANDS = "\n".join(guide.read_text(encoding="utf-8") for guide in GUIDES)


def test_n_grams_are_smoothed_by_the_method_of_witten_and_bell():
    """In "aab", b is 1 of 3 with two kinds: (1 + 2 / 2) / (3 + 2) = .4; after a, 1 of 2: (1 + 2 * .4) / 4 = .45."""
    grams = NGrams("aab", 2)
    assert grams.probabilities("a", "b") == pytest.approx([0.4, 0.45])
    assert grams.probabilities("b", "a") == pytest.approx([0.6, 0.6])  # b has no followers


def test_nats_are_the_mean_over_all_characters_but_the_first():
    """In "ab" only b is predicted: minus the logarithms of .4 and .45."""
    assert NGrams("aab", 2).nats("ab") == pytest.approx([0.916291, 0.798508], abs=1e-6)


def test_leaves_are_at_the_bottom_of_the_autograd_graph():
    """x is used twice; it is below both of the functions that use it."""
    leaves = {"x": torch.ones(2, requires_grad=True), "y": torch.ones(2, requires_grad=True)}
    places, edges = walk(((leaves["x"] * leaves["y"]).exp() + leaves["x"]).sum(), leaves)
    operations = {name.split()[0] for name in places}
    assert operations == {"Sum", "Add", "Exp", "Mul", "x", "y"}
    assert len(edges) == 6
    assert places["x"][1] == -4
    assert len(set(places.values())) == len(places)


def test_address_is_the_offset_plus_strides():
    """The transpose of rows 1 and 2, columns 0 and 2, of the numbers 0 to 11 in rows of four."""
    assert addresses(torch.arange(12).view(3, 4)[1:, ::2].T).tolist() == [[4, 8], [6, 10]]


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [((), (2, 3), (2, 3)), ((3,), (2, 1), (2, 3)), ((2, 1, 3), (4, 1), (2, 4, 3)), ((2,), (3,), None)],
)
def test_shapes_are_broadcast_from_the_last_size(a, b, both):
    assert broadcast(a, b) == both
    assert added(torch.ones(a), torch.ones(b))[0] == both


def test_three_ways_to_differentiate_a_cube():
    """The derivative of x^3 is 3 x^2; the central difference is off by step^2."""
    points = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    for way, within in ((autograd, 1e-15), (complex_step, 1e-15), (central, 1e-9)):
        torch.testing.assert_close(way(lambda x: x**3)(points), 3 * points**2, rtol=within, atol=within)
    assert central(lambda x: x**3, step=0.1)(2.0) == pytest.approx(12.01)


def test_function_with_a_wrong_backward_pass_fails_gradcheck():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return 2 * x

        @staticmethod
        def backward(context, gradient):
            return 3 * gradient

    points = torch.tensor([0.3, 0.7], dtype=torch.float64)
    assert passing([torch.tanh, Twice.apply, torch.exp], points) == 2


def test_examples_have_the_dtype_and_shape_of_the_model():
    model, inputs, targets = builders.model_and_examples("dataset=digits model=mlp precision=float64", 5)
    assert inputs.dtype == torch.float64
    assert model(inputs).shape == (5, 10)
    assert targets.shape == (5,)


def test_plain_layers_record_the_output_of_each_layer():
    model = builders.plain_layers("model.activation=tanh precision=float64", depth=3, width=5, labels="ab")
    hidden = builders.record_layers(model)
    logits = model(builders.normal(4, 5))
    assert [tuple(layer.shape) for layer in hidden] == [(4, 5)] * 3
    assert torch.equal(model.head(hidden[-1]), logits)


def test_reproduce_finds_every_experiment_and_program():
    """Every YAML file, and every module of experiments whose main returns a Report."""
    programs = {path.stem for path in EXPERIMENTS.glob("*.py") if "def main() -> Report:" in path.read_text()}
    found = reproduce.jobs(reproduce.LAUNCHER)
    assert {job.concept for job in found} == programs | set(choices("experiment"))
    assert all(job.takes > 0 for job in found)
    assert "tensors" in programs


def test_quick_experiments_take_two_minutes_and_normal_ones_twenty():
    """By the seconds that each experiment declares."""
    takes = [job.takes for job in reproduce.jobs(reproduce.LAUNCHER)]
    assert sum(each for each in takes if each < reproduce.QUICK) < 120
    assert sum(each for each in takes if each < reproduce.NORMAL) < 1200


def test_command_of_a_row_names_the_launcher():
    assert "python -m experiments.reproduce sgd" in {job.command for job in reproduce.jobs(reproduce.LAUNCHER)}
    commands = {job.command for job in reproduce.jobs("in_turn")}
    assert "python -m experiments.reproduce sgd --launcher in_turn" in commands
    assert "python -m experiments.tensors" in commands


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (experiments\.[a-z_]+)", COMMANDS))))
def test_commands_of_the_guides_have_a_main_function(module):
    assert callable(importlib.import_module(module).main)


def test_commands_of_the_guides_name_known_experiments():
    concepts = {job.concept for job in reproduce.jobs(reproduce.LAUNCHER)}
    assert set(re.findall(r"experiments\.reproduce ([a-z]\w*)", COMMANDS)) <= concepts
    assert set(re.findall(r" experiment=([a-z]\w*)", COMMANDS)) <= set(choices("experiment"))
