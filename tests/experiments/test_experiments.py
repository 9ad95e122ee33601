"""What concept programs stand on, by hand, and that reproduce finds every concept."""

from pathlib import Path

import pytest
import torch
from support.configs import choices

from experiments import reproduce
from experiments.support import builders, numerical_gradients
from experiments.support.array_semantics import added, addresses, broadcast
from experiments.support.autograd_graph import walk
from experiments.support.ngrams import NGrams

EXPERIMENTS = Path(reproduce.__file__).parent


def test_n_grams_are_smoothed_as_witten_and_bell_say():
    """Of "aab": b alone, 1 of 3, with two kinds seen: (1 + 2 / 2) / (3 + 2) = .4; after a, 1 of 2: (1 + 2 * .4) / 4."""
    grams = NGrams("aab", 2)
    assert grams.probabilities("a", "b") == pytest.approx([0.4, 0.45])
    assert grams.probabilities("b", "a") == pytest.approx([0.6, 0.6])  # nothing was seen after b


def test_nats_of_a_text_are_the_mean_over_all_but_its_first_character():
    """Of "ab", one character is asked for: minus the logarithms of .4 and .45."""
    assert NGrams("aab", 2).nats("ab") == pytest.approx([0.916291, 0.798508], abs=1e-6)


def test_the_graph_of_autograd_ends_in_the_leaves():
    """A product and a sum over one leaf used twice, and another: the place of a leaf is below all that lead to it."""
    leaves = {"x": torch.ones(2, requires_grad=True), "y": torch.ones(2, requires_grad=True)}
    places, edges = walk(((leaves["x"] * leaves["y"]).exp() + leaves["x"]).sum(), leaves)
    operations = {name.split()[0] for name in places}
    assert operations == {"Sum", "Add", "Exp", "Mul", "x", "y"}
    assert len(edges) == 6
    assert places["x"][1] == -4
    assert len(set(places.values())) == len(places)


def test_an_address_is_the_offset_and_a_stride_for_each_step():
    """Rows 1 and 2, columns 0 and 2 of numbers 0 to 11 in rows of four, on their side."""
    assert addresses(torch.arange(12).view(3, 4)[1:, ::2].T).tolist() == [[4, 8], [6, 10]]


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [((), (2, 3), (2, 3)), ((3,), (2, 1), (2, 3)), ((2, 1, 3), (4, 1), (2, 4, 3)), ((2,), (3,), None)],
)
def test_shapes_are_broadcast_from_the_last_size(a, b, both):
    assert broadcast(a, b) == both
    assert added(torch.ones(a), torch.ones(b))[0] == both


def test_slopes_of_a_cube():
    """3 x^2; the central difference is off by step^2, the complex step by nothing."""
    points = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    for way, within in (
        (numerical_gradients.autograd, 1e-15),
        (numerical_gradients.complex_step, 1e-15),
        (numerical_gradients.central, 1e-9),
    ):
        torch.testing.assert_close(way(lambda x: x**3)(points), 3 * points**2, rtol=within, atol=within)
    assert numerical_gradients.central(lambda x: x**3, step=0.1)(2.0) == pytest.approx(12.01)


def test_a_function_whose_backward_pass_is_wrong_does_not_pass():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return 2 * x

        @staticmethod
        def backward(context, gradient):
            return 3 * gradient

    points = torch.tensor([0.3, 0.7], dtype=torch.float64)
    assert numerical_gradients.passing([torch.tanh, Twice.apply, torch.exp], points) == 2


def test_examples_come_as_the_model_takes_them():
    model, inputs, targets = builders.model_and_examples("dataset=digits model=mlp precision=float64", 5)
    assert inputs.dtype == torch.float64
    assert model(inputs).shape == (5, 10)
    assert targets.shape == (5,)


def test_layers_without_anything_else_record_what_each_gives():
    model = builders.plain_layers("model.activation=tanh precision=float64", depth=3, width=5, labels="ab")
    hidden = builders.record_layers(model)
    logits = model(builders.normal(4, 5))
    assert [tuple(layer.shape) for layer in hidden] == [(4, 5)] * 3
    assert torch.equal(model.head(hidden[-1]), logits)


def test_every_experiment_and_program_is_reproduced():
    """Every YAML, and every module of experiments that says what it claims."""
    programs = {path.stem for path in EXPERIMENTS.glob("*.py") if "def main() -> Report:" in path.read_text()}
    found = reproduce.jobs(reproduce.LAUNCHER)
    assert {job.concept for job in found} == programs | set(choices("experiment"))
    assert all(job.takes > 0 for job in found)
    assert "tensors" in programs


def test_the_quick_ones_end_in_a_fraction_of_ci_and_all_but_the_long_ones_in_twenty_minutes():
    """By what each says that it takes, in seconds."""
    takes = [job.takes for job in reproduce.jobs(reproduce.LAUNCHER)]
    assert sum(each for each in takes if each < reproduce.QUICK) < 120
    assert sum(each for each in takes if each < reproduce.NORMAL) < 1200


def test_a_row_names_the_launcher_that_made_it():
    assert "python -m experiments.reproduce sgd" in {job.command for job in reproduce.jobs(reproduce.LAUNCHER)}
    commands = {job.command for job in reproduce.jobs("in_turn")}
    assert "python -m experiments.reproduce sgd --launcher in_turn" in commands
    assert "python -m experiments.tensors" in commands
