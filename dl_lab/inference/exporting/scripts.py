"""predict.py: a short script that feeds an exported model from files, without dl_lab."""

from collections.abc import Mapping
from typing import Any

from dl_lab.data.spec import DataSpec
from dl_lab.data.tokenizers import Tokenizer
from dl_lab.inference.exporting.trace import Traced

SCRIPT = '''"""Print the outputs of the model for each example of a file, as JSON: python predict.py {argument}"""

{imports}

folder = Path(__file__).resolve().parent
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))


{read}

{run}


inputs = read(sys.argv[1:])
outputs = run(inputs)
for example in range(len(inputs)):
    found = {{name: values[example]{last} for name, values in outputs.items()}}
    labels = {{name: config["outputs"][name]["labels"] for name in found}}
    print(json.dumps({{name: dict(zip(labels[name], values.tolist())) for name, values in found.items()}}))
'''
RUNS = {
    "onnx": """
def run(inputs):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    return dict(zip(config["outputs"], session.run(list(config["outputs"]), {config["input"]["name"]: inputs})))
""",
    "torch": """
def run(inputs):
    program = torch.export.load(folder / "model.pt2").module()
    with torch.no_grad():
        outputs = program(torch.from_numpy(inputs)DEVICE)
    return {name: values.cpu().numpy() for name, values in outputs.items()}
""",
    "safetensors": """
def run(inputs):
    weights = {**load_file(folder / "model.safetensors"), **load_file(folder / "constants.safetensors")}
    weights |= {name: weights[other] for name, other in config["shared"].items()}
    outputs = forward(weights, torch.from_numpy(inputs))
    return {name: values.numpy() for name, values in outputs.items()}
""",
}
IMPORTS = {
    "onnx": ["import onnxruntime"],
    "torch": ["import torch"],
    "safetensors": ["import torch", "from model import forward", "from safetensors.torch import load_file"],
}
TABLE = '''
def read(paths):
    """The numbers of a csv file, one for each column of the model."""
    columns = config["preprocessing"]["columns"]
    with open(paths[0], encoding="ENCODING", newline="") as file:
        rows = csv.reader(file, delimiter=SEPARATOR, skipinitialspace=True)
        HEADER
        both = [(column, names.index(column["name"])) for column in columns]
        table = [[number(column, row[place].strip()) for column, place in both] for row in rows if row]
        return np.array(table, dtype="float64")


def number(column, cell):
    """The number that stands for a cell; nan is missing."""
    if cell in config["missing"]:
        return math.nan
KINDS    return math.nan
'''
CELLS = {
    "boolean": """
    if column["kind"] == "boolean":
        return column["words"].index(cell.lower()) if cell.lower() in column["words"] else math.nan
""",
    "category": """
    if column["kind"] == "category":
        places = {same(column, label): place for place, label in enumerate(column["labels"])}
        return places.get(same(column, cell), len(places))
""",
    "date": """
    if column["kind"] == "date":
        for each in column["formats"]:
            with suppress(ValueError):
                found = datetime.strptime(cell, each)
CENTURY                return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
""",
    "number": """
    if column["kind"] == "number":
        with suppress(ValueError):
            return float(CELL)PERCENT
""",
}
CENTURY = """                if "%y" in each and found.year == 1969:
                    found = found.replace(year=2069)  # as the model was trained; Python differs for this year only
"""
SAME = '''

def same(column, cell):
    """What all spellings of a category have in common."""
    with suppress(ValueError):
        return float(cell) if column["as_numbers"] else unicodedata.normalize("NFC", cell)
'''
PICTURES = '''
def read(paths):
    """The pixels of pictures, or of an array (example, channel, height, width) in a .npy file."""
    if paths[0].endswith(".npy"):
        return np.load(paths[0]).astype("TYPE")
    return np.stack([pixels(path) for path in paths])


def pixels(path):
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    values = np.asarray(picture.convert("MODE").resize(SIZE))
    return ARRAY
'''
ARRAY = '''
def read(paths):
    """An array in a .npy file."""
    return np.load(paths[0]).astype("TYPE")
'''
TEXT = '''
def read(texts):
    """The numbers of the WHICH tokens of a text."""
    text = texts[0].replace("\\r\\n", "\\n").replace("\\r", "\\n")
    VOCABULARYreturn np.array([TOKENSCUT])
'''
TOKENS = {
    "characters": "[vocabulary.index(character) for character in text]",
    "words": "[vocabulary.index(word) for word in text.split()]",
    "bytes": "list(text.encode())",
    "bpe": 'Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids',
}
VOCABULARY = """vocabulary = config["preprocessing"]["tokenizer"]["vocabulary"]
    """


def argument(traced: Traced) -> str:
    """What the script is called with."""
    if traced.spec.kind == "tokens":
        return "TEXT"
    if _is_picture(traced):
        return "PICTURE ..."
    return "FILE.csv" if traced.columns else "FILE.npy"


def more_needs(traced: Traced) -> str:
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
    """The reader of a text, of which a language model takes the end, and other models the beginning, without unknown
    characters.
    """
    assert tokenizer is not None
    length, of_kind = spec.input_shape[0], dict(TOKENS)
    if not spec.is_language:
        of_kind["characters"] = "[vocabulary.index(character) for character in text if character in vocabulary]"
    read = TEXT.replace("VOCABULARY", VOCABULARY if tokenizer.vocabulary else "")
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
    has_short_years = any("%y" in column.get("pattern", "") for column in columns)
    cells = "".join(text.removeprefix("\n") for kind, text in CELLS.items() if kind in kinds)
    cells = cells.replace("CENTURY", CENTURY if has_short_years else "")
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
