"""What every task of a head defines."""

from torch import Tensor

from dl_lab.data.spec import EVALUATION_METRICS, GATHERED, METRICS, Head
from dl_lab.training.checks import Loss
from dl_lab.training.intervals import Interval
from dl_lab.training.tasks.scores import Floats
from dl_lab.training.tasks.totals import Numbers, Totals, never_zero


class HeadTask:
    """One head. Training points have `metrics`, computed from `totals`. Evaluations have `further_metrics`, from totals
    as well, which each validation records; and `gathered_metrics`, from all outputs of a split, at the end of a run.
    """

    def __init__(self, head: Head, loss: Loss):
        self.loss, self.labels = loss, head.labels
        self.names = METRICS[head.task]
        further = EVALUATION_METRICS.get(head.task, ())
        self.further_names = tuple(name for name in further if name not in GATHERED)
        self.gathered_names = tuple(name for name in further if name in GATHERED)
        self.interval_columns = 1
        self.target_names: tuple[str, ...] = ()  # those of the above that belong to one of several targets

    def count(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        """The number of targets (batch, column) that count, or their weight."""
        return targets.numel() if weights is None else weights.sum() * targets.shape[1]

    def divisor(self, targets: Tensor, weights: Tensor | None) -> Tensor | int:
        """The divisor of the loss."""
        count = self.count(targets, weights)
        return never_zero(count) if isinstance(count, Tensor) else count

    def sizes(self, targets: Tensor, weights: Tensor | None) -> Totals:
        """The totals that the shape of the targets determines."""
        return {}

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, evaluating: bool = False) -> Totals:
        """Sums and counts of a batch, with those of further metrics if `evaluating`; "loss" carries the gradient."""
        raise NotImplementedError

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """The metrics `names`, computed from totals that have been added up."""
        raise NotImplementedError

    def further_metrics(self, totals: Numbers) -> dict[str, float]:
        return {}

    def gathered_metrics(self, outputs: Tensor, targets: Tensor, weights: Floats | None) -> dict[str, float]:
        """Metrics of all outputs and targets (example, ...) of a split, on the host."""
        return {}

    def interval_rows(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """What `intervals` needs of a batch: (example, column) of `interval_columns` columns."""
        raise NotImplementedError

    def intervals(self, rows: Floats, weights: Floats | None) -> dict[str, Interval | None]:
        """The 95 % interval of each metric by which results are compared, of the rows of a whole split."""
        raise NotImplementedError

    def undefined(self, metric: str, targets: Tensor) -> str | None:
        """Why a metric of this head has no value on a split with these targets; None if it has one."""
        return None
