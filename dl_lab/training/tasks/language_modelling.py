"""Language modelling: the next token of a text."""

from functools import partial
from math import exp, log

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dl_lab.core.devices import widest
from dl_lab.data.spec import Head
from dl_lab.data.splits import PADDING
from dl_lab.nn import functional
from dl_lab.training.checks import Loss, sum_of
from dl_lab.training.intervals import Interval, mean_interval
from dl_lab.training.tasks.head_task import HeadTask
from dl_lab.training.tasks.scores import Floats
from dl_lab.training.tasks.totals import Numbers, Totals


class LanguageModelling(HeadTask):
    """The next token; logits (batch, time, token), token numbers (batch, time), PADDING where no token counts."""

    def __init__(self, head: Head, loss: Loss):
        super().__init__(head, loss)
        self.interval_columns = 3
        self.token_bytes = torch.tensor(head.token_bytes, dtype=torch.int64)
        if head.token_bytes and any(len(label) > 1 for label in head.labels):
            self.names = tuple(name for name in self.names if name != "bits_per_character")
        self.further_names = self.further_names if head.token_bytes else ()

    @property
    def loss_is_nats(self) -> bool:
        """Whether the loss is the cross-entropy itself, so that it need not be computed twice."""
        loss = self.loss
        if not isinstance(loss, partial) or loss.func is not functional.cross_entropy:
            return False
        smoothing = loss.keywords["label_smoothing"]
        return isinstance(smoothing, float) and smoothing == 0

    def count(self, targets: Tensor, weights: Tensor | None) -> Tensor:
        return (targets != PADDING).sum()

    divisor = count

    def totals(self, outputs: Tensor, targets: Tensor, weights: Tensor | None, evaluating: bool = False) -> Totals:
        assert weights is None, "only tables have weights"
        logits, tokens = outputs.flatten(0, 1), targets.flatten()
        detached, loss = logits.detach(), sum_of(self.loss, logits, tokens)
        nats = loss.detach()
        if not self.loss_is_nats:
            nats = functional.cross_entropy(detached, tokens, ignore_index=PADDING)
        totals: Totals = {
            "loss": loss,
            "count": self.count(targets, None),
            "nats": nats,
            "correct": (detached.argmax(dim=1) == tokens).sum(),
        }
        if evaluating and self.further_names:
            is_counted = tokens != PADDING
            totals["bytes"] = (self.token_bytes.to(tokens.device)[tokens * is_counted] * is_counted).sum()
        return totals

    def metrics(self, totals: Numbers) -> dict[str, float]:
        """loss, accuracy, nats per token, perplexity = e^nats, and bits per character = nats / ln 2."""
        count = totals["count"][0]
        nats = totals["nats"][0] / count
        values = {
            "loss": totals["loss"][0] / count,
            "accuracy": totals["correct"][0] / count,
            "nats": nats,
            "perplexity": exp(min(nats, 700.0)),
            "bits_per_character": nats / log(2),
        }
        return {name: values[name] for name in self.names}

    def further_metrics(self, totals: Numbers) -> dict[str, float]:
        """bits_per_byte = nats / ln 2 / bytes in UTF-8 of all tokens that were predicted."""
        return {"bits_per_byte": totals["nats"][0] / totals["bytes"][0] / log(2)} if self.further_names else {}

    def interval_rows(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        """The sums of nats and of right tokens, and the number of tokens, in each window."""
        nats = cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=PADDING, reduction="none")
        right, counted = outputs.argmax(dim=2) == targets, targets != PADDING
        return torch.stack([widest(each).sum(dim=1) for each in (nats.view_as(targets), right, counted)], dim=1)

    def intervals(self, rows: Floats, weights: Floats | None) -> dict[str, Interval | None]:
        """The tokens of a window depend on each other, so that windows are drawn. Those of one text do so too: the
        intervals hold for more of the same text.
        """
        nats, right, tokens = rows.T
        return {"accuracy": mean_interval(right, tokens), "nats": mean_interval(nats, tokens)}
