"""A sweep: its folder, its jobs, which of them still have to run, and its summary. Imports no torch."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from omegaconf import DictConfig, OmegaConf, open_dict

from dl_lab.config.compose import refuse_added_keys, with_new_keys
from dl_lab.config.messages import explain
from dl_lab.config.schema import GridConfig, RunSettings, TrainConfig
from dl_lab.config.validation import typed
from dl_lab.core.atomic_io import atomic_write, remove_partial
from dl_lab.core.errors import INTERRUPTED, ConfigError, JobsFailed, Stopped, counted, printable
from dl_lab.core.shell import word
from dl_lab.core.signals import termination_raises
from dl_lab.core.terminal import labelled
from dl_lab.data.spec import higher_is_better
from dl_lab.runs.folders import contents, inside, locked
from dl_lab.runs.identity import difference, digest, signature
from dl_lab.runs.naming import key_of
from dl_lab.runs.reader import holds_run, read_configuration
from dl_lab.sweeps.compose import Composer
from dl_lab.sweeps.job import Job, JobOutcome
from dl_lab.sweeps.manifest import Entry, Manifest, folder_of, resolved
from dl_lab.sweeps.report import Display, Runner, SweepReport, failure_lines, resuming, unresolved_lines
from dl_lab.sweeps.results import best_lines, differing, names

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.utils import JobReturn


class Sweep:
    """A sweep and its folder, which is locked while the context is open."""

    def __init__(self, config: DictConfig, settings: GridConfig, loader: "ConfigLoader", total: int):
        """Start the sweep of `total` jobs that `config` describes, or continue the one in `settings.resume`.

        Raises:
            ConfigError: if a new folder holds a sweep already, one to continue holds none, or another sweep locks it.
        """
        self.folder = folder_of(config, settings)
        self._lock = ExitStack()
        self._lock.enter_context(locked(self.folder, "sweep"))
        remove_partial(self.folder)
        self.manifest = Manifest(self.folder, shlex.join(["python", "-m", "dl_lab.train", *sys.argv[1:]]))
        self.settings, self._total = settings, total
        self._config, self._begun = config, False
        self._composer = Composer(loader, config)
        self._jobs: dict[int, Entry] = {}  # of this command
        self._planned: dict[str, Job] = {}  # by their whole configuration
        self.swept: set[str] = set()  # the keys of a search, whose first batch may be one job
        self._folders = {entry.folder: entry.number for entry in self.manifest.jobs}
        self._display = Display(total)
        self._report = SweepReport(self.manifest, self._display, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock, closing(self._display):
            try:
                self.save()
            except OSError:
                if kind is None:  # otherwise the first error is the one to report
                    raise

    def save(self) -> None:
        """Write the manifest, if jobs have begun."""
        if self._begun:
            self.manifest.write()

    def launch(self, job_overrides: Sequence[Sequence[str]], run: Runner) -> list[Entry]:
        """Run the jobs with these overrides that have no final result yet. Returns the manifest's entry of each job.

        Raises:
            ConfigError: if every job of the sweep is refused before it starts.
            Stopped: after a signal, when everything is recorded.
        """
        try:
            planned = self._plan(job_overrides)
            if (reason := planned[0][1]) and len(planned) == self._total and all(refused for _, refused in planned):
                raise ConfigError(reason)  # the mistake is in the command, and nothing is written
            entries = [self.manifest[job.number] for job, _ in planned]
            self._jobs |= {entry.number: entry for entry in entries}
            self._name(planned)
            self._begin()
            with termination_raises():
                if jobs := self._unfinished(planned):
                    self._refuse_changed_data(jobs, planned)
                    run(jobs, self._report)
        except (KeyboardInterrupt, Stopped) as stopped:
            status = stopped.status if isinstance(stopped, Stopped) else INTERRUPTED
            raise Stopped(f"stopped; hint: {resuming(self.folder)}", status) from None
        return entries

    def _name(self, planned: list[tuple[Job, str | None]]) -> None:
        """Name the jobs after what differs, on the terminal and in TensorBoard, for which Hydra's node has the keys in
        which they do not differ.
        """
        jobs = {number: entry.overrides for number, entry in self._jobs.items()}
        self._report.names = names(jobs)
        varied = self.swept or {key_of(override) for override in differing(jobs)}
        for job, _ in planned:
            job.varied = tuple(override for override in job.overrides if key_of(override) in varied)
            if job.config is not None:
                naming = job.config.hydra.job.config.override_dirname
                naming.exclude_keys = sorted({*naming.exclude_keys, *map(key_of, job.overrides)} - varied)

    def _begin(self) -> None:
        """Write the manifest before the first job, so that every run folder has an entry, and multirun.yaml, as Hydra's
        basic sweeper does.
        """
        if not self._begun:
            self._display.note(f"{counted(self._total, 'job')} in {self.folder}")
        self._begun = True
        self.manifest.write()
        if not (path := self.folder / "multirun.yaml").exists():
            with atomic_write(path) as file:
                file.write(OmegaConf.to_yaml(self._config).encode())

    def _unfinished(self, planned: list[tuple[Job, str | None]]) -> list[Job]:
        """Return the jobs without a final result. Report those that were refused as failed."""
        unfinished = []
        for job, refused in {job.number: (job, refused) for job, refused in planned}.values():
            if self.manifest[job.number].is_final:
                self._display.count(self.manifest[job.number])
            elif refused is not None:
                self._report.started(job)
                self._report.ended(job, JobOutcome("failed", refused))
            else:
                unfinished.append(job)
        return unfinished

    def _refuse_changed_data(self, jobs: Sequence[Job], planned: Sequence[tuple[Job, str | None]]) -> None:
        """Raise ConfigError if jobs would train on other data than finished jobs with the same dataset did."""
        finished: dict[str, Entry] = {}
        for job, _ in planned:
            if (entry := self.manifest[job.number]).is_final and entry.data is not None and job.values is not None:
                finished[digest(job.values["dataset"])] = entry
        for job in jobs:
            assert job.values is not None
            if (name := digest(job.values["dataset"])) in finished:
                from dl_lab.config.parse import parse  # imports torch
                from dl_lab.training.setup import build_data, refuse_other_data

                entry, config = finished.pop(name), parse(job.values)
                refuse_other_data(config, build_data(config), entry.data, self.folder / entry.folder)

    def _plan(self, job_overrides: Sequence[Sequence[str]]) -> list[tuple[Job, str | None]]:
        """Return each job, and why it was refused, if it was. A job in the manifest keeps its number and folder."""
        planned: list[tuple[Job, str | None]] = []
        taken = set[int]()
        for overrides in map(list, job_overrides):
            config, values, refused = self._compose(overrides)
            computed = digest({"overrides": overrides}) if values is None else signature(values)
            whole = computed if values is None else digest(values)
            if (same := self._planned.get(whole)) is not None:
                self._display.repeated(f"#{same.number}  {' '.join(overrides)} is the same job and runs once")
                planned.append((same, refused))
                continue
            entry = self.manifest.find(computed, overrides, taken) or self._new(computed, overrides, config)
            taken.add(entry.number)
            entry.overrides = overrides  # the manifest's own are only shown
            folder = inside(self.folder, entry.folder, "hydra.sweep.subdir")
            resumes = values is not None and self._resumes(folder, values)
            job = Job(entry.number, overrides, config, values, folder, resumes)
            if config is not None:
                self._place(config, entry, job.resumes)
            planned.append((job, refused))
            self._planned[whole] = job
        return planned

    def _resumes(self, folder: Path, values: dict[str, Any]) -> bool:
        """Return whether the folder of a job holds its run.

        Raises:
            ConfigError: if it holds another run, or if this is a new sweep.
        """
        found = contents(folder)
        if found and self.settings.resume is None:
            raise ConfigError(f"{folder} already holds a run ({found[0]}); hint: choose another hydra.sweep.dir")
        if not holds_run(folder):
            return bool(found)
        if (other := difference(values, with_new_keys(read_configuration(folder)))) is not None:
            raise ConfigError(f"{folder} holds another run than its job ({other}); hint: move it away")
        return True

    def _compose(self, overrides: list[str]) -> tuple[DictConfig | None, dict[str, Any] | None, str | None]:
        """Return the configuration of a job and its plain values, or why it was refused."""
        try:
            config = self._composer.compose(overrides)
            refuse_added_keys(config, overrides)
            values = resolved(config)
            typed(RunSettings, {key: values[key] for key in RunSettings.__dataclass_fields__ if key in values}, "")
            typed(TrainConfig, values["train"], "train")
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
        if (other := self._folders.setdefault(folder, number)) != number:
            raise ConfigError(
                f"hydra.sweep.subdir={folder} is the folder of #{other} and #{number}; allowed: one for each "
                "job; hint: ${hydra.job.num} tells them apart"
            )
        return self.manifest.add(Entry(number=number, overrides=overrides, signature=computed, folder=folder))

    def _place(self, config: DictConfig, entry: Entry, resumes: bool) -> None:
        """Set the number and folder of a job in its configuration, and whether it continues what is there."""
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = entry.number
            config.hydra.sweep.dir, config.hydra.sweep.subdir = str(self.folder), entry.folder
            config.sweep.resume = str(self.folder) if resumes else None

    def returned(self, entry: Entry) -> "JobReturn":
        """Return what a launcher of Hydra returns for a job."""
        from hydra.core.utils import JobReturn, JobStatus

        job = JobReturn(entry.overrides, status=JobStatus.FAILED if entry.is_failure else JobStatus.COMPLETED)
        job.return_value = JobsFailed(*failure_lines([entry])) if entry.is_failure else self.value(entry)
        return job

    def value(self, entry: Entry) -> float | None:
        """Return the best value of the objective, train.best."""
        return entry.metrics.get(str(self.manifest.objective).removeprefix("val/"))

    def higher_is_better(self) -> bool:
        return higher_is_better(str(self.manifest.objective))

    def finish(self, result: Sequence[str] = ()) -> None:
        """Print the result of a search, the folder of the sweep, and the commands that show it.

        Raises:
            JobsFailed: if jobs failed, with a line for each.
        """
        self._display.close()
        entries = [self._jobs[number] for number in sorted(self._jobs)]
        values = {job.number: job.values for job in self._planned.values() if job.values is not None}
        objective = self.manifest.objective if self.manifest.search else None
        where = word(self.folder)
        ends = {
            "sweep": str(self.folder),
            "look": f"tensorboard --logdir {where}",
            "compare": f"python -m dl_lab.compare {where}",
        }
        lines = [*map(printable, [*best_lines(entries, values, objective), *result]), *labelled(ends)]
        print("\n".join(lines), flush=True)
        if lines := unresolved_lines(entries, self.folder):
            raise JobsFailed("\n".join(lines))
