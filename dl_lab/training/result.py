"""What a run prints at its end: its metrics, its folder and the next commands."""

from dataclasses import dataclass, field
from pathlib import Path

from dl_lab.core.errors import counted, printable
from dl_lab.core.formatting import format_metrics
from dl_lab.core.shell import word
from dl_lab.core.terminal import labelled, styled
from dl_lab.data.spec import PRINTED
from dl_lab.runs.resume import as_argument
from dl_lab.training.bookkeeping import Outcome
from dl_lab.training.description import size_of
from dl_lab.training.state import Plan


@dataclass(frozen=True)
class Result:
    """A completed run. `value` is its best validation's train.best, which sweepers optimize. `intervals` are the
    95 % intervals of test metrics, by name.
    """

    plan: Plan
    outcome: Outcome
    best: dict[str, float]
    test: dict[str, float] | None
    folder: Path
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def value(self) -> float:
        return self.best[self.plan.run.train.best]

    def __str__(self) -> str:
        """The main metrics, warnings, the run folder, and the next commands."""
        by = self.plan.run.train.best
        names = dict.fromkeys([*self.plan.task.training_names, *PRINTED, by])
        best, tested = ({name: part[name] for name in names if name in part} for part in (self.best, self.test or {}))
        test, split = "this run has no test split", self.plan.data.test
        if tested and split is not None:
            test = f"{format_metrics(tested, self.intervals)}  (the same checkpoint, {counted(*size_of(split))})"
        metrics = {"val": f"{format_metrics(best)}  (best val/{by}, step {int(self.best['step'])})", "test": test}
        return "\n".join(
            [
                *([printable(f"ended early: {self.outcome.reason}")] if self.outcome.reason else []),
                *labelled(metrics),
                *(styled(line, "yellow") for line in self.warnings),
                *labelled({"run": str(self.folder.absolute()), **self.next_commands()}),
            ]
        )

    def next_commands(self) -> dict[str, str]:
        """What can be done with the run, as commands for a shell; for examples in memory, in Python."""
        folder, data, settings = str(self.folder.absolute()), self.plan.data, self.plan.run.settings
        commands = {"look": f"tensorboard --logdir {word(folder)}"}
        if self.plan.run.dataset.entry.name == "memory":
            return {**commands, "predict": f"dl_lab.load({folder!r}).predict(X)"}
        again = f" {word(as_argument(list(settings.imports)))}" if settings.imports else ""
        where = f"{word(folder)}{again}"
        commands["evaluate"] = (
            f"python -m dl_lab.evaluate run={where}{'' if data.test is not None else ' split=validation'}"
        )
        if data.spec.is_language:
            commands["generate"] = f"python -m dl_lab.generate run={where}"
        else:
            commands["predict"] = f"python -m dl_lab.predict run={where} path=NEW"
        if self._still_improves():
            commands["longer"] = f"python -m dl_lab.train resume={where} {self._twice_the_length()}"
        return commands

    def _still_improves(self) -> bool:
        """Whether the last validation is the best one, on other examples than those of training, and a longer run would
        have had the same learning rates.
        """
        is_best = self.outcome.reason is None and self.best["step"] == self.plan.total_steps
        return is_best and self.plan.run.schedule.entry.name == "constant" and not self.plan.run.train.one_batch

    def _twice_the_length(self) -> str:
        epochs = self.plan.run.train.epochs
        return f"train.steps={2 * self.plan.total_steps}" if epochs is None else f"train.epochs={2 * epochs}"
