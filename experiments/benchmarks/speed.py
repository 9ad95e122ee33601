"""Is dl_lab faster than a hand-written training loop?

    python -m experiments.speed [ROW ...] [--pairs 5] [--nanogpt FOLDER] [--update]

Each row runs dl_lab and a baseline alternately and reports the median, least and greatest ratio of the pairs: seconds
depend on the machine, ratios of alternating runs hardly do. Without names of rows, the table is written to
outputs/experiments/RESULTS.md (with --update to experiments/RESULTS.md) and a bar chart to TensorBoard under
outputs/experiments/speed. Some baselines need Fashion-MNIST under $DL_LAB_DATA, PyTorch Lightning, or a checkout of
nanoGPT with prepared data; their rows say so.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from itertools import islice, pairwise
from pathlib import Path

import torch

from dl_lab.config.compose import compose
from dl_lab.config.parse import parse
from dl_lab.core.progress import Progress
from dl_lab.data.batching import training_batches
from dl_lab.runs.logger import RunLogger
from dl_lab.training import loop
from dl_lab.training.setup import build_data, build_run
from dl_lab.training.state import ActiveRun
from experiments.benchmarks import baselines, reading
from experiments.benchmarks.harness import BaselineMissing, Row, command, lightning, parse_arguments, show_table

MLP = ("dataset=fashion_mnist", "model.hidden_sizes=[256,128]", "train.batch_size=64", "dataset.validation=100")
TINY = ("model.hidden_sizes=[32]",)
CNN = ("dataset=fashion_mnist", "model=cnn", "train.batch_size=64", "dataset.validation=100")
NANOGPT = ("model=transformer", "dataset=tiny_shakespeare", "train.batch_size=12", "model.bias=false")
NANOGPT += ("optimizer=adamw", "optimizer.betas=[0.9,0.99]", "optimizer.weight_decay=0.1", "train.max_grad_norm=1")
NANOGPT += ("dataset.validation=100",)


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
    with tempfile.TemporaryDirectory() as folder, RunLogger(Path(folder), run.as_dict, []) as logger:
        for inputs, targets in islice(training_batches(plan.data.train, 0, plan.batch_size, plan.device), 10):
            loop.train_step(state, plan, inputs, targets)
            state.step += 1
        start = time.perf_counter()
        with redirect_stdout(StringIO()):
            stopwatch = Stopwatch(plan.total_steps)
            loop.fit(ActiveRun(plan, state, logger, stopwatch))
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


def against_import_torch(*arguments: str) -> tuple[float, float]:
    return command("-m", "dl_lab.train", *arguments)[0], command("-c", "import torch")[0]


def against_lightning() -> tuple[float, float]:
    theirs = lightning(str(fashion_mnist()))
    return command("-m", "dl_lab.train", *MLP[:3], "train.epochs=1")[0], theirs


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
    inputs = torch.cat([plan.data.prepare(images) for images, _ in plan.data.test.everything(1000)])
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
        settings = ("dataset=image_folder", "model=cnn", f"dataset.path={folder}", "dataset.statistics_examples=10")
        split = build_data(parse(compose(*settings))).train
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
    compiled = "step, transformer, nanoGPT's CPU recipe, compile=true against nanoGPT's --compile=False"
    eager = "the same, compile=false (the default of short runs)"
    return {
        "mlp": Row("step, mlp [256, 128], batch 64", 1.0, 0.6, partial(against_loop, "mlp", 64, 900, *MLP)),
        "tiny": Row("step, digits, mlp [32], batch 32", 1.0, 0.6, partial(against_loop, "tiny", 32, 2000, *TINY)),
        "cnn": Row("step, cnn, batch 64, float32", 0.8, 0.5, partial(against_loop, "cnn", 64, 60, *CNN)),
        "cnn_bfloat16": Row("step, cnn, batch 64, bfloat16", 0.6, 0.5, in_bfloat16),
        "transformer": Row(compiled, 0.75, 0.5, partial(against_nanogpt, nanogpt, "compile=true")),
        "transformer_eager": Row(eager, 1.0, 0.75, partial(against_nanogpt, nanogpt)),
        "lightning": Row("one epoch of mlp from cold, against Lightning", 0.3, 0.2, against_lightning),
        "help": Row(seconds.format("--help"), 0.35, 0.2, partial(against_import_torch, "--help")),
        "cfg": Row(seconds.format("--cfg job"), 0.35, 0.2, partial(against_import_torch, "--cfg", "job")),
        "typo": Row(seconds.format("model=cnnn"), 0.35, 0.2, partial(against_import_torch, "model=cnnn")),
        "cold": Row(seconds.format("train.steps=1"), 1.6, 1.25, partial(against_import_torch, "train.steps=1")),
        "memory": Row("peak memory, against import torch + data + 250 MB", 1.0, 0.86, memory),
        "validation": Row("validation of 10,000 images, against a forward pass", 1.1, 1.0, validation),
        "table": Row("a table of 57 MB ready to train, against polars.read_csv", 3.0, 2.0, reading.seconds),
        "table_memory": Row("the same, peak memory against the file size", 6.0, 4.0, reading.megabytes),
        "streaming": Row("streaming image_folder, 2 workers", 1.0, 0.8, streaming),
    }


def main() -> None:
    options = parse_arguments(__doc__, rows(None), 5, "nanogpt")
    show_table("Speed", "python -m experiments.speed", rows(options.nanogpt), options)


if __name__ == "__main__":
    main()
