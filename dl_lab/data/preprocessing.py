"""What is known about the data that a model was trained on: enough to use the model without them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from typing_extensions import TypeAliasType  # in typing from Python 3.12 on

from dl_lab.core.errors import ConfigError, quoted
from dl_lab.data.pictures import ReadImage
from dl_lab.data.spec import KINDS, TASKS, DataSpec
from dl_lab.data.tokenizers import Tokenizer

# The values of a tensor, or None.
Nested = TypeAliasType("Nested", "float | tuple[Nested, ...] | None")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """A plain value that turns raw inputs into inputs of the model, and names and scales its outputs (`spec`).

    Everything learned from data is of the training split. Every checkpoint has it `as_dict()`.

    `columns`: how each column of a table is encoded, as plain dictionaries with a `kind` and a `name`. A column of kind
    "number" has an `offset` and a `scale`, and becomes (value - offset) / scale. Empty: features are used as they are.
    `reading`: how a file of raw data is read, as plain values.
    `mean`, `std`: of stored integers, such as pixels, that broadcast with (example, *input_shape); None: none.
    `white`: the stored value of a white pixel.
    `tokenizer`: how text becomes tokens.
    """

    spec: DataSpec
    columns: tuple[Mapping[str, Any], ...] = ()
    reading: Mapping[str, Any] | None = None
    mean: Nested = None
    std: Nested = None
    white: float = 255.0
    tokenizer: Tokenizer | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as text, numbers, booleans, null, lists and dictionaries only, as JSON and torch.load read them."""
        values: dict[str, Any] = plain(self)
        for head in values["spec"]["heads"]:
            head["labels"] = list(map(str, head["labels"]))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "preprocessing") -> "Preprocessing":
        """The inverse of `as_dict`.

        Raises:
            ConfigError: naming `where`, if the values are not as `as_dict` returns them.
        """
        try:
            made = _adapter().validate_json(json.dumps(values), strict=True)
            if made.spec.kind == "tokens" and made.spec.is_language and made.tokenizer is None:
                made = _of_older_version(made, is_text=bool(values.get("is_text")))
            made._refuse_unusable()
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            reason = " ".join(str(error).split())
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                reason = f"{'.'.join(map(str, first['loc'][:5]))}: {first['msg']}"
            raise ConfigError(
                f"{where} is not as dl_lab writes it ({reason[:200]}); hint: use another checkpoint"
            ) from error
        return made

    def _refuse_unusable(self) -> None:
        """Raises: ValueError for names that are not known, and for statistics that do not fit or would divide by 0."""
        spec, shape = self.spec, (1, *self.spec.input_shape)
        sizes = (*spec.input_shape, len(spec.input_shape), len(spec.heads), *(head.size for head in spec.heads))
        if min(sizes) < 1 or not 0 < self.white <= 255:
            raise ValueError("spec: a size is below 1")
        if spec.kind not in KINDS or not {head.task for head in spec.heads} <= set(TASKS):
            raise ValueError(f"spec: kind {spec.kind} or a task is not known")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std: only one is given")
        if self.tokenizer is not None:
            self.tokenizer.check()
            size = len(self.tokenizer)
            if spec.padding not in (None, size) or spec.vocabulary != size + (spec.padding is not None):
                raise ValueError("tokenizer: it does not fit the vocabulary")
        statistics: list[tuple[str, Nested, Nested, tuple[int, ...]]]
        statistics = [(head.name, head.offset, head.scale, (head.size,)) for head in spec.heads if head.scale]
        statistics += [("mean and std", self.mean, self.std, shape)] if self.mean is not None else []
        for column in self.columns:
            scale = column.get("scale", 1.0)
            statistics.append((str(column.get("name")), column.get("offset", 0.0), scale, np.shape(scale)))
        for name, offset, scale, fitting in statistics:
            offsets, scales = (np.asarray(each).astype(np.float64, casting="safe") for each in (offset, scale))
            fits = np.broadcast_shapes(offsets.shape, scales.shape, fitting) == fitting
            if not (fits and np.isfinite(offsets).all() and np.isfinite(scales).all() and scales.all()):
                raise ValueError(f"{name}: the statistics do not fit, or are not finite, or divide by 0")
        if any(not isinstance(column.get(key), str) for column in self.columns for key in ("kind", "name")):
            raise ValueError("columns: one has no kind or no name")

    def stored(self, raw: Any) -> Tensor:
        """Raw inputs as a dataset stores them. Images: paths of picture files, or pixels (example, *input_shape).
        Language: a string, as tokens (token,). Other text: strings, as (text, token). Features: numbers (example,
        column).

        Raises:
            ConfigError: if they do not fit, or a file cannot be read.
        """
        spec = self.spec
        if spec.kind == "image":
            return self._pictures(raw)
        if spec.kind == "tokens":
            if self.tokenizer is None:
                raise ConfigError("the model reads tokens that dl_lab did not make; allowed: models of a text")
            if spec.is_language:
                return self.tokenizer.encode(raw)
            return self.tokenizer.padded(map(self.tokenizer.encode_known, raw), *spec.input_shape)
        return self._features(raw)

    def prepare(self, stored: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Inputs of the model from stored ones, exactly as in training, in its precision."""
        stored = stored.to(device, dtype if stored.is_floating_point() else None)
        if self.mean is None:
            return stored
        mean, std = (torch.tensor(each, dtype=torch.float64).to(device, dtype) for each in (self.mean, self.std))
        return normalized(stored, mean, std)

    def _pictures(self, raw: Iterable[str | Path] | Tensor | np.ndarray) -> Tensor:
        shape = self.spec.input_shape
        if isinstance(raw, Tensor | np.ndarray):
            return _fitting(torch.as_tensor(raw), shape)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ConfigError(f"the model reads images {shape}, which no picture file contains; allowed: pixels")
        read = ReadImage(*shape[1:], grey=shape[0] == 1)
        pixels = torch.stack([read(str(path)) for path in raw])
        return pixels if self.white == 255 else (pixels * (self.white / 255)).round().to(torch.uint8)

    def _features(self, raw: ArrayLike | Tensor) -> Tensor:
        values = _fitting(torch.as_tensor(np.asarray(raw, dtype=np.float64)), self.spec.input_shape)
        if not self.columns:
            return values
        if others := [
            f"{column['name']} is a {column['kind']}" for column in self.columns if column["kind"] != "number"
        ]:
            raise ConfigError(
                f"the model reads a table, not numbers alone: {quoted(others)}; allowed: columns of kind number"
            )
        offset, scale = (np.array([column[name] for column in self.columns]) for name in ("offset", "scale"))
        return torch.from_numpy((values.numpy() - offset) / scale)


def normalized(inputs: Tensor, mean: Tensor | None, std: Tensor | None) -> Tensor:
    """Stored integers with mean 0 and standard deviation 1; floats are ready."""
    if mean is None or std is None or inputs.is_floating_point():
        return inputs
    return (inputs - mean).div_(std)


def _of_older_version(known: Preprocessing, is_text: bool) -> Preprocessing:
    """The preprocessing of a language model with the tokenizer that its labels stand for."""
    first, *others = known.spec.heads
    tokenizer = Tokenizer(kind="characters" if is_text else "words", vocabulary=first.labels)
    head = replace(first, token_bytes=tokenizer.token_bytes)
    return replace(known, tokenizer=tokenizer, spec=replace(known.spec, heads=(head, *others)))


def plain(value: Any) -> Any:
    """The same as text, numbers, booleans, None, lists and dictionaries, for dataclasses, arrays and scalars too."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):  # also of NumPy, and of an Enum
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, str):  # escaped if it is not UTF-8, as the name of a folder may be
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return plain(value.tolist())
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple | range) else str(value)


def nested(values: Tensor | None) -> Nested:
    """The values of a tensor as nested tuples, exactly."""
    result: Nested = None if values is None else _tuples(plain(values.double()))
    return result


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fitting(inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
    if inputs.shape[1:] != shape:
        raise ConfigError(f"inputs {tuple(inputs.shape)} do not fit the model; allowed: {('example', *shape)}")
    return inputs


@cache
def _adapter() -> TypeAdapter[Preprocessing]:
    return TypeAdapter(Preprocessing)
