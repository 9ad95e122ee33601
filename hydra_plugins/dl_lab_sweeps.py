"""Hydra's door to sweeps: it loads launchers and sweepers from this namespace only, at every start. Free of torch."""

import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from omegaconf import open_dict

from dl_lab.command_line import JobsFailed, explain


class ProductSweeper(BasicSweeper):
    """Every combination of values, as Hydra's own, but a combination that cannot be composed fails alone."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Left to the launcher, which tells of each job by itself."""


class InTurnLauncher(BasicLauncher):
    """One job after the other in this process. Each that fails is named at the end, the others go on."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs.

        Raises:
            JobsFailed: after the last, if any failed, with a line for each.
        """
        setup_globals()
        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        self._folders: dict[int, Path] = {}
        returns, failures = [], []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            given = " ".join(filter_overrides(overrides))
            print(f"#{number}  {given}", flush=True)
            try:
                returns.append(self._run(number, overrides))
            except Exception as error:
                reason = explain(error)
                if reason is None:
                    traceback.print_exception(error)
                    reason = f"{type(error).__name__}: {error}"
                print(f"error: {reason}", file=sys.stderr, flush=True)
                _record(self._folders.get(number, folder / str(number)), reason)
                failures.append(f"  #{number}  {given}: {reason}")
        print(f"sweep  {folder}\nlook   tensorboard --logdir {shlex.quote(str(folder))}", flush=True)
        if failures:
            raise JobsFailed("\n".join([f"{len(failures)} of {len(job_overrides)} jobs failed:", *failures]))
        return returns

    def _run(self, number: int, overrides: Sequence[str]) -> JobReturn:
        """Compose and run one job, and raise what it raised."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        self._folders[number] = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
        job = run_job(
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.hydra_context,
        )
        if job.status is JobStatus.FAILED:
            raise job._return_value
        return job


def _record(folder: Path, reason: str) -> None:
    """Leave the reason in the folder of a job that failed before its own record began."""
    from dl_lab.logbook import write_summary

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "summary.json").exists():
        write_summary(folder, {"status": "failed", "reason": reason})
