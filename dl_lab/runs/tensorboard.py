"""Write TensorBoard events with its own protocol buffers. torch.utils.tensorboard takes seconds to import, and needs a
sub-run for hyperparameters.
"""

import os
import re
import socket
import time
from collections.abc import Collection, Iterable, Mapping
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from dl_lab.core.atomic_io import atomic_write, is_plain, name_in_errors, no_links
from dl_lab.core.errors import printable
from dl_lab.runs.tensorboard_names import FIRST_COLUMNS, SHOWN_COLUMNS, column_of, run_name, tag_of
from dl_lab.runs.tfrecord import record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINAL_TAGS = ("~best/", "~test/", "best/", "test/", "warnings", "_hparams_/session_end_info", "_hparams_/experiment")
OURS = re.compile(r"events\.out\.tfevents\.\d+\..+\.\d+\.\d+\.dl_lab")  # event files that no other program writes
DT_DOUBLE, DT_STRING = 2, 7  # of tensorboard.compat.proto.types_pb2


def event_folder(folder: Path, overrides: Iterable[str]) -> Path:
    """Where the event files of the run in `folder` are or will be: in the folder itself, or for a job of a sweep in one
    that is named after the `overrides` in which the jobs differ, because TensorBoard names runs after their folders.
    """
    for path in (*folder.glob("events.out.tfevents.*"), *folder.glob("*=*/events.out.tfevents.*")):
        if OURS.fullmatch(path.name) and is_plain(path):
            return path.parent
    return folder / run_name(overrides)


def rewind(folder: Path, step: int) -> float:
    """Remove from our event files all events after `step`, the final events of a finished run and incomplete records,
    so that the curves of a resumed run are continuous. Returns the time of the last event that remains.
    """
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    latest = 0.0
    for path in folder.glob("events.out.tfevents.*"):
        if not (OURS.fullmatch(path.name) and is_plain(path)):
            continue
        with atomic_write(path) as file:
            for content in RawEventFileLoader(str(path)).Load():
                event = Event.FromString(content)
                if event.step <= step and not any(value.tag.startswith(FINAL_TAGS) for value in event.summary.value):
                    file.write(record(content))
                    latest = max(latest, event.wall_time)
    return latest


def new_event_file(folder: Path) -> Path:
    """An unused name for an event file. TensorBoard orders files by the time in their names, so it is later than those
    of all others in the folder, even if the clock was set back.
    """
    others = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    moment = max([int(time.time()), *(int(other) + 1 for other in others if other.isdigit())])
    stem = f"events.out.tfevents.{moment:010d}.{socket.gethostname()}.{os.getpid()}"
    return next(path for number in count() if not os.path.lexists(path := folder / f"{stem}.{number}.dl_lab"))


class EventWriter:
    """Writes one event file. Unlike TensorBoard's own writer it has no thread and keeps no file open: a stack has
    hundreds of writers, and the error of a full disk is raised where it happens.
    """

    FLUSH_SECONDS = 10

    def __init__(self, folder: Path, latest: float = 0.0):
        """The times of events never decrease, and start at `latest`, even if the clock is set back."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = new_event_file(folder)
        self._buffer = BytesIO()
        self._written, self._latest = 0, latest
        self._write(Event(file_version="brain.Event:2"))
        self.flush()

    def _write(self, event: Event) -> None:
        self._latest = event.wall_time = max(time.time(), self._latest)
        self._buffer.write(record(event.SerializeToString()))

    def _add(self, values: list[Summary.Value], step: int) -> None:
        self._write(Event(step=step, summary=Summary(value=values)))
        if time.monotonic() - self._flushed > self.FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Append the buffer to the file; on an error such as a full disk the file keeps its former length."""
        content = self._buffer.getvalue()
        with name_in_errors(self.path):
            try:
                with open(self.path, "ab" if self._written else "xb", opener=no_links) as file:
                    file.write(content)
            except OSError:
                if is_plain(self.path):
                    os.truncate(self.path, self._written)
                raise
        self._written += len(content)
        self._buffer.seek(0)
        self._buffer.truncate()
        self._flushed = time.monotonic()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each tag."""
        self._add([Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()], step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Add a text to the TEXT tab."""
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[markdown.encode(errors="backslashreplace")],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        self._add([Summary.Value(tag=tag, metadata=metadata, tensor=tensor)], step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """Add a matplotlib figure to the IMAGES tab."""
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        width, height = (int(inches * 100) for inches in figure.get_size_inches())
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=buffer.getvalue())
        self._add([Summary.Value(tag=tag, image=image)], step)

    def histogram(self, tag: str, values: NDArray[np.floating[Any]], step: int) -> None:
        """Add a distribution in 30 bins to the HISTOGRAMS tab."""
        counts, edges = np.histogram(values, bins=30)
        table = np.column_stack([edges[:-1], edges[1:], counts]).astype(np.float64)
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="histograms"))
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in table.shape])
        tensor = TensorProto(dtype=DT_DOUBLE, tensor_content=table.tobytes(), tensor_shape=shape)
        self._add([Summary.Value(tag=tag, metadata=metadata, tensor=tensor)], step)

    def _hparams(self, tag: str, content: plugin_data_pb2.HParamsPluginData) -> None:
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
        self._add([Summary.Value(tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=plugin))], 0)

    def hparams_start(self, values: Mapping[str, float | str | bool], group: str) -> None:
        """Start a session of the HPARAMS tab. All sessions of a `group` share a row with the `values` of the first one
        and the mean of their metrics.
        """
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time(), group_name=printable(group))
        for name, value in values.items():
            setattr(
                start.hparams[column_of(name)], _kind_of(value), printable(value) if isinstance(value, str) else value
            )
        self._hparams("session_start_info", plugin_data_pb2.HParamsPluginData(version=0, session_start_info=start))

    def hparams_columns(
        self, values: Mapping[str, float | str | bool], varied: Collection[str], metrics: list[str]
    ) -> None:
        """Describe the columns of the HPARAMS tab: those of FIRST_COLUMNS, then those that are `varied`, next to the
        metrics, in their order. TensorBoard takes the first description that it finds, for all runs that it shows.
        Without one it would start with the curves of training, which come first in SCALARS. It sorts columns by
        `differs`, then by name.
        """
        varied = [key for key in values if key in varied]
        others = sorted((key for key in FIRST_COLUMNS if key in values and key not in varied), key="folder".__ne__)
        front = {*others[: max(SHOWN_COLUMNS - len(varied), 1)], *(key for key in varied if key not in FIRST_COLUMNS)}
        kinds = {"number_value": "FLOAT64", "string_value": "STRING", "bool_value": "BOOL"}
        columns = [
            api_pb2.HParamInfo(
                name=column_of(key),
                display_name=key,
                type=api_pb2.DataType.Value(f"DATA_TYPE_{kinds[_kind_of(value)]}"),
                differs=key in front,
            )
            for key, value in values.items()
        ]
        shown = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag_of(name)), display_name=name) for name in metrics]
        experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=shown)
        self._hparams("experiment", plugin_data_pb2.HParamsPluginData(version=0, experiment=experiment))

    def hparams_end(self, succeeded: bool) -> None:
        """End the session with its status."""
        status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        self._hparams("session_end_info", plugin_data_pb2.HParamsPluginData(version=0, session_end_info=end))

    def margin_charts(self, category: str, tags: list[str]) -> None:
        """Add charts, one per tag, to the CUSTOM SCALARS tab: TAG/mean between TAG/lower and TAG/upper of every run."""
        charts = []
        for tag in tags:
            series = layout_pb2.MarginChartContent.Series(
                value=f"{tag}/mean", lower=f"{tag}/lower", upper=f"{tag}/upper"
            )
            charts.append(layout_pb2.Chart(title=tag, margin=layout_pb2.MarginChartContent(series=[series])))
        self._custom_scalars([layout_pb2.Category(title=printable(category), chart=charts)])

    def line_charts(self, charts: Mapping[str, list[str]]) -> None:
        """Add charts by title, each with several tags, to the CUSTOM SCALARS tab. Each has a category of its own,
        because TensorBoard loses charts where it merges categories of several runs.
        """
        categories = []
        for title, tags in charts.items():
            lines = layout_pb2.MultilineChartContent(tag=[f"^{re.escape(tag)}$" for tag in tags])
            categories.append(layout_pb2.Category(title=title, chart=[layout_pb2.Chart(title=title, multiline=lines)]))
        self._custom_scalars(categories)

    def _custom_scalars(self, categories: list[layout_pb2.Category]) -> None:
        layout = layout_pb2.Layout(category=categories)
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="custom_scalars"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()], tensor_shape=TensorShapeProto())
        self._add([Summary.Value(tag="custom_scalars__config__", metadata=metadata, tensor=tensor)], 0)

    def close(self) -> None:
        """Write what is buffered."""
        self.flush()


def _kind_of(value: float | str | bool) -> str:
    """The field of a protocol buffer's Value."""
    return {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
