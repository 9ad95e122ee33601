"""The progress of a run: a bar on a terminal and in a notebook, otherwise one line per validation."""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, Never

from tqdm import tqdm

from dl_lab.core.errors import printable


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Metrics as one line of text, with four significant digits."""
    return "  ".join(f"{printable(name)} {value:.4g}" for name, value in metrics.items())


show: Callable[[str], None] = tqdm.write  # in a process of a sweep, a function that sends the line


@cache
def announce(line: str) -> None:
    """Print a line, once per command: the jobs of a sweep have much in common."""
    show(printable(line))


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, whose standard error is no terminal but shows a bar."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def kind_of_bar() -> Callable[..., "tqdm[Never]"]:
    """The bar of tqdm: of a notebook, where its widgets are installed."""
    if in_notebook() and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as with_widgets

        return with_widgets
    return tqdm


class Progress:
    """Show the progress of a run with `total_steps` steps, after `done` earlier steps; show nothing if `silent`."""

    def __init__(self, total_steps: int, done: int = 0, silent: bool = False):
        self._width = len(str(total_steps))
        self._total = total_steps
        notebook = in_notebook()
        self._bar = kind_of_bar()(
            total=total_steps,
            initial=done,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            disable=silent or not (notebook or sys.stderr.isatty()),
        )
        self._lines = not silent and (self._bar.disable or not (notebook or sys.stdout.isatty()))
        self._training: dict[str, float] = {}
        self._validation: dict[str, float] = {}

    def advance(self) -> None:
        """Move the bar by one step."""
        self._bar.update()

    def training(self, metrics: Mapping[str, float]) -> None:
        """Show the first two training metrics beside the bar."""
        self._training = {f"train/{name}": value for name, value in list(metrics.items())[:2]}
        if not self._bar.disable:
            self._bar.set_postfix_str(format_metrics(self._training | self._validation))

    def validation(self, step: int, epoch: float, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
        """Show the first two validation metrics beside the bar. Without a terminal, print a line with all metrics:
        `train` since the last validation, and `validation`.
        """
        self._validation = {f"val/{name}": value for name, value in list(validation.items())[:2]}
        if self._lines:
            named = {f"train/{name}": value for name, value in train.items()}
            named |= {f"val/{name}": value for name, value in validation.items()}
            print(f"step {step:>{self._width}}/{self._total}  epoch {epoch:.4g}  {format_metrics(named)}", flush=True)

    def close(self) -> None:
        self._bar.close()
