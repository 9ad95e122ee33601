"""A trained model as one graph: from raw inputs to probabilities of classes and values in the units of the targets."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.spec import Head

DAY = 86400.0  # seconds


class Heads(nn.Module):
    """The outputs of each head by name: probabilities of classes, labels and tokens, or values of targets."""

    def __init__(self, heads: Sequence[Head], names: Sequence[str]):
        super().__init__()
        self.heads, self.names = heads, names
        for place, head in enumerate(heads):
            if head.scale:
                self.register_buffer(f"offset_{place}", torch.tensor(head.offset, dtype=torch.float64))
                self.register_buffer(f"scale_{place}", torch.tensor(head.scale, dtype=torch.float64))

    def forward(self, outputs: Tensor) -> dict[str, Tensor]:
        """Map outputs (..., output) of the network to a tensor (..., label) for each head; float64 for regression."""
        parts = outputs.split([head.size for head in self.heads], dim=-1) if len(self.heads) > 1 else [outputs]
        return {
            name: self._in_units(place, head, part)
            for place, (name, head, part) in enumerate(zip(self.names, self.heads, parts, strict=True))
        }

    def _in_units(self, place: int, head: Head, outputs: Tensor) -> Tensor:
        if head.task == "multilabel":
            return outputs.sigmoid()
        if head.task != "regression":
            return outputs.softmax(dim=-1)
        outputs = outputs.double()
        if not head.scale:
            return outputs
        return outputs * self.get_buffer(f"scale_{place}") + self.get_buffer(f"offset_{place}")


class Columns(nn.Module):
    """The encoding of a table as in data/tables/columns, from one number for each column; nan is missing. A boolean is
    0 or 1, a category the place of its label (or the number of labels, for any other value), and a date in seconds
    since 1970.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]]):
        super().__init__()
        fills = [_fill(column) for column in columns]
        self._put("fill", fills)
        self.fills = any(value == value for value in fills)
        self.dates: list[tuple[int, Sequence[str], float]] = []
        order: list[tuple[int, int]] = []  # (column, place within it) of each output, in the order of the blocks below
        singles = [place for place, column in enumerate(columns) if column["kind"] in ("number", "boolean")]
        self._put("singles", singles)
        self._put("offset", [columns[place].get("offset", 0.0) for place in singles])
        self._put("scale", [columns[place].get("scale", 1.0) for place in singles])
        order += [(place, 0) for place in singles]
        codes = [
            (place, code)
            for place, column in enumerate(columns)
            if column["kind"] == "category"
            for code in range(len(column["labels"]) + column["others"])
        ]
        self._put("sources", [place for place, _ in codes])
        self._put("codes", [float(code) for _, code in codes])
        order += codes
        for place, column in enumerate(columns):
            if column["kind"] == "date":
                size = len(column["features"]) + 1
                self.dates.append((place, column["features"], column["first"]))
                self._put(f"offset_{place}", list(column["offset"]) or [0.0] * size)
                self._put(f"scale_{place}", list(column["scale"]) or [1.0] * size)
                order += [(place, number) for number in range(size)]
        indicated = [place for place, column in enumerate(columns) if column.get("indicator")]
        self._put("indicated", indicated)
        order += [(place, 10**9) for place in indicated]  # after all others of its column
        sorting = sorted(range(len(order)), key=order.__getitem__)
        self._put("order", sorting)
        self.has = {name: bool(len(self.get_buffer(name))) for name in ("singles", "sources", "indicated")}
        self.reads_in_order = singles == list(range(len(columns)))
        self.is_sorted = sorting == list(range(len(order)))

    def _put(self, name: str, values: list[float] | list[int]) -> None:
        dtype = torch.float64 if values and isinstance(values[0], float) else torch.int64
        self.register_buffer(name, torch.tensor(values, dtype=dtype))

    def forward(self, features: Tensor) -> Tensor:
        """Map float64 values (batch, column) to inputs of the network (batch, input)."""
        missing = features.isnan()
        filled = torch.where(missing, self.get_buffer("fill"), features) if self.fills else features
        blocks = []
        if self.has["singles"]:
            singles = filled if self.reads_in_order else filled.index_select(1, self.get_buffer("singles"))
            blocks.append((singles - self.get_buffer("offset")) / self.get_buffer("scale"))
        if self.has["sources"]:
            codes = filled.index_select(1, self.get_buffer("sources"))
            blocks.append((codes == self.get_buffer("codes")).double())
        for place, names, first in self.dates:
            values = features_of_date(filled[:, place], names, first)
            blocks.append((values - self.get_buffer(f"offset_{place}")) / self.get_buffer(f"scale_{place}"))
        if self.has["indicated"]:
            blocks.append(missing.index_select(1, self.get_buffer("indicated")).double())
        together = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)
        return together if self.is_sorted else together.index_select(1, self.get_buffer("order"))


def _fill(column: Mapping[str, Any]) -> float:
    """The value of a missing cell as an input of `Columns`; nan if there is none."""
    if column["kind"] == "category":
        labels = list(column["labels"])
        return float(labels.index(column["fill"]) if column["fill"] in labels else len(labels))
    fill = float(column.get("fill", "nan"))
    return round(fill * 1e6) / 1e6 if column["kind"] == "date" else fill


def features_of_date(seconds: Tensor, names: Sequence[str], first: float) -> Tensor:
    """Features (batch, feature) of dates (batch,) in seconds since 1970, and the days since `first`. The calendar is
    that of Howard Hinnant's civil_from_days, whose years begin in March; whole numbers are exact in float64.
    """
    days = (seconds / DAY).floor()
    shifted = days + 719468  # days since 0000-03-01
    era = (shifted / 146097).floor()
    day = shifted - era * 146097
    year = ((day - (day / 1460).floor() + (day / 36524).floor() - (day / 146096).floor()) / 365).floor()
    day_of_year = day - (365 * year + (year / 4).floor() - (year / 100).floor())
    shifted_month = ((5 * day_of_year + 2) / 153).floor()
    month = torch.where(shifted_month < 10, shifted_month + 3, shifted_month - 9)
    found = {
        "year": year + era * 400 + (month <= 2).double(),
        "month": month,
        "weekday": days + 3 - ((days + 3) / 7).floor() * 7 + 1,
        "hour": ((seconds - days * DAY) / 3600).floor(),
    }
    return torch.stack([*(found[name] for name in names), (seconds - first) / DAY], dim=1)


class Graph(nn.Module):
    """The network between its preprocessing and its heads. The argument of `forward` names the input."""

    is_numeric = True  # False: tokens, which stay integers

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, names: Sequence[str], precision: torch.dtype):
        super().__init__()
        self.network, self.precision = network, precision
        self.heads = Heads(preprocessing.spec.heads, names)
        self.normalizes = preprocessing.mean is not None
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            if values is not None:  # torch 2.6 cannot trace a buffer that is None
                self.register_buffer(name, torch.tensor(values, dtype=torch.float64).to(precision))
        is_table = preprocessing.spec.kind == "features" and preprocessing.columns
        self.columns = Columns(preprocessing.columns) if is_table else None

    def outputs(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.columns is not None:
            inputs = self.columns(inputs)
        if self.is_numeric:
            inputs = inputs.to(self.precision)
        if self.normalizes:
            inputs = (inputs - self.get_buffer("mean")) / self.get_buffer("std")
        return self.heads(self.network(inputs).to(self.precision))


class Features(Graph):
    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Map raw numbers (batch, column) to outputs."""
        return self.outputs(features)


class Image(Graph):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map raw pixels (batch, channel, height, width) to outputs."""
        return self.outputs(image)


class Tokens(Graph):
    is_numeric = False

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Map numbers of tokens (batch, time) to outputs."""
        return self.outputs(tokens)


GRAPHS: dict[str, type[Graph]] = {"features": Features, "image": Image, "tokens": Tokens}


def output_names(heads: Sequence[Head], kind: str) -> list[str]:
    """The names of outputs: those of the heads, with "_" added to one that is also the name of the input."""
    names: list[str] = []
    for head in heads:
        name = head.name or "output"
        while name in (*names, kind) or name in {other.name for other in heads if other is not head}:
            name += "_"
        names.append(name)
    return names
