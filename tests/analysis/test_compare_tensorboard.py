"""A sweep and its comparison as TensorBoard's own backend reads them."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.commands import TINY, command, train
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from dl_lab import compare
from dl_lab.analysis.report_figures import file_name
from dl_lab.runs.tensorboard_names import column_of, tag_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # from the html5lib inside TensorBoard
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
    from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

LR = column_of("optimizer.lr")
STATUSES = (api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING, api_pb2.STATUS_UNKNOWN)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compared sweep over two lr and three seeds, and a run with another model and optimizer."""
    folder = tmp_path_factory.mktemp("compared")
    train(folder, "-m", "optimizer=sgd", "optimizer.lr=0.01,0.1", "seed=range(3)", *TINY)
    train(folder, "optimizer=adam", "model=linear", *TINY)
    ended = command(compare.main, folder, str(sweep_in(folder / "outputs")))
    assert (ended.status, ended.err) == (0, "")
    return folder / "outputs"


def sweep_in(outputs: Path) -> Path:
    (folder,) = (outputs / "sweeps").glob("*/*")
    return folder


def context(folder: Path) -> TBContext:
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    plugins: dict[str, object] = {}
    board = TBContext(data_provider=provider, logdir=str(folder), plugin_name_to_instance=plugins)
    plugins["scalars"] = ScalarsPlugin(board)
    return board


def session_groups(folder: Path) -> list[api_pb2.SessionGroup]:
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=STATUSES, aggregation_type=api_pb2.AGGREGATION_AVG, slice_size=100
    )
    hparams = backend_context.Context(context(folder))
    return list(list_session_groups.Handler(RequestContext(), hparams, "", request).run().session_groups)


def test_seeds_of_a_configuration_are_one_row_of_hparams_with_their_mean(outputs):
    sweep = sweep_in(outputs)
    groups = session_groups(sweep)
    assert sorted(group.hparams[LR].number_value for group in groups) == [0.01, 0.1]
    for group in groups:
        assert len(group.sessions) == 3
        assert "seed" not in group.hparams
        folders = [(sweep / session.name).parent for session in group.sessions]
        summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
        assert {summary["seed"] for summary in summaries} == {0, 1, 2}
        (mean,) = [metric.value for metric in group.metric_values if metric.name.tag == tag_of("best/loss")]
        expected = np.mean([summary["best"]["loss"] for summary in summaries])
        assert mean == pytest.approx(expected, rel=1e-6)  # TensorBoard stores float32


def test_hparams_have_the_rows_of_the_comparison_where_names_and_log_intervals_differ(tmp_path):
    train(tmp_path, "-m", "optimizer.lr=0.1,0.2", "name=a,b", "seed=0", "hydra.sweep.dir=here", *TINY)
    train(tmp_path, "hydra.run.dir=here/other", "optimizer.lr=0.1", "seed=1", "threads=1", *TINY, "train.log_every=3")
    command(compare.main, tmp_path, "here")
    with (tmp_path / "here" / "compare" / "1" / "compare.csv").open() as file:
        configurations = {row["configuration"] for row in csv.DictReader(file)}
    assert {group.name for group in session_groups(tmp_path / "here")} == configurations
    assert len(configurations) == 2


def experiment(folder: Path) -> api_pb2.Experiment:
    hparams = backend_context.Context(context(folder))
    return get_experiment.Handler(RequestContext(), hparams, "", api_pb2.GetExperimentRequest()).run()


def test_runs_of_a_sweep_are_named_after_what_differs(outputs):
    runs = set(EventMultiplexer().AddRunsFromDirectory(str(sweep_in(outputs))).Reload().Runs())
    jobs = [f"lr={lr} seed={seed}" for lr in (0.01, 0.1) for seed in range(3)]
    assert {f"{number}/{name}" for number, name in enumerate(jobs)} <= runs


def test_hparams_show_what_a_sweep_varies_next_to_the_main_metric(outputs):
    found = experiment(sweep_in(outputs))
    first = [info.display_name for info in found.hparam_infos[:5]]  # as many as TensorBoard shows
    assert first == ["model", "optimizer", "dataset", "folder", "optimizer.lr"]
    metrics = [info.display_name for info in found.metric_infos]
    assert metrics[:5] == ["best/accuracy", "test/accuracy", "best/loss", "test/loss", "train/accuracy"]
    assert {"best/f1_macro", "val/accuracy", "train/lr"} <= set(metrics)
    for group in session_groups(sweep_in(outputs)):
        folder = next(value.string_value for name, value in group.hparams.items() if name.strip() == "folder")
        assert (sweep_in(outputs).parent / folder / "summary.json").exists()


def test_hparams_of_several_datasets_show_model_optimizer_and_lr_first(outputs):
    found = experiment(outputs)
    assert {"model", "optimizer", "optimizer.lr"} < {info.display_name for info in found.hparam_infos[:5]}
    assert {"best/accuracy", "best/r2", "best/nats"} <= {info.display_name for info in found.metric_infos}
    assert sorted(len(group.sessions) for group in session_groups(outputs)) == [1, 3, 3]


def test_custom_scalars_draw_the_mean_over_seeds_between_minimum_and_maximum(outputs):
    folder = sweep_in(outputs) / "compare" / "1"
    board = context(folder)
    plugin = CustomScalarsPlugin(board)
    (category,) = json.loads(plugin.layout_impl(RequestContext(), ""))["category"]
    charts = {chart["title"]: chart["margin"]["series"] for chart in category["chart"]}
    assert set(charts) == {"val/accuracy", "val/loss", "train/loss"}
    assert charts["val/loss"] == [{"value": "val/loss/mean", "lower": "val/loss/lower", "upper": "val/loss/upper"}]
    runs = sorted(path.parent.relative_to(folder) for path in folder.glob("curves/*/events.out.tfevents.*"))
    assert {run.name.partition(" ")[2] for run in runs} == {"lr 0.01", "lr 0.1"}
    for run in runs:
        shown = plugin.scalars_impl(RequestContext(), str(run), "val/loss/", "")["tag_to_events"]
        lr = float(run.name.rpartition(" ")[2])
        curves = []
        for seed in range(3):
            lines = (sweep_in(outputs) / str(seed + 3 * (lr == 0.1)) / "metrics.jsonl").read_text().splitlines()
            points = [json.loads(line) for line in lines]
            curves.append([point["loss"] for point in points if point["split"] == "val"])
        for name, expected in (("mean", np.mean), ("lower", np.min), ("upper", np.max)):
            steps, values = [[point[place] for point in shown[f"val/loss/{name}"]] for place in (1, 2)]
            assert steps == [3, 6]
            assert values == pytest.approx(expected(curves, axis=0), rel=1e-6)


def test_names_of_any_script_become_names_of_files(tmp_path):
    name = file_name("日本語" * 99)
    assert name.startswith("日本語")
    assert len(name.encode()) <= 255  # the limit of most file systems
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_table_and_every_figure_are_in_tensorboard(outputs):
    folder = sweep_in(outputs) / "compare" / "1"
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0}).Reload()
    images = {tag.removeprefix("view/").replace(" ", "_") for tag in accumulator.Tags()["images"]}
    assert images == {path.stem for path in folder.glob("figures/*.png")} == {"by_optimizer.lr", "curves"}
    (text,) = accumulator.Tensors("compare")
    assert "| optimizer.lr | best/accuracy |" in text.tensor_proto.string_val[0].decode()
