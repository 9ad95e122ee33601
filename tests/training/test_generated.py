"""Thousands of generated command lines and files: each trains, or is refused in one line with status 2. There is never
a traceback or a file outside the run folder.
"""

import io
import resource
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.commands import Ended, train
from support.configs import choices

from dl_lab.core.signals import Signals
from dl_lab.datasets.mnist import FILES

pytestmark = pytest.mark.faults
STOPPED = 128  # plus 0, because `one_step` sends no signal
MEMORY = 2_000_000_000

GENERATED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@pytest.fixture(autouse=True)
def one_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop every run after its first step, and limit its memory to 2 GB more than this process uses."""
    monkeypatch.setattr(Signals, "received", lambda self: True)
    in_use = 4096 * int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    if in_use is not None:
        resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def assert_trained_or_refused(ended: Ended, folder: Path, brought: set[str]) -> None:
    """Check the exit status and the message, and that only run folders were added to what was `brought`."""
    assert ended.status in (0, 1, 2, STOPPED), ended.err
    if ended.status == 2:
        assert ended.err.startswith("error: "), ended.err
        assert ended.err.count("\n") == 1, ended.err
        assert "allowed: " in ended.err or "hint: " in ended.err, ended.err
    elif ended.status == 1:
        assert "diverged" in ended.err
    ran = ended.status != 2 or "before training" in ended.err
    left = {path.name for path in folder.iterdir()} - brought
    assert left <= ({"outputs"} if ran else set()), (left, ended.err)


SMALL = ["dataset=iris", "train.batch_size=10", "model.hidden_sizes=[4]"]
DATASETS = (
    "iris", "wine", "diabetes", "linnerud", "digits", "line", "moons", "xor", "sorting", "csv", "text", "nothing",
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from(
        ["0", "-1", "1", "2", "3", "0.5", "1e-320", "1e308", "-1e308", "1e400", "inf", "-inf", "nan", "1_0"]
    ),
    st.sampled_from(
        ["9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" + "0" * 40, "0x10", "1."]
    ),
    st.integers().map(str),
    st.floats().map(str),
)
WORDS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet=string.printable, max_size=12),
    st.text(alphabet="[]{}()=,:$~+@'\"\\ #*%&|<>!?/.\n\t\0", min_size=1, max_size=8),
    st.sampled_from(["null", "true", "false", "", "[]", "{}", "[1,[2]]", "{a: 1}", "a" * 5000, "..", "/"]),
    st.sampled_from(["\u00fcn\u00ef", "\U0001d518", "\ufdfd", "\u202e", "\ufeff"]),
    st.sampled_from(["${seed}", "${oc.env:HOME}", "${nothing}", "${oc.decode:'1'}", "${run_folder:x}", "${", "???"]),
)
GROUPS = ("model", "optimizer", "initializer", "dropout", "loss", "schedule", "train")
PLAIN_KEYS = ("seed", "device", "precision", "threads", "deterministic", "name", "tags", "data_dir", "claim")
TRAIN_KEYS = (
    "epochs", "steps", "batch_size", "accumulate", "max_grad_norm", "decay_biases", "validate_every", "eval_batch_size",
    "log_every", "patience", "best", "pictures", "one_batch",
)  # fmt: skip
INNER_KEYS = (
    "model.hidden_sizes", "model.activation", "model.name", "optimizer.lr", "optimizer.betas",
    "optimizer.weight_decay", "optimizer.name", "optimizer._target_", "initializer.gain", "dataset.validation",
    "dataset.test", "dataset.features", "dataset.targets", "dataset.path", "dataset.standardize",
    "loss.label_smoothing", "schedule.gamma", "dropout.p", "hydra.job.name", "hydra.sweep.dir", "hydra.verbose",
    "hydra.mode", "hydra.output_subdir", "hydra.launcher", "hydra",
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from([*PLAIN_KEYS, *(f"train.{key}" for key in TRAIN_KEYS), *INNER_KEYS, *GROUPS]),
    st.text(alphabet=string.ascii_lowercase + "._/@+~-", max_size=12).filter(lambda key: "-" not in key[:1]),
)
CHOICES = st.sampled_from(GROUPS).flatmap(
    lambda group: st.sampled_from(choices(group)).map(lambda choice: f"{group}={choice}")
) | st.sampled_from(DATASETS).map(lambda name: f"dataset={name}")
OVERRIDES = st.one_of(
    CHOICES,
    st.tuples(st.sampled_from(["", "", "", "+", "++", "~"]), KEYS, st.one_of(NUMBERS, WORDS)).map(
        lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"
    ),
    WORDS.filter(lambda word: not word.startswith("-")),
)


@settings(GENERATED, max_examples=2000)
@given(st.lists(OVERRIDES, min_size=1, max_size=4))
@example(["\n"])
@example(["+="])
@example(["+@=x"])
@example(["seed=${run_folder:x}"])
@example(["model=${oc.decode:'1'}"])
def test_a_command_line_trains_or_is_refused(overrides: list[str]) -> None:
    assert_small_trained_or_refused(overrides)


def assert_small_trained_or_refused(overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        assert_trained_or_refused(train(folder, *SMALL, *overrides), folder, {"data"})


VALUES = NUMBERS | st.sampled_from(
    ["null", "true", "false", "[]", "{}", "[1,2]", "full", "accuracy", "0.9", "'a b'", "cpu", "float64", "bfloat16"]
)
PLAUSIBLE = CHOICES | st.tuples(
    st.sampled_from([*PLAIN_KEYS, *(f"train.{key}" for key in TRAIN_KEYS), *INNER_KEYS]), VALUES
).map(lambda parts: f"{parts[0]}={parts[1]}")


@settings(GENERATED, max_examples=400)
@given(st.lists(PLAUSIBLE, min_size=1, max_size=3))
@example(["hydra.verbose=-1"])
@example(["hydra.launcher=1"])
@example(["hydra.output_subdir=../beside"])
@example(["data_dir=0"])
@example(["threads=64"])
@example(["threads=415"])
def test_a_command_line_of_known_keys_trains_or_is_refused(overrides: list[str]) -> None:
    """Half of these train, but only one in twenty of those above."""
    assert_small_trained_or_refused(overrides)


LISTS = st.lists(VALUES, min_size=2, max_size=3).map(",".join) | st.sampled_from(
    [
        "range(1,4)", "range(1,1)", "range(4,1,-2)", "range(1,4,0)", "range(0,1e9)", "range(nan,2)", "interval(0,1)",
        "interval(1,0)", "interval(0,inf)", "interval(-1e308,1e308)", "int(interval(1,4))", "tag(x,1)", "choice()",
        "tag(log,interval(1e-4,1e-1))", "tag(log,interval(0,1))", "choice(1,2)", "choice(choice(1,2),3)", "glob(*)",
        "shuffle(1,2)", "sort(2,1)", "[1,2],[3]", "{a:1},{b:2}",
    ]
)  # fmt: skip
SWEEP_KEYS = ("resume", "fail_fast", "prune", "prune_after", "prune_factor", "prune_least", "trials", "batch", "seed")
SWEPT = st.one_of(
    st.tuples(st.sampled_from([*PLAIN_KEYS, *INNER_KEYS, *(f"train.{key}" for key in TRAIN_KEYS)]), LISTS).map(
        lambda parts: f"{parts[0]}={parts[1]}"
    ),
    st.tuples(st.sampled_from(SWEEP_KEYS), VALUES | WORDS).map(lambda parts: f"sweep.{parts[0]}={parts[1]}"),
    st.sampled_from(["sweep=grid", "sweep=random", "sweep=optuna", "sweep=x", "sweep=grid,random", "sweep.prune=asha"]),
    st.sampled_from(["model=mlp,logistic", "optimizer=glob(a*)", "model=glob(z*)", "experiment=one_layer_nn"]),
    st.sampled_from([f"hydra/launcher={name}" for name in ("in_turn", "vectorized", "basic", "x")]),
)


@settings(GENERATED, max_examples=150)
@given(st.lists(SWEPT.filter(lambda override: "hydra.sweep.dir" not in override), min_size=1, max_size=4))
@example(["sweep=optuna", "seed=range(1,1)"])
def test_a_sweep_over_known_keys_runs_or_is_refused(overrides: list[str]) -> None:
    """A third of these have jobs. They stop after the first step of the first job."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        ended = train(folder, "-m", *SMALL, *overrides)
        assert "Traceback" not in ended.err
        if ended.status != 1:  # jobs failed, each with one line
            assert_trained_or_refused(ended, folder, {"data"})


CELLS = st.one_of(
    st.integers(-9, 9).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", " ", "nan", "inf", "-inf", "1e39", "1e-400", "a", "b", '"', '"a,b"', "1,2", "\0", "é", "1_0", "NA"]
    ),
    st.text(max_size=4),
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Generate CSV files with a few invalid cells, lines and bytes."""
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(8, 30) | st.integers(0, 30))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    table = [list("xyzw"[:columns]), *([f"{value:.3g}" for value in random.normal(size=columns)] for _ in range(rows))]
    for _ in range(draw(st.integers(0, 3))):
        line = table[draw(st.integers(0, rows))]
        line[draw(st.integers(0, len(line) - 1))] = draw(CELLS)
    content = (
        draw(st.sampled_from(["\n", "\r\n", "\r"])).join(",".join(line) for line in table).encode("utf-8", "replace")
    )
    return spoiled(draw, content)


def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """Return the content unchanged, cut off, with changed or added bytes, or replaced."""
    kind = draw(st.sampled_from([*["whole"] * 5, "cut", "bytes", "more", "other"]))
    if kind == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if kind == "bytes" and content:
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "more":
        return content + draw(st.binary(max_size=20))
    return draw(st.binary(max_size=100)) if kind == "other" else content


def assert_files_trained_or_refused(files: dict[str, bytes], *arguments: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        (folder / "data").mkdir(exist_ok=True)
        before = {path: path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()}
        assert_trained_or_refused(train(folder, *arguments), folder, {"data"})
        assert {path: path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()} == before


@settings(GENERATED, max_examples=200)
@given(tables(), st.sampled_from("xxxyw"), st.sampled_from(["auto", "auto", "regression", "classification"]))
def test_a_table_trains_or_is_refused(content: bytes, target: str, task: str) -> None:
    arguments = ["dataset=csv", "dataset.path=data/table.csv", f"dataset.targets=[{target}]", f"dataset.task={task}"]
    assert_files_trained_or_refused({"data/table.csv": content}, *arguments, "model.hidden_sizes=[4]")


@settings(GENERATED, max_examples=100)
@given(st.data())
def test_a_text_trains_or_is_refused(data: st.DataObject) -> None:
    content = spoiled(
        data.draw, data.draw(st.text(max_size=60)).encode("utf-8", "replace") * data.draw(st.integers(1, 9))
    )
    small = ["model.embedding_size=8", "model.num_heads=2", "model.num_layers=1", "dataset.context_length=4"]
    assert_files_trained_or_refused(
        {"data/text.txt": content}, "dataset=text", "model=transformer", "dataset.path=data/text.txt", *small
    )


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    mode = draw(st.sampled_from(["L", "RGB", "RGBA", "P", "1", "I;16", "F", "LA", "CMYK"]))
    form = draw(st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"]))
    buffer = io.BytesIO()
    picture = Image.new("RGB", (draw(st.integers(1, 9)), draw(st.integers(1, 9))), (9, 99, 199))
    try:
        picture.convert(mode).save(buffer, form)
    except (OSError, ValueError):  # the format does not support this mode
        picture.save(buffer, "PNG")
    return spoiled(draw, buffer.getvalue())


@settings(GENERATED, max_examples=100)
@given(st.lists(pictures(), min_size=1, max_size=3), st.booleans())
def test_pictures_train_or_are_refused(made: list[bytes], grey: bool) -> None:
    good = io.BytesIO()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(good, "PNG")
    files = {f"data/pictures/{name}/{number}.png": good.getvalue() for name in "ab" for number in range(4)}
    files |= {f"data/pictures/a/made{number}.png": content for number, content in enumerate(made)}
    arguments = ["dataset=image_folder", "dataset.path=data/pictures", "dataset.size=4", "dataset.num_workers=0"]
    assert_files_trained_or_refused(files, *arguments, f"dataset.grey={grey}", "model.hidden_sizes=[4]")


def idx(shape: tuple[int, ...], seed: int, below: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, below, shape, dtype=np.uint8)
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">i4").tobytes() + values.tobytes()


@settings(GENERATED, max_examples=100)
@given(st.data())
def test_idx_files_train_or_are_refused(data: st.DataObject) -> None:
    draw: Any = data.draw
    examples, size = draw(st.integers(0, 20)), draw(st.integers(0, 6))
    whole = [idx((examples, size, size), 0, 256), idx((examples,), 1, draw(st.sampled_from([10, 200])))] * 2
    changed = draw(st.integers(0, 3))
    contents = [spoiled(draw, content) if number == changed else content for number, content in enumerate(whole)]
    files = {f"data/MNIST/raw/{name}": content for name, content in zip(FILES, contents, strict=True)}
    assert_files_trained_or_refused(
        files, "dataset=mnist", "data_dir=data", "dataset.validation=2", "model.hidden_sizes=[4]"
    )
