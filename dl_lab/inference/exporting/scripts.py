"""Compose predict.py, a short script that feeds files to an exported model, without dl_lab."""

from collections.abc import Mapping
from typing import Any

from dl_lab.data.spec import DataSpec
from dl_lab.data.tokenizers import Tokenizer
from dl_lab.inference.exporting.templates import (
    ARRAY,
    CELLS,
    CENTURY,
    IMPORTS,
    PICTURES,
    RUNS,
    SAME,
    SCRIPT,
    TABLE,
    TEXT,
    TOKENS,
    UNKNOWN,
    VOCABULARY,
)
from dl_lab.inference.exporting.trace import Traced


def argument(traced: Traced) -> str:
    """The arguments of the script, in words."""
    if traced.spec.kind == "tokens":
        return "TEXT"
    if _is_picture(traced):
        return "PICTURE ..."
    return "FILE.csv" if traced.columns else "FILE.npy"


def further_packages(traced: Traced) -> str:
    """What the script needs besides the packages of its format, as the end of a sentence."""
    tokenizer = traced.preprocessing.tokenizer
    if tokenizer is not None and tokenizer.kind == "bpe":
        return " and tokenizers"
    return " and Pillow" if _is_picture(traced) else ""


def _is_picture(traced: Traced) -> bool:
    shape = traced.spec.input_shape
    return traced.spec.kind == "image" and len(shape) == 3 and shape[0] in (1, 3) and traced.dtype.itemsize == 1


def script(traced: Traced, to: str) -> str:
    """The script for a model that was exported to this format."""
    preprocessing, spec = traced.preprocessing, traced.spec
    type_name = str(traced.dtype).removeprefix("torch.")
    modules, last = {"json", "sys"}, ""
    more = list(IMPORTS[to])
    if spec.kind == "tokens":
        read = _text(preprocessing.tokenizer, spec)
        more += ["from tokenizers import Tokenizer"] if "Tokenizer" in read else []
        last = "[-1]" if spec.task == "language_modelling" else ""
    elif traced.columns:
        read, needed = _table(traced.columns, preprocessing.reading or {})
        modules |= needed
    elif _is_picture(traced):
        _, height, width = spec.input_shape
        scaled = (
            "values"
            if preprocessing.white == 255
            else f'(values * {preprocessing.white / 255!r}).round().astype("uint8")'
        )
        array = f"{scaled}[None]" if spec.input_shape[0] == 1 else f"{scaled}.transpose(2, 0, 1)"
        read = PICTURES.replace("MODE", "L" if spec.input_shape[0] == 1 else "RGB").replace("ARRAY", array)
        read = read.replace("SIZE", f"({width}, {height})").replace("TYPE", type_name)
        more.append("from PIL import Image, ImageOps")
    else:
        read = ARRAY.replace("TYPE", type_name)
    return SCRIPT.format(
        argument=argument(traced),
        imports=_imports(modules, more),
        read=read.strip(),
        run=RUNS[to].replace("DEVICE", "" if traced.device == "cpu" else f".to({traced.device!r})").rstrip(),
        last=last,
    )


def _text(tokenizer: Tokenizer | None, spec: DataSpec) -> str:
    """The code that reads a text. A language model takes its end; a classifier takes its beginning, without unknown
    characters.
    """
    assert tokenizer is not None
    length, of_kind = spec.input_shape[0], dict(TOKENS)
    if not spec.is_language:
        of_kind["characters"] = "[vocabulary.index(character) for character in text if character in vocabulary]"
    unknown = UNKNOWN.replace("PARTS", "text.split()" if tokenizer.kind == "words" else "text")
    vocabulary = VOCABULARY + (unknown if spec.is_language else "") if tokenizer.vocabulary else ""
    read = TEXT.replace("VOCABULARY", vocabulary)
    which, cut = ("last", f"[-{length}:]") if spec.is_language else ("first", f"[:{length}] or [{spec.padding}]")
    return read.replace("TOKENS", of_kind[tokenizer.kind]).replace("CUT", cut).replace("WHICH", which)


def _imports(modules: set[str], more: list[str]) -> str:
    froms = {
        "suppress": "from contextlib import suppress",
        "datetime": "from datetime import datetime, timezone",
        "Path": "from pathlib import Path",
    }
    plain = [f"import {name}" for name in sorted(modules - froms.keys())]
    return "\n".join(
        [
            *plain,
            *(line for name, line in froms.items() if name in modules | {"Path"}),
            "",
            *sorted([*more, "import numpy as np"]),
        ]
    )


def _table(columns: Any, reading: Mapping[str, Any]) -> tuple[str, set[str]]:
    """The code that reads a table with these columns, and the modules that it needs."""
    kinds = {column["kind"] for column in columns}
    modules = {"csv", "math"} | ({"suppress"} if kinds & {"number", "date", "category"} else set())
    modules |= ({"datetime"} if "date" in kinds else set()) | ({"unicodedata"} if "category" in kinds else set())
    cell = "cell"
    if thousands := reading.get("thousands"):
        cell += f'.replace({thousands!r}, "")'
    if reading.get("decimal") == ",":
        cell += '.replace(",", ".")'
    percent = ' / (100 if cell.endswith("%") else 1)' if reading.get("percent") else ""
    cell += '.rstrip("% ")' if percent else ""
    has_two_digit_years = any("%y" in column.get("pattern", "") for column in columns)
    cells = "".join(text.removeprefix("\n") for kind, text in CELLS.items() if kind in kinds)
    cells = cells.replace("CENTURY", CENTURY if has_two_digit_years else "")
    has_header = reading.get("header", True)
    names = (
        "[name.strip() for name in next(rows)]" if has_header else '[f"column_{place}" for place in range(1, 10_000)]'
    )
    encoding = str(reading.get("encoding", "utf-8"))
    code = (
        TABLE.replace("KINDS", cells)
        .replace("CELL", cell)
        .replace("PERCENT", percent)
        .replace("HEADER", f"names = {names}")
    )
    code = code.replace("SEPARATOR", repr(reading.get("separator", ",")))
    code = code.replace("ENCODING", "utf-8-sig" if encoding in ("utf-8", "auto") else encoding)
    return code.rstrip() + ("\n" + SAME if "category" in kinds else ""), modules
