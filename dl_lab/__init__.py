"""Deep learning on PyTorch: one command trains any model on your data, and so does Python.

Read README.md in this folder first, then `train` (the command) or `api` (the same in Python):

    import dl_lab

    run = dl_lab.run("model=cnn", "optimizer=adam")
"""

TYPE_CHECKING = False  # type checkers take it as true; importing typing takes longer than all of this

if TYPE_CHECKING:
    from dl_lab.api import ConfigError, Diverged, Failed, JobsFailed, Run, Sweep, load, run, sweep

__version__ = "0.1.0"
__all__ = ["ConfigError", "Diverged", "Failed", "JobsFailed", "Run", "Sweep", "load", "run", "sweep"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the Python API when one of its names is used first, because it takes longer than --help should."""
        if name not in __all__:
            raise AttributeError(f"module 'dl_lab' has no attribute {name!r}")
        from dl_lab import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
