"""Figures and histograms of models while they learn: which there are, that they leave the run as it was."""

import io

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from support.commands import TINY, train
from support.configs import parsed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dl_lab.plotting import figures, predictions
from dl_lab.training import setup, visualize

CLASSES = {"confusion", "classes", "reliability"}
EXPECTED = {
    ("dataset=moons", "model=mlp"): {*CLASSES, "boundary"},
    ("dataset=line", "model=linear"): {"fit", "residuals"},
    ("dataset=linnerud", "model=linear", "train.batch_size=4"): {"fit", "residuals"},
    ("dataset=iris", "model=mlp"): CLASSES,
    ("dataset=iris", "dataset.targets=[species,petal_width]", "model=mlp"): {
        *(f"species/{tag}" for tag in CLASSES),
        "petal_width/fit",
        "petal_width/residuals",
    },
    ("dataset=digits", "model=mlp"): {*CLASSES, "mistakes"},
    ("dataset=digits", "model=cnn"): {*CLASSES, "mistakes", "filters", "feature_maps"},
    ("dataset=sorting", "dataset.examples=200", "model=transformer"): {"attention"},
    ("dataset=digits", "model=transformer", "model.patch_size=4"): {*CLASSES, "mistakes"},
}


@pytest.mark.parametrize("overrides", EXPECTED, ids=" ".join)
def test_every_kind_of_data_and_model_has_its_figures(overrides):
    run = parsed(*overrides)
    plan, state = setup.build_run(run, setup.build_data(run))
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    random = torch.random.get_rng_state()
    drawn = visualize.figures_of(state.model, plan.data, plan.task)
    assert set(drawn) == EXPECTED[overrides]
    for figure in drawn.values():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        assert all(axes.get_title() or figure.get_suptitle() for axes in figure.axes if axes.get_xlabel())
    assert state.model.training
    assert torch.equal(random, torch.random.get_rng_state())
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_boundary_has_the_classes_of_the_model():
    """A model that parts the plane at the mean of x1: its left half is class 0, its right half class 1."""
    run = parsed("dataset=moons", "model=linear")
    plan, state = setup.build_run(run, setup.build_data(run))
    with torch.no_grad():
        state.model.linear.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        state.model.linear.bias.zero_()
    figure = visualize.figures_of(state.model, plan.data, plan.task)["boundary"]
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(plan.data.spec.heads[0].labels)
    mesh = axes.collections[0]
    corners = mesh.get_coordinates()
    classes = mesh.get_array().reshape(len(corners) - 1, -1)
    middles = (corners[:-1, :-1, 0] + corners[1:, 1:, 0]) / 2
    mean = plan.data.preprocessing.columns[0]["offset"]
    assert abs(mean) > 0.1  # so that the axes in the units of the data differ from those of the model
    assert np.array_equal(classes, (middles > mean).astype(int))


def test_the_figures_of_numbers_are_in_their_units():
    """An untrained model: predictions and residuals in centimeters."""
    run = parsed("dataset=iris", "dataset.targets=[petal_width,petal_length]", "model=linear", "train.batch_size=8")
    plan, state = setup.build_run(run, setup.build_data(run))
    drawn = visualize.figures_of(state.model, plan.data, plan.task)
    for tag, split in (("residuals", plan.data.validation), ("fit", plan.data.train)):
        outputs = state.model(split.inputs).detach().double().numpy()
        head = plan.data.spec.heads[0]
        predicted, actual = (
            each * np.array(head.scale) + np.array(head.offset) for each in (outputs, split.targets.double().numpy())
        )
        assert 0 < actual.min() < actual.max() < 7  # centimeters
        x, y = (predicted, predicted - actual) if tag == "residuals" else (actual, predicted)
        for column, axes in enumerate(drawn[tag].axes):
            assert axes.get_title() == head.labels[column]
            np.testing.assert_allclose(axes.collections[0].get_offsets(), np.c_[x[:, column], y[:, column]], rtol=1e-6)


def test_a_run_with_pictures_equals_one_without_and_shows_them(tmp_path):
    plain = train(tmp_path / "plain", *TINY, "model=deep_nn", "dataset=digits")
    drawn = train(tmp_path / "drawn", *TINY, "model=deep_nn", "dataset=digits", "train.pictures=1")
    assert (plain.run / "metrics.jsonl").read_bytes() == (drawn.run / "metrics.jsonl").read_bytes()
    events = EventAccumulator(str(drawn.run), size_guidance={"images": 0, "histograms": 0}).Reload()
    assert [event.step for event in events.Images("view/confusion")] == [3, 6]
    layer = (
        events.Histograms("view activations/layers.0")
        if "view activations/layers.0" in events.Tags()["histograms"]
        else None
    )
    tensors = events.Tags()["tensors"]
    assert layer is not None or "view activations/layers.0" in tensors
    assert {"view weights/layers.0.weight", "view gradients/layers.0.weight"} <= set(tensors) | set(
        events.Tags()["histograms"]
    )


def test_a_histogram_counts_every_value(tmp_path):
    """Three values in 30 bins from 0 to 3: the table has left edge, right edge and count, as TensorBoard reads it."""
    from dl_lab.runs.tensorboard import EventWriter

    writer = EventWriter(tmp_path)
    writer.histogram("values", np.array([0.0, 1.0, 3.0]), 5)
    writer.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    (event,) = events.Tensors("values")
    table = np.frombuffer(event.tensor_proto.tensor_content).reshape(30, 3)
    assert event.step == 5
    assert table[:, 2].sum() == 3
    assert (table[0, 0], table[-1, 1]) == (0.0, 3.0)


def test_surfaces_lines_and_bands_are_drawn_from_tensors():
    across = torch.linspace(-1, 1, 20)
    x, y = torch.meshgrid(across, across, indexing="xy")
    path = torch.stack([across, across], 1)
    surface = figures.surface_paths(x, y, x**2 + y**2, {"path": path}, "Surface", ("x1", "x2"), minimum=(0.0, 0.0))
    lines = figures.curves({"a": (across, across)}, "t", "x", "y", bands={"a": (across - 1, across + 1)})
    assert isinstance(surface, Figure)
    np.testing.assert_allclose(lines.axes[0].lines[0].get_ydata(), across.numpy())


def test_rare_classes_and_few_bins_can_be_seen():
    """Two of two rare examples are right, in the color of a share of 1; one bin is a point; 30 names are shown."""
    axes, scale = predictions.confusion(np.array([[2, 0], [50, 50]]), ["rare", "common"], "title").axes
    np.testing.assert_array_equal(axes.images[0].get_array(), [[1, 0], [0.5, 0.5]])
    assert [text.get_text() for text in axes.texts] == ["2", "0", "50", "50"]
    assert scale.get_ylabel() == "share of the actual class"
    (axes,) = predictions.reliability(np.eye(15)[14], np.full(15, 0.98), np.full(15, 1.0), "title").axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), [[0.98, 1.0]])
    names = [f"class {number}" for number in range(30)]
    for figure in (predictions.confusion(np.eye(30), names, "title"), predictions.bars({"a": [1] * 30}, names, "", "")):
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == names
