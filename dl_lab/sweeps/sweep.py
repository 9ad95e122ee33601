"""A sweep from its folder to its last line: which jobs there are, which are left, what came out. No torch."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf, open_dict

from dl_lab.config.compose import refuse_added_keys
from dl_lab.config.messages import explain
from dl_lab.core.errors import INTERRUPTED, ConfigError, JobsFailed, Stopped
from dl_lab.core.signals import sigterm_raises
from dl_lab.data.spec import higher_is_better
from dl_lab.runs.identity import digest, signature
from dl_lab.sweeps.compose import Composer
from dl_lab.sweeps.config import GridConfig
from dl_lab.sweeps.job import FAILED, Job, Report, Runner, named
from dl_lab.sweeps.manifest import ENDED, NAME, Entry, Manifest, resolved

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.utils import JobReturn


class Sweep:
    """The sweep in one folder, which no other process writes while the context is open."""

    def __init__(self, config: DictConfig, settings: GridConfig, loader: "ConfigLoader", total: int):
        """Begin the sweep that `config` describes, of `total` jobs, or go on with the one in `settings.resume`.

        Raises:
            ConfigError: if the folder has a sweep already, has none to go on with, or another process writes it.
        """
        self.folder = folder_of(config, settings)
        self._lock = FileLock(self.folder / ".lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ConfigError(f"{self.folder} is being written by another sweep; allowed: another folder") from None
        self.manifest = Manifest(self.folder, shlex.join(["python", "-m", "dl_lab.train", *sys.argv[1:]]))
        if not (own := self.folder / "multirun.yaml").exists():
            OmegaConf.save(config, own)  # as Hydra's own sweeper does
        self.settings = settings
        self._composer = Composer(loader, config)
        self._wanted: dict[int, Entry] = {}  # the jobs of this command
        self._report = Report(self.manifest, settings, total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.manifest.write()
        self._report.close()
        self._lock.release()

    def launch(self, job_overrides: Sequence[Sequence[str]], run: Runner) -> list[Entry]:
        """Run the jobs with these overrides, but for those that have ended before. Returns what became of each.

        Raises:
            Stopped: if a signal stopped it, after all is recorded.
        """
        try:
            planned = self._plan(job_overrides)
            entries = [self.manifest[job.number] for job, _ in planned]
            self._wanted |= {entry.number: entry for entry in entries}
            self.manifest.write()  # before any runs, so that no run folder is without its entry
            with sigterm_raises():
                if jobs := self._left(planned):
                    run(jobs, self._report)
        except (KeyboardInterrupt, Stopped) as stopped:
            status = stopped.status if isinstance(stopped, Stopped) else INTERRUPTED
            again = f"go on with the same command and sweep.resume={shlex.quote(str(self.folder))}"
            raise Stopped(f"stopped; {again}", status) from None
        finally:
            self.manifest.write()
        return entries

    def _left(self, planned: list[tuple[Job, str | None]]) -> list[Job]:
        """The jobs that are to be run: they have not ended before and were not refused."""
        left = []
        for job, refused in planned:
            if self.manifest[job.number].status in ENDED:
                self._report.passed(self.manifest[job.number])
            elif refused is not None:
                self._report.started(job)
                self._report.ended(job, "failed", None, refused)
            else:
                left.append(job)
        return left

    def _plan(self, job_overrides: Sequence[Sequence[str]]) -> list[tuple[Job, str | None]]:
        """Each job, and why it was refused, if it was. One that the manifest has keeps its number and folder."""
        planned, taken = [], set[int]()
        for overrides in map(list, job_overrides):
            config, values, refused = self._compose(overrides)
            computed = digest({"overrides": overrides}) if values is None else signature(values)
            entry = self.manifest.find(computed, overrides, taken) or self._new(computed, overrides, config)
            taken.add(entry.number)
            folder = self.folder / entry.folder
            job = Job(entry.number, entry.overrides, config, values, folder, folder.exists())
            if config is not None:
                self._place(config, entry, job.resumes)
            planned.append((job, refused))
        return planned

    def _compose(self, overrides: list[str]) -> tuple[DictConfig | None, dict[str, Any] | None, str | None]:
        """A job's configuration, its values, and why it was refused, if it was."""
        try:
            config = self._composer.compose(overrides)
            refuse_added_keys(config, overrides)
            values = resolved(config)
        except Exception as error:
            if (reason := explain(error)) is None:
                raise
            return None, None, reason
        if self.manifest.objective is None:
            self.manifest.objective = f"val/{config.train.best}"
        return config, values, None

    def _new(self, computed: str, overrides: list[str], config: DictConfig | None) -> Entry:
        number = self.manifest.next_number()
        folder = str(number)
        if config is not None:
            config.hydra.job.num = number
            folder = str(config.hydra.sweep.subdir)
        return self.manifest.add(Entry(number=number, overrides=overrides, signature=computed, folder=folder))

    def _place(self, config: DictConfig, entry: Entry, resumes: bool) -> None:
        """Tell a job's configuration its number and folder, and whether it goes on with what is there."""
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = entry.number
            config.hydra.sweep.dir, config.hydra.sweep.subdir = str(self.folder), entry.folder
            config.sweep.resume = str(self.folder) if resumes else None

    def returned(self, entry: Entry) -> "JobReturn":
        """What Hydra's launchers return of a job."""
        from hydra.core.utils import JobReturn, JobStatus

        if entry.status in FAILED:
            return JobReturn(entry.overrides, status=JobStatus.FAILED, _return_value=JobsFailed(*named([entry])))
        return JobReturn(entry.overrides, status=JobStatus.COMPLETED, _return_value=self.value(entry))

    def value(self, entry: Entry) -> float | None:
        """The best validation of the metric that chooses checkpoints."""
        return entry.metrics.get(str(self.manifest.objective).removeprefix("val/"))

    def higher_is_better(self) -> bool:
        """Whether more of the objective is better."""
        return higher_is_better(str(self.manifest.objective))

    def finish(self, told: Sequence[str] = ()) -> None:
        """Say what came out and where it lies.

        Raises:
            JobsFailed: if jobs failed, with a line for each.
        """
        where = shlex.quote(str(self.folder))
        self._report.close()
        doors = [f"look     tensorboard --logdir {where}", f"compare  python -m dl_lab.compare {where}"]
        print("\n".join([*told, f"sweep    {self.folder}", *doors]), flush=True)
        failed = [self._wanted[number] for number in sorted(self._wanted) if self._wanted[number].status in FAILED]
        open_ones = [entry for entry in self._wanted.values() if entry.status not in (*ENDED, *FAILED)]
        lines = [f"{len(failed)} of {len(self._wanted)} jobs failed:", *named(failed)] if failed else []
        if open_ones:  # their process was stopped, and not by us
            again = f"go on with the same command and sweep.resume={where}"
            lines.append(f"{len(open_ones)} of {len(self._wanted)} jobs have not ended; {again}")
        if lines:
            raise JobsFailed("\n".join(lines))


def folder_of(config: DictConfig, settings: GridConfig) -> Path:
    """The folder of the sweep, which is there; that of `settings.resume` becomes the one of `config`.

    Raises:
        ConfigError: if a new sweep has one in it already, or one to go on with has none.
    """
    if settings.resume is None:
        folder = Path(str(config.hydra.sweep.dir)).absolute()
        if (folder / NAME).exists():
            raise ConfigError(f"hydra.sweep.dir={folder} already holds a sweep; allowed: sweep.resume={folder}")
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(settings.resume).expanduser().absolute()
        if not (folder / NAME).exists():
            raise ConfigError(f"sweep.resume={settings.resume} holds no {NAME}; allowed: the folder of a sweep")
    with open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{folder}'")  # for launchers that compose by themselves
    return folder
