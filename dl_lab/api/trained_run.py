"""A run in its folder: what was measured, and the model to predict with."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dl_lab.api import process
from dl_lab.api.figures import Figures, curves_of
from dl_lab.core.errors import ConfigError, unknown
from dl_lab.core.formatting import format_metrics
from dl_lab.core.paths import user_path
from dl_lab.core.progress import announce
from dl_lab.datasets.memory import held
from dl_lab.inference.trained import Trained, load_trained
from dl_lab.runs.reader import read_configuration, read_lines, read_summary

if TYPE_CHECKING:
    import polars as pl

    from dl_lab.inference.exporting.export import Target
    from dl_lab.training.state import Plan

INDEX = ("step", "epoch", "split")  # of a point; the others are metrics


@dataclass(frozen=True, repr=False)
class Run:
    """A run. Its folder is read at each access, so it also shows a run that another process is training."""

    folder: Path
    checkpoint: str = "best"
    device: str = "auto"
    imports: tuple[str, ...] = ()  # never taken from the folder, because importing runs code
    data: Any = field(default=None, compare=False)  # the examples in memory that it was trained on

    @property
    def summary(self) -> dict[str, Any]:
        """The contents of summary.json: status, metrics, seconds, versions; empty until the run has ended."""
        return read_summary(self.folder)

    @property
    def status(self) -> str:
        """How the run ended: completed, stopped, diverged, failed; or "unfinished"."""
        return str(self.summary.get("status", "unfinished"))

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration."""
        return read_configuration(self.folder)

    @property
    def metrics(self) -> "pl.DataFrame":
        """The lines of metrics.jsonl. `.to_pandas()` converts them, if pandas and pyarrow are installed."""
        with process.call():
            import polars as pl

            points = [point for _, point in read_lines(self.folder / "metrics.jsonl")]
        names = dict.fromkeys(name for point in points for name in point) or INDEX
        types = {name: {"step": pl.Int64(), "split": pl.String()}.get(name, pl.Float64()) for name in names}
        return pl.DataFrame(points, schema=types)

    @cached_property
    def trained(self) -> Trained:
        """The model of the checkpoint and its preprocessing. Needs no data."""
        with process.call():
            return load_trained(self.folder, self.checkpoint, self.device, list(self.imports))

    @property
    def model(self) -> nn.Module:
        """The model of the checkpoint, in evaluation mode."""
        return self.trained.model

    def predict(self, x: Any) -> "pl.DataFrame":
        """Predictions for new rows (a dataframe, or an array with the columns of the training data), pictures (paths or
        pixels) or a text.
        """
        trained = self.trained
        with process.call():
            from dl_lab.inference.predictions import predict

            return predict(trained, x)

    def evaluate(self, split: str = "test", *, data: Any = None, path: str | Path | None = None) -> dict[str, float]:
        """The metrics of the checkpoint on a split of its data, which are read again; or on other labelled data:
        `data=(X, y)` in memory, as for `dl_lab.run`, or the file or folder `path`.

        Raises:
            ConfigError: for an unknown split, data that do not fit the model, or both `data` and `path`.
        """
        if data is not None and path is not None:
            raise ConfigError(f"path={path} and data=(X, y) are both given; allowed: one of them")
        if data is not None or path is not None:
            return self._evaluated_on(data, path)
        with process.call():
            from dl_lab.training import loop

            plan, model = self._with_data()
            splits = {name: getattr(plan.data, name, None) for name in ("train", "validation", "test")}
            if (chosen := splits.get(split)) is None:
                known = ", ".join(name for name, each in splits.items() if each is not None)
                raise ConfigError(f"split={split} does not exist in this dataset; allowed: {known}")
            return loop.evaluate(model, plan, chosen, at_end=True)

    def _evaluated_on(self, data: Any, path: str | Path | None) -> dict[str, float]:
        trained = self.trained
        with process.call():
            from dl_lab.api.examples import examples_of
            from dl_lab.inference import labelled
            from dl_lab.inference.targets import target_columns

            if path is not None:
                return labelled.evaluate_on(trained, user_path(str(path), "path"))
            columns = [str(column["name"]) for column in trained.preprocessing.columns]
            examples = examples_of(data, columns, target_columns(trained))
            plan = labelled.plan_of_memory(trained, examples.frame, examples.pixels)
            return labelled.metrics_of(trained, plan)

    def _with_data(self) -> "tuple[Plan, nn.Module]":
        from dl_lab.api.examples import examples_of
        from dl_lab.inference.restored import with_data

        with held(None if self.data is None else examples_of(self.data)):
            plan, model, _ = with_data(self.folder, self.checkpoint, list(self.imports), {}, device=self.device)
        return plan, model

    def export(self, to: "Target", out: str | Path | None = None) -> list[Path]:
        """Write the model for other programs, as "onnx", "torch" or "safetensors", to the folder `out`, by default one
        in the run folder. Returns the files, among them a script that uses the model without dl_lab.
        """
        trained = self.trained
        with process.call():
            from dl_lab.inference.exporting.export import NEEDS, export

            if to not in NEEDS:
                raise unknown("to", to, NEEDS)
            folder = self.folder / "export" / to if out is None else user_path(str(out), "out")
            exported = export(trained, to, folder)
            for note in exported.notes:
                announce(note)
            return exported.files

    @property
    def figures(self) -> Figures:
        """Figures by name: a curve of each metric, and, if the data are still there, those that TensorBoard shows."""
        figures = curves_of(self.metrics)
        with process.call():
            from dl_lab.training.visualize import figures_of

            try:
                plan, model = self._with_data()
            except ConfigError as error:
                announce(f"curves only: {error}")
                return figures
            return Figures(figures | figures_of(model, plan.data, plan.task))

    def __repr__(self) -> str:
        summary = self.summary
        parts = {name: summary.get(name) or {} for name in ("best", "test")}
        lines = [f"Run {self.status}, {summary.get('steps', 0)} steps: {self.folder}"]
        for name, metrics in parts.items():
            shown = {key: value for key, value in list(metrics.items())[:4] if isinstance(value, int | float)}
            lines += [f"  {name:<5} {format_metrics(shown)}"] if shown else []
        return "\n".join(lines)
