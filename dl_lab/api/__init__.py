"""The Python API: what the commands do, as functions that return objects, raise errors and leave the process as it was.

Read `running` first: `run`, `load` and `sweep`.
"""

from dl_lab.api.running import load, run, sweep
from dl_lab.api.trained_run import Run
from dl_lab.api.trained_sweep import Sweep
from dl_lab.core.errors import ConfigError, Diverged, Failed, JobsFailed

__all__ = ["ConfigError", "Diverged", "Failed", "JobsFailed", "Run", "Sweep", "load", "run", "sweep"]
