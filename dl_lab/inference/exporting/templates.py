"""The parts of predict.py, in which words in capitals and in braces are replaced by `scripts`."""

SCRIPT = '''"""Print the outputs of the model for each example of a file, as JSON: python predict.py {argument}"""

{imports}

folder = Path(__file__).resolve().parent
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))


{read}

{run}


if len(sys.argv) < 2:
    sys.exit(__doc__)
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
        if missing := [column["name"] for column in columns if column["name"] not in names]:
            sys.exit(f"{paths[0]} lacks the columns {', '.join(missing)}")
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
UNKNOWN = """if unknown := sorted(set(PARTS) - set(vocabulary)):
        sys.exit(f"the model does not know {', '.join(map(repr, unknown))}")
    """
