"""What a run prints at its end: its metrics, its folder and the next commands."""

from dataclasses import dataclass, field
from pathlib import Path

from dl_lab.core.errors import counted, printable
from dl_lab.core.progress import format_metrics
from dl_lab.core.terminal import for_shell, labelled, styled
from dl_lab.data.spec import PRINTED
from dl_lab.runs.resume import as_argument
from dl_lab.training.bookkeeping import Outcome
from dl_lab.training.description import size_of
from dl_lab.training.state import Plan


@dataclass(frozen=True)
class Result:
    """A completed run. `value` is its best validation's train.best, which sweepers optimize. `intervals` are those of
    95 % of the test metrics, by name.
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
        folder, data = str(self.folder.absolute()), self.plan.data
        look = {"look": f"tensorboard --logdir {for_shell(folder)}"}
        if self.plan.run.dataset.entry.name == "memory":
            return {**look, "predict": f"dl_lab.load({folder!r}).predict(X)"}
        again = [for_shell(as_argument(list(imports)))] if (imports := self.plan.run.settings.imports) else []
        where = " ".join([f"run={for_shell(folder)}", *again])
        split = "" if data.test is not None else " split=validation"
        evaluate = {"evaluate": f"python -m dl_lab.evaluate {where}{split}"}
        if data.spec.is_language:
            return {**look, **evaluate, "generate": f"python -m dl_lab.generate {where}"}
        return {**look, **evaluate, "predict": f"python -m dl_lab.predict {where} path=NEW"}
