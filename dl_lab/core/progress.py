"""What is seen while a run goes on: a bar on a terminal, a line a validation elsewhere."""

import sys
from collections.abc import Mapping

from tqdm import tqdm


def shown(metrics: Mapping[str, float]) -> str:
    """Metrics in one line, four significant digits each."""
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


class Progress:
    """Follows a run of `total_steps` steps, of which `done` are behind it; `silent`, says nothing of it."""

    def __init__(self, total_steps: int, done: int = 0, silent: bool = False):
        self._width = len(str(total_steps))
        self._total = total_steps
        self._bar = tqdm(
            total=total_steps,
            initial=done,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            disable=silent or not sys.stderr.isatty(),
        )
        self._lines = not silent and (self._bar.disable or not sys.stdout.isatty())
        self._training: dict[str, float] = {}
        self._validation: dict[str, float] = {}

    def advance(self) -> None:
        """Move the bar by one step."""
        self._bar.update()

    def training(self, metrics: Mapping[str, float]) -> None:
        """Put the loss and metric of the last steps beside the bar."""
        self._training = {f"train/{name}": value for name, value in list(metrics.items())[:2]}
        if not self._bar.disable:
            self._bar.set_postfix_str(shown(self._training | self._validation))

    def validation(self, step: int, epoch: float, train: Mapping[str, float], validation: Mapping[str, float]) -> None:
        """Where output is no terminal, a line: training since the last validation, and the validation split."""
        self._validation = {f"val/{name}": value for name, value in list(validation.items())[:2]}
        if self._lines:
            sides = {
                **{f"train/{k}": v for k, v in train.items()},
                **{f"val/{k}": v for k, v in validation.items()},
            }
            print(f"step {step:>{self._width}}/{self._total}  epoch {epoch:.4g}  {shown(sides)}", flush=True)

    def close(self) -> None:
        self._bar.close()
