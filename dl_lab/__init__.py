"""Deep learning on PyTorch: one command trains any model on your data, and so does Python.

Read README.md in this folder first, then `train` (the command) or `api` (the same in Python):

    import dl_lab

    run = dl_lab.run("model=cnn", "optimizer=adam")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dl_lab.api import ConfigError, Diverged, Failed, JobsFailed, Run, Sweep, load, run, sweep

__version__ = "0.1.0"
__all__ = ["ConfigError", "Diverged", "Failed", "JobsFailed", "Run", "Sweep", "load", "run", "sweep"]


def __getattr__(name: str) -> Any:
    """Import the Python API when one of its names is used first, because it takes longer than --help should."""
    if name not in __all__:
        raise AttributeError(f"module 'dl_lab' has no attribute {name!r}")
    from dl_lab import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
