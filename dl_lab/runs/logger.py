"""Write a run folder: .hydra/, TensorBoard events, metrics.jsonl and summary.json."""

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from dl_lab.core.atomic_io import atomic_write, name_in_errors, no_links, remove_partial
from dl_lab.core.errors import ConfigError
from dl_lab.runs import tensorboard
from dl_lab.runs.folders import Snapshot, contents, locked, refuse_links, snapshot
from dl_lab.runs.identity import MOVED, Scalars, configuration_name, hyperparameters
from dl_lab.runs.naming import key_of
from dl_lab.runs.provenance import provenance
from dl_lab.runs.reader import read_lines, read_overrides, read_resumptions
from dl_lab.runs.tensorboard import EventWriter, event_folder
from dl_lab.runs.tensorboard_names import SHOWN_COLUMNS, tag_of
from dl_lab.runs.user_code import hashes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

FINAL = ("test", "best")  # splits of the lines that only a finished run has
COMMAND = ("python", "-m", "dl_lab.train")
as_json = json.JSONEncoder(allow_nan=False).encode  # json.dumps creates an encoder in each call


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def as_yaml(values: Any) -> str:
    """Plain values as YAML, in their order. libyaml, where it is installed, is ten times as fast."""
    text: str = yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    return text


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json; numbers that are not finite become null, because JSON has no others."""
    finite = json.loads(json.dumps(summary), parse_constant=lambda constant: None)
    write_text(folder / "summary.json", json.dumps(finite, indent=2) + "\n")


def rewind(folder: Path, events: Path, step: int) -> float:
    """Remove from a run folder and its `events` the points after `step`, and the summary. Returns the time of the last
    TensorBoard event that remains.
    """
    for written in (folder, folder / ".hydra", folder / "checkpoints"):
        remove_partial(written)
    path = folder / "metrics.jsonl"
    if path.exists():
        kept = [line for line, point in read_lines(path) if point["step"] <= step and point["split"] not in FINAL]
        write_text(path, "".join(f"{line}\n" for line in kept))
    latest = tensorboard.rewind(events, step or -1)  # at step 0 everything is removed
    (folder / "summary.json").unlink(missing_ok=True)
    return latest


def record_resumption(folder: Path, step: int, overrides: list[str]) -> None:
    """Append to .hydra/resumed.yaml the step from which a run continues, and its new overrides."""
    if not (folder / ".hydra" / "overrides.yaml").exists():  # a job that was interrupted before its first record
        return
    earlier = read_overrides(folder)
    new = [override for override in overrides if override not in earlier]
    resumption = {"step": step, "overrides": new}
    write_text(folder / ".hydra" / "resumed.yaml", yaml.safe_dump([*read_resumptions(folder), resumption]))


def discard(folder: Path, events: Path) -> None:
    """Remove the files of a run whose start could not be recorded, as far as the disk permits."""
    for name in ("metrics.jsonl", ".hydra/config.yaml", ".hydra/overrides.yaml"):
        with suppress(OSError):
            (folder / name).unlink()
    for path in {folder / "checkpoints", folder / ".hydra", events} - {folder}:
        with suppress(OSError):  # one with files of the user remains
            path.rmdir()


def columns(config: Mapping[str, Any], folder: Path) -> Scalars:
    """The hyperparameters and the folder of a run, as HPARAMS show them. The sessions of a row differ in the seed."""
    values = {key: value for key, value in hyperparameters(config).items() if key != "seed"}
    short = {key: "/".join(Path(str(values[key])).parts[-2:]) for key in MOVED if key in values}
    return {**values, **short, "folder": end_of(folder.absolute())}


def end_of(path: Path, most: int = 16) -> str:
    """The last parts of a path, at least one, in up to `most` characters, of which a column shows no more."""
    end, *others = reversed(path.parts)
    for part in others:
        if len(part) + 1 + len(end) > most:
            break
        end = f"{part}/{end}"
    return end


class RunLogger:
    """Records one run in its folder. Values are plain numbers, so that no method waits for the device."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        overrides: list[str],
        resumed_at: int | None = None,
        seen: Snapshot | None = None,
        metrics: Sequence[str] = ("loss",),
        varied: Sequence[str] = (),
    ):
        """Open a new run folder, or the folder of a run that continues from step `resumed_at`, as found in files that
        have been `seen`. TensorBoard shows `metrics` first, the main one before the loss. `varied` are the overrides in
        which the jobs of a sweep differ.

        Raises:
            ConfigError: if the folder already holds a run, or another process writes it or has written it since.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        self._metrics_path = folder / "metrics.jsonl"
        self._event_folder = event_folder(folder, varied)
        self._metrics, self._names = metrics, set[str]()
        self._varied = {key_of(override) for override in varied}
        command = shlex.join([*COMMAND, *overrides])
        self._provenance = {**provenance(), "imports": hashes(config.get("imports", ())), "command": command}
        with ExitStack() as opened:
            opened.enter_context(locked(folder, "run"))
            refuse_links(folder / ".hydra", folder / "checkpoints", self._event_folder)
            if (taken := contents(folder)) and resumed_at is None:  # checked with the lock held
                held = f"hydra.run.dir={folder} already holds a run ({taken[0]})"
                raise ConfigError(f"{held}; hint: choose a new folder, or continue that run with resume={folder}")
            if resumed_at is not None and seen != snapshot(folder):
                raise ConfigError(f"{folder} was written by another process meanwhile; hint: give the command again")
            try:
                self._open(opened, config, overrides, resumed_at)
            except OSError:
                if not taken:
                    discard(folder, self._event_folder)
                raise
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack, config: Mapping[str, Any], overrides: list[str], resumed_at: int | None) -> None:
        (self.folder / ".hydra").mkdir(exist_ok=True)
        latest = 0.0
        if resumed_at is not None:
            latest = rewind(self.folder, self._event_folder, resumed_at)
            record_resumption(self.folder, resumed_at, overrides)
        composed = as_yaml(dict(config))
        write_text(self.folder / ".hydra" / "overrides.yaml", as_yaml(overrides))
        write_text(self.folder / ".hydra" / "config.yaml", composed)  # from now on the folder holds a run
        self.checkpoints.mkdir(exist_ok=True)
        if not self._metrics_path.exists():
            with open(self._metrics_path, "xb", opener=no_links):
                pass
        self._events = opened.enter_context(closing(EventWriter(self._event_folder, latest)))
        self._columns = columns(config, self.folder)
        if not resumed_at:
            self._events.text("config", f"```yaml\n{composed}```", 0)
            self._events.hparams_start(self._columns, configuration_name(hyperparameters(config)))
            charts = self._metrics[self._metrics.index("loss") :: -1]
            self._events.line_charts({name: [f"train/{name}", f"val/{name}"] for name in charts})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with name_in_errors(self._metrics_path):
                self._opened.close()
        except OSError:
            if kind is None:  # otherwise the first error is the one to report
                raise

    def flush(self) -> None:
        """Write buffered events, so that no checkpoint is ahead of the events if this process is killed."""
        self._events.flush()

    def record(self, split: str, step: int, epoch: float, metrics: Mapping[str, float], **only_shown: float) -> None:
        """Append a line to metrics.jsonl, and the same scalars to TensorBoard under `split`/. `only_shown` goes to
        TensorBoard alone: speeds, which no rerun reproduces.
        """
        self.append(split, step, epoch, metrics)
        tagged = {f"{split}/{name}": value for name, value in {**metrics, **only_shown}.items()}
        if split != "test":  # at the best step, to which a curve would go back
            tagged["epoch"] = epoch
        self._scalars(tagged, step)

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        self._names.update(values)
        self._events.scalars({tag_of(name): value for name, value in values.items()}, step)

    def append(self, split: str, step: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl; a number that is not finite becomes null."""
        finite = {name: value if isfinite(value) else None for name, value in metrics.items()}
        line = {"step": step, "epoch": epoch, "split": split, **finite}
        # not kept open: a stack has hundreds of runs
        with name_in_errors(self._metrics_path), open(self._metrics_path, "ab", opener=no_links) as file:
            file.write(as_json(line).encode() + b"\n")

    def text(self, tag: str, text: str, step: int) -> None:
        """Add a text to TensorBoard; it keeps its line breaks."""
        self._events.text(tag, "\n".join("    " + line for line in text.splitlines()), step)

    def draw(self, figures: "Mapping[str, Figure]", histograms: "Mapping[str, Tensor]", step: int) -> None:
        """Add figures to TensorBoard's IMAGES tab and distributions of the finite values to HISTOGRAMS."""
        for tag, figure in figures.items():
            self._events.figure(f"view/{tag}", figure, step)  # sorts after val
        for tag, tensor in histograms.items():
            values = tensor.detach().cpu().double().flatten()
            if len(values := values[values.isfinite()]):
                self._events.histogram(f"view {tag}", values.numpy(), step)

    def _ranked(self) -> list[str]:
        """The metrics of HPARAMS in their order. Those of other tasks, which are listed because one run describes the
        columns of all, come behind the ones that TensorBoard shows.
        """
        wanted = [f"{part}/{name}" for name in self._metrics for part in ("best", "test")]
        own = [*wanted[:4], f"train/{self._metrics[0]}", *sorted(self._names)]
        own = [name for name in dict.fromkeys(own) if name in self._names]
        return list(dict.fromkeys([*own[:SHOWN_COLUMNS], *wanted, *own]))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, and the best metrics, the warnings and the status to TensorBoard. If the last events
        cannot be written, the status becomes failed, so that the run can be resumed.
        """
        best = summary.get("best") or {}
        scalars = {f"best/{name}": value for name, value in best.items() if name not in ("step", "epoch")}
        try:
            if scalars:
                self._scalars(scalars, int(best["step"]))
                self._events.hparams_columns(self._columns, self._varied, self._ranked())
            if warnings := summary.get("warnings"):
                self.text("warnings", "\n".join(warnings), int(summary["steps"]))
            self._events.hparams_end(summary["status"] == "completed")
            self.flush()
        except OSError as error:
            with suppress(OSError):
                failed = {"status": "failed", "reason": summary.get("reason") or str(error)}
                write_summary(self.folder, {**summary, **self._provenance, **failed})
            raise
        write_summary(self.folder, {**summary, **self._provenance})
