"""The only writer of a run folder: .hydra/, TensorBoard's events, metrics.jsonl, summary.json."""

import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from filelock import FileLock, Timeout

from dl_lab.core.atomic_io import atomic_write, name_in_errors
from dl_lab.core.errors import ConfigError
from dl_lab.runs import tensorboard
from dl_lab.runs.identity import configuration_name, hyperparameters
from dl_lab.runs.provenance import provenance
from dl_lab.runs.tensorboard import EventWriter

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

COMMAND = ("python", "-m", "dl_lab.train")
as_json = json.JSONEncoder(allow_nan=False).encode  # json.dumps makes one anew
OURS = ("metrics.jsonl", "summary.json", "checkpoints", ".hydra/config.yaml")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())


def as_yaml(values: Any) -> str:
    """Plain values as YAML, in their order; by libyaml where PyYAML has it, ten times as fast."""
    text: str = yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    return text


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json; numbers that are not finite become null, which JSON knows."""
    finite = json.loads(json.dumps(summary), parse_constant=lambda constant: None)
    write_text(folder / "summary.json", json.dumps(finite, indent=2) + "\n")


def forget_after(folder: Path, step: int) -> float:
    """Take out of a run's record what lies behind `step`, and how it ended. Returns the time of the last event of
    TensorBoard's that stays.
    """
    for beside in folder.rglob("*.partial"):  # of a process that was killed while it wrote
        beside.unlink()
    kept = []
    path = folder / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):  # the last line of a run that was killed
            point = json.loads(line)
            if point["step"] <= step and point["split"] != "test":
                kept.append(line + "\n")
    write_text(path, "".join(kept))
    latest = tensorboard.cut(folder, step or -1)  # from the start: nothing is left
    (folder / "summary.json").unlink(missing_ok=True)
    return latest


def note_resumption(folder: Path, step: int, overrides: list[str]) -> None:
    """Add to .hydra/resumed.yaml from where a run goes on, and with which overrides that it did not have."""
    path, given = folder / ".hydra" / "resumed.yaml", folder / ".hydra" / "overrides.yaml"
    if not given.exists():  # a job of a sweep that was interrupted, or refused, before its record began
        return
    before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
    had = yaml.safe_load(given.read_text(encoding="utf-8"))
    added = [override for override in overrides if override not in had]
    write_text(path, yaml.safe_dump([*before, {"step": step, "overrides": added}]))


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go of if this process is killed.

    Raises:
        ConfigError: if another process holds it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(f"{folder} is being written by another run; allowed: another folder") from None
    try:
        yield
    finally:
        with suppress(OSError):  # the folder has become read-only: the file stays, unlocked
            (folder / ".lock").unlink(missing_ok=True)
        lock.release()


def discard(folder: Path) -> None:
    """Take away a record that could not be begun, as far as the disk lets us."""
    for name in (*OURS[:-1], ".hydra"):
        path = folder / name
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.unlink(missing_ok=True)


class Logbook:
    """Keeps the record of one run. Nothing here waits for the device: it is given plain numbers."""

    def __init__(self, folder: Path, config: Mapping[str, Any], overrides: list[str], resumed_at: int | None = None):
        """Start the record in `folder`, or go on with the one that is there from step `resumed_at`.

        Raises:
            ConfigError: if the folder already holds a run, or another process writes it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        self._metrics_path = folder / "metrics.jsonl"
        self._about = {**provenance(), "command": shlex.join([*COMMAND, *overrides])}
        with ExitStack() as opened:
            opened.enter_context(sole_writer(folder))
            taken = [name for name in OURS if (folder / name).exists()]  # not before: another may have ended just now
            if taken and resumed_at is None:
                raise ConfigError(
                    f"hydra.run.dir={folder} already holds a run ({taken[0]}); "
                    f"allowed: a new folder, or resume={folder}"
                )
            try:
                self._open(opened, config, overrides, resumed_at)
            except OSError:
                if resumed_at is None:
                    discard(folder)
                raise
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack, config: Mapping[str, Any], overrides: list[str], resumed_at: int | None) -> None:
        (self.folder / ".hydra").mkdir(exist_ok=True)
        latest = 0.0
        if resumed_at is not None:
            latest = forget_after(self.folder, resumed_at)
            note_resumption(self.folder, resumed_at, overrides)
        composed = as_yaml(dict(config))
        write_text(self.folder / ".hydra" / "overrides.yaml", as_yaml(overrides))
        write_text(self.folder / ".hydra" / "config.yaml", composed)  # with it the folder holds a run
        self.checkpoints.mkdir(exist_ok=True)
        self._metrics_path.touch()
        self._events = opened.enter_context(closing(EventWriter(self.folder, latest)))
        if not resumed_at:
            self._events.text("config", f"```yaml\n{composed}```", 0)
            values = hyperparameters(config)
            group = configuration_name(values)
            values.pop("seed", None)  # the sessions of a group differ in it
            self._events.hparams_start(values, group)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with name_in_errors(self._metrics_path):
                self._opened.close()
        except OSError:
            if kind is None:  # else the disk's first refusal is the one to tell of
                raise

    def flush(self) -> None:
        """Give what was recorded to the system: no checkpoint is ahead of its record if this process is killed."""
        self._events.flush()

    def record(self, split: str, step: int, epoch: float, metrics: Mapping[str, float], **only_shown: float) -> None:
        """One line of metrics.jsonl, and the same scalars for TensorBoard under `split`/; `only_shown` (speeds, which
        differ from run to run) goes to TensorBoard alone.
        """
        finite = {name: value if isfinite(value) else None for name, value in metrics.items()}
        line = {"step": step, "epoch": epoch, "split": split, **finite}
        with (
            name_in_errors(self._metrics_path),
            self._metrics_path.open("a", encoding="utf-8") as file,
        ):  # a stack has hundreds
            file.write(as_json(line) + "\n")
        tagged = {f"{split}/{name}": value for name, value in {**metrics, **only_shown}.items()}
        self._events.scalars({**tagged, "epoch": epoch}, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """A text for TensorBoard, shown with its line breaks."""
        self._events.text(tag, "\n".join("    " + line for line in text.splitlines()), step)

    def draw(self, figures: "Mapping[str, Figure]", histograms: "Mapping[str, Tensor]", step: int) -> None:
        """Figures for TensorBoard's IMAGES tab and distributions for HISTOGRAMS; what is not finite is left out."""
        for tag, figure in figures.items():
            self._events.figure(tag, figure, step)
        for tag, tensor in histograms.items():
            values = tensor.detach().cpu().double().flatten()
            if len(values := values[values.isfinite()]):
                self._events.histogram(tag, values.numpy(), step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, and the best metrics and the status for the HPARAMS tab. A run whose record cannot be
        written to its end has failed, and can be resumed.
        """
        best = summary.get("best") or {}
        scalars = {f"best/{name}": value for name, value in best.items() if name not in ("step", "epoch")}
        try:
            if scalars:
                self._events.scalars(scalars, int(best["step"]))
            self._events.hparams_end(summary["status"] == "completed")
            self.flush()
        except OSError as error:
            with suppress(OSError):
                failed = {"status": "failed", "reason": summary.get("reason") or str(error)}
                write_summary(self.folder, {**summary, **self._about, **failed})
            raise
        write_summary(self.folder, {**summary, **self._about})
