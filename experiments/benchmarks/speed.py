"""Is dl_lab faster than a hand-written training loop?

    python -m experiments.speed [ROW ...] [--pairs 5] [--nanogpt FOLDER]

Each row runs dl_lab and a baseline alternately and reports the median, least and greatest ratio of the pairs: seconds
depend on the machine, ratios of alternating runs hardly do. Without names of rows, the table is written to
experiments/RESULTS.md and a bar chart to TensorBoard under outputs/experiments/speed. Some baselines need Fashion-MNIST
under $DL_LAB_DATA, PyTorch Lightning, or a checkout of nanoGPT with prepared data; their rows say so.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path

import torch

from dl_lab.config.compose import compose
from dl_lab.config.parse import parse
from dl_lab.core.progress import Progress
from dl_lab.data.splits import Streamed
from dl_lab.plotting.figures import ratio_bars
from dl_lab.runs.logger import Logbook
from dl_lab.runs.tensorboard import EventWriter
from dl_lab.training import loop
from dl_lab.training.setup import build_data, build_run
from dl_lab.training.state import ActiveRun
from experiments.benchmarks import baselines
from experiments.support.results_table import write_section

MLP = ("dataset=fashion_mnist", "model.hidden_sizes=[256,128]", "train.batch_size=64", "dataset.validation=100")
TINY = ("model.hidden_sizes=[32]",)
CNN = ("dataset=fashion_mnist", "model=cnn", "train.batch_size=64", "dataset.validation=100")
NANOGPT = ("model=transformer", "dataset=tiny_shakespeare", "train.batch_size=12", "model.bias=false")
NANOGPT += ("optimizer=adamw", "optimizer.betas=[0.9,0.99]", "optimizer.weight_decay=0.1", "train.max_grad_norm=1")
NANOGPT += ("dataset.validation=100",)
LIGHTNING = Path(__file__).with_name("lightning_baseline.py")


class BaselineMissing(Exception):
    """The baseline of a row cannot run on this machine."""


@dataclass(frozen=True)
class Row:
    """What is measured, its bound and aim as ratios, and a function that measures one pair (dl_lab, baseline)."""

    what: str
    bound: float
    aim: float
    pair: Callable[[], tuple[float, float]]


class Stopwatch(Progress):
    """Progress that also records when each step ended."""

    def __init__(self, total_steps: int):
        super().__init__(total_steps)
        self.ends: list[float] = []

    def advance(self) -> None:
        super().advance()
        self.ends.append(time.perf_counter())


def train(steps: int, *overrides: str) -> tuple[float, float]:
    """Seconds of `fit`, with metrics, TensorBoard, a validation and a checkpoint, and the median seconds of a step."""
    run = parse(compose(*overrides, f"train.steps={steps + 10}", f"train.validate_every={steps + 10}"))
    plan, state = build_run(run, build_data(run))
    with tempfile.TemporaryDirectory() as folder, Logbook(Path(folder), run.as_dict, []) as logbook:
        for inputs, targets in loop.islice(loop.training_batches(plan.data.train, 0, plan.batch_size, plan.device), 10):
            loop.train_step(state, plan, inputs, targets)
            state.step += 1
        start = time.perf_counter()
        with redirect_stdout(StringIO()):
            stopwatch = Stopwatch(plan.total_steps)
            loop.fit(ActiveRun(plan, state, logbook, stopwatch))
        return time.perf_counter() - start, statistics.median(e - s for s, e in pairwise(stopwatch.ends))


def fashion_mnist() -> Path:
    """The data folder; raises BaselineMissing if it does not contain Fashion-MNIST."""
    folder = parse(compose()).settings.data_folder
    if not (folder / "FashionMNIST" / "raw").is_dir():
        raise BaselineMissing("Fashion-MNIST is not under $DL_LAB_DATA")
    return folder


def against_loop(name: str, batch_size: int, steps: int, *overrides: str) -> tuple[float, float]:
    folder = Path() if name == "tiny" else fashion_mnist()
    ours, _ = train(steps, *overrides)
    return ours, baselines.train(name, folder, batch_size, steps)


def command(*arguments: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a Python process that runs in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # set here, because os.wait4 has already waited for the process
        return time.perf_counter() - start, usage.ru_maxrss / 1024


def against_import_torch(*arguments: str) -> tuple[float, float]:
    return command("-m", "dl_lab.train", *arguments)[0], command("-c", "import torch")[0]


def against_lightning() -> tuple[float, float]:
    folder = fashion_mnist()
    if subprocess.run([sys.executable, "-c", "import lightning"], capture_output=True, check=False).returncode:
        raise BaselineMissing("PyTorch Lightning is not installed")
    ours, _ = command("-m", "dl_lab.train", *MLP[:3], "train.epochs=1")
    return ours, command(str(LIGHTNING), str(folder))[0]


def memory() -> tuple[float, float]:
    """Peak megabytes of training, and of `import torch` plus the data as bytes (55 MB) plus 250 MB."""
    fashion_mnist()
    _, ours = command("-m", "dl_lab.train", *MLP[:3], "train.steps=200")
    return ours, command("-c", "import torch")[1] + 70_000 * 784 / 2**20 + 250


def validation() -> tuple[float, float]:
    """Seconds of a validation pass over 10,000 test images, with metrics, and of a bare forward pass."""
    fashion_mnist()
    run = parse(compose(*MLP))
    plan, state = build_run(run, build_data(run))
    assert plan.data.test is not None
    (inputs,) = [plan.data.prepare(images) for images, _ in plan.data.test.batches([plan.data.test.in_order()])]
    loop.evaluate(state.model, plan, plan.data.test)  # warm up both
    baselines.validate(state.model, inputs)
    start = time.perf_counter()
    loop.evaluate(state.model, plan, plan.data.test)
    return time.perf_counter() - start, baselines.validate(state.model, inputs)


def streaming() -> tuple[float, float]:
    """Seconds of reading 3,000 PNG images with two workers, by dl_lab and by torchvision."""
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    with tempfile.TemporaryDirectory() as folder:
        pixels = torch.randint(256, (3000, 48, 48, 3), dtype=torch.uint8).numpy()
        for number, picture in enumerate(pixels):
            path = Path(folder) / str(number % 10) / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture).save(path)
        run = parse(
            compose("dataset=image_folder", "model=cnn", f"dataset.path={folder}", "dataset.statistics_examples=10")
        )
        split = build_data(run).train
        assert isinstance(split, Streamed)
        start = time.perf_counter()
        for _ in split.batches(split.in_order().split(64)):
            pass
        ours = time.perf_counter() - start
        transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
        pictures = torch.utils.data.Subset(ImageFolder(folder, transform), split.indices.tolist())
        start = time.perf_counter()
        for _ in DataLoader(pictures, 64, num_workers=2):
            pass
        return ours, time.perf_counter() - start


def in_bfloat16() -> tuple[float, float]:
    if not torch.cpu._is_avx512_bf16_supported():
        raise BaselineMissing("this CPU has no bfloat16 arithmetic")
    return against_loop("cnn", 64, 60, *CNN, "precision=bfloat16")


def against_nanogpt(folder: Path | None, *overrides: str, steps: int = 60) -> tuple[float, float]:
    """Median milliseconds of a step, and those that nanoGPT's train.py prints for its CPU recipe, not compiled."""
    if folder is None or not (folder / "data" / "shakespeare_char" / "train.bin").exists():
        raise BaselineMissing("no checkout of nanoGPT with its data prepared: --nanogpt FOLDER")
    recipe = "--device=cpu --compile=False --eval_iters=1 --eval_interval=10000 --log_interval=1 --block_size=64"
    recipe += f" --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters={steps} --dropout=0.0"
    line = [sys.executable, "train.py", "config/train_shakespeare_char.py", *recipe.split()]
    printed = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True).stdout
    theirs = statistics.median(float(found) for found in re.findall(r"time ([\d.]+)ms", printed)[10:])
    return train(steps, *NANOGPT, *overrides)[1] * 1000, theirs


def rows(nanogpt: Path | None) -> dict[str, Row]:
    seconds = "seconds of {}, against import torch"
    return {
        "mlp": Row("step, mlp [256, 128], batch 64", 1.0, 0.6, partial(against_loop, "mlp", 64, 900, *MLP)),
        "tiny": Row("step, digits, mlp [32], batch 32", 1.0, 0.6, partial(against_loop, "tiny", 32, 2000, *TINY)),
        "cnn": Row("step, cnn, batch 64, float32", 0.8, 0.5, partial(against_loop, "cnn", 64, 60, *CNN)),
        "cnn_bfloat16": Row("step, cnn, batch 64, bfloat16", 0.6, 0.5, in_bfloat16),
        "transformer": Row(
            "step, transformer, nanoGPT's CPU recipe, compile=true against nanoGPT's --compile=False",
            0.75,
            0.5,
            partial(against_nanogpt, nanogpt, "compile=true"),
        ),
        "transformer_eager": Row(
            "the same, compile=false (the default of short runs)", 1.0, 0.75, partial(against_nanogpt, nanogpt)
        ),
        "lightning": Row("one epoch of mlp from cold, against Lightning", 0.3, 0.2, against_lightning),
        "help": Row(seconds.format("--help"), 0.35, 0.2, partial(against_import_torch, "--help")),
        "cfg": Row(seconds.format("--cfg job"), 0.35, 0.2, partial(against_import_torch, "--cfg", "job")),
        "typo": Row(seconds.format("model=cnnn"), 0.35, 0.2, partial(against_import_torch, "model=cnnn")),
        "cold": Row(seconds.format("train.steps=1"), 1.6, 1.25, partial(against_import_torch, "train.steps=1")),
        "memory": Row("peak memory, against import torch + data + 250 MB", 1.0, 0.86, memory),
        "validation": Row("validation of 10,000 images, against a forward pass", 1.1, 1.0, validation),
        "streaming": Row("streaming image_folder, 2 workers", 1.0, 0.8, streaming),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="; ".join(rows(None)))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--nanogpt", type=Path)
    options = parser.parse_args()
    known = rows(options.nanogpt)
    if unknown := set(options.rows) - set(known):
        parser.error(f"ROW={','.join(unknown)} is not known; allowed: {', '.join(known)}")
    show_table("Speed", "python -m experiments.speed", known, options.rows, options.pairs)


def show_table(section: str, command: str, known: dict[str, Row], chosen: list[str], number: int) -> None:
    """Print the ratios of the chosen rows, or of all rows and write them to RESULTS.md and TensorBoard."""
    rows = {name: known[name] for name in chosen or known}
    lines = ["| what | bound | aim | median | least to most | verdict |", "|---|---|---|---|---|---|"]
    measured: dict[str, list[float]] = {}
    for name, row in rows.items():
        try:
            pairs = [row.pair() for _ in range(number)]
        except BaselineMissing as reason:
            lines.append(f"| {row.what} | {row.bound:.3g} | {row.aim:.3g} | | | {reason} |")
        else:
            ratios = [ours / theirs for ours, theirs in pairs]
            median = statistics.median(ratios)
            verdict = "aim" if median <= row.aim else "holds" if median <= row.bound else "does not hold"
            spread = f"{min(ratios):.3g} to {max(ratios):.3g}"
            lines.append(f"| {row.what} | {row.bound:.3g} | {row.aim:.3g} | {median:.3g} | {spread} | {verdict} |")
            measured[name] = ratios
        print(lines[-1], flush=True)
    if chosen:
        return
    head = f"Ratios of dl_lab to the baseline, {number} pairs, {os.cpu_count()} cores, torch {torch.__version__}."
    write_section(section, "\n".join([f"{head} `{command}`", "", *lines]))
    if measured:
        events = EventWriter(Path(f"outputs/experiments/{section.lower()}"))
        names, bounds = [rows[name].what for name in measured], [rows[name].bound for name in measured]
        events.figure("speed", ratio_bars(names, list(measured.values()), bounds), 0)
        events.close()


if __name__ == "__main__":
    main()
