"""Runs whose data change or vanish, whose workers die, that run out of memory, or whose clock goes backwards."""

import gc
import json
import os
import signal
import threading
import zlib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.commands import TINY, spawn, train
from support.configs import choices
from support.interrupted import RUN, assert_equal, assert_resumes, interrupted, while_it_runs
from support.server import refusal, serving
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dl_lab.core import atomic_io, download
from dl_lab.runs import tensorboard
from dl_lab.training import loop

SHORT = ("train.steps=12", "train.validate_every=4", "train.log_every=3", "hydra.run.dir=run", "data_dir=/nowhere")
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def pictures(folder: Path) -> tuple[str, ...]:
    """Write twenty images of each of two classes and return the overrides that stream them."""
    for name in ("a", "b"):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            shade = (9 * number, 200 if name == "a" else 20, number)
            Image.new("RGB", (6, 6), shade).save(folder / "pictures" / name / f"{number}.png")
    path = f"dataset.path={folder / 'pictures'}"
    return ("dataset=image_folder", path, "dataset.size=6", "train.batch_size=8", "dataset.num_workers=2")


def files(folder: Path) -> dict[str, tuple[str, ...]]:
    """Write small files and return the overrides of every dataset that needs no network."""
    rows = "\n".join(f"{number % 7},{number % 5},{number % 3}" for number in range(60))
    (folder / "table.csv").write_text(f"x,y,z\n{rows}\n")
    (folder / "text.txt").write_text("to be, or not to be, that is the question\n" * 9)
    little = ("model=transformer", "model.embedding_size=8", "model.num_heads=2", "model.num_layers=1")
    tokens = dict.fromkeys(("sorting", "modular_addition"), little)
    text = (*little, f"dataset.path={folder / 'text.txt'}", "dataset.context_length=8")
    table = (f"dataset.path={folder / 'table.csv'}", "dataset.targets=[z]")
    return {**tokens, "text": text, "csv": table, "table": table, "image_folder": pictures(folder)}


ELSEWHERE = ("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "tiny_shakespeare", "memory")


@pytest.mark.parametrize("name", [name for name in choices("dataset") if name not in ELSEWHERE])
def test_every_dataset_resumes_bit_for_bit(tmp_path, name):
    assert_resumes(tmp_path, 7, f"dataset={name}", *files(tmp_path).get(name, ()), *SHORT)


@pytest.mark.parametrize("name", choices("model"))
def test_every_model_resumes_bit_for_bit(tmp_path, name):
    dropped = ["dropout.input_p=0.2"] if name in ("linear", "logistic") else ["dropout.p=0.2"]
    small = ("dataset.examples=64", "train.batch_size=16", *SHORT)
    assert_resumes(tmp_path, 7, f"model={name}", "dropout=dropout", "dropout.p=0", *dropped, *small)


@pytest.mark.faults
def test_run_fails_if_images_vanish_and_resumes_once_they_are_back(tmp_path):
    overrides = (*pictures(tmp_path), *SHORT)
    whole = train(tmp_path / "whole", *overrides)
    away = tmp_path / "away"
    here = tmp_path / "here"
    ended = while_it_runs(here, 5, lambda: (tmp_path / "pictures" / "a").rename(away), *overrides)
    assert ended.status == 1
    assert len(ended.err.splitlines()) == 1, ended.err
    assert "is not a readable image (FileNotFoundError)" in ended.err
    assert "continue with python -m dl_lab.train resume=" in ended.err
    assert ended.summary["status"] == "failed"
    away.rename(tmp_path / "pictures" / "a")
    assert_equal(train(here, "resume=run"), whole)


@pytest.mark.parametrize("name", ["csv", "text", "image_folder"])
def test_run_does_not_resume_with_changed_data(tmp_path, name):
    overrides = (f"dataset={name}", *files(tmp_path)[name], *SHORT)
    interrupted(tmp_path, 7, *overrides)
    for path in (tmp_path / "table.csv", tmp_path / "text.txt", tmp_path / "pictures" / "a" / "1.png"):
        path.write_bytes(path.read_bytes().replace(b"1", b"2") + b"3,3,1\n")
    ended = train(tmp_path, "resume=run")
    assert ended.status == 2, ended.err
    assert "has changed since run was trained" in ended.err


def change(folder: Path, byte: int) -> None:
    path = folder / "a.bmp"
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("read_whole", "notices"), [(atomic_io.READ_WHOLE, {0, 30_000, 59_999}), (0, {0, 59_999})])
def test_fingerprint_notices_a_change_that_keeps_the_size(tmp_path, monkeypatch, read_whole, notices):
    """Of a folder that is too large to be read as a whole, only the ends of each file count."""
    monkeypatch.setattr(atomic_io, "READ_WHOLE", read_whole)
    (tmp_path / "a.bmp").write_bytes(bytes(60_000))
    for byte in (0, 30_000, 59_999):
        before = atomic_io.fingerprint(atomic_io.files_of(tmp_path))
        change(tmp_path, byte)
        assert (atomic_io.fingerprint(atomic_io.files_of(tmp_path)) != before) == (byte in notices)


def test_decompression_bomb_is_refused(tmp_path):
    """1 GB of pixels in a file of a hundred bytes."""
    overrides = (*pictures(tmp_path), *SHORT, "dataset.num_workers=0")
    path = tmp_path / "pictures" / "a" / "0.png"
    content = path.read_bytes()
    header = b"IHDR" + (20_000).to_bytes(4) * 2 + content[24:29]
    path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4) + content[33:])
    ended = train(tmp_path, *overrides)
    assert ended.status in (1, 2)
    assert f"{path} is not a readable image (DecompressionBombError)" in ended.err
    assert ended.err.count("\n") == 1


def test_csv_file_is_read_once(tmp_path):
    overrides = ("dataset=csv", *files(tmp_path)["csv"], *SHORT)
    whole = train(tmp_path / "whole", *overrides)
    assert_equal(while_it_runs(tmp_path / "here", 5, (tmp_path / "table.csv").unlink, *overrides), whole)


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the loader of dead workers
def test_run_fails_if_a_worker_is_killed_and_resumes(tmp_path):
    overrides = (*pictures(tmp_path), *SHORT)
    whole = train(tmp_path / "whole", *overrides)

    def kill_workers() -> None:
        import multiprocessing

        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
            child.join()

    here = tmp_path / "here"
    ended = while_it_runs(here, 6, kill_workers, *overrides)
    assert ended.status == 1, ended.err
    assert "DataLoader worker" in ended.err
    assert "dataset.num_workers=0" in ended.err
    assert len(ended.err.splitlines()) == 1, ended.err
    assert_equal(train(here, "resume=run"), whole)
    gc.collect()  # the queues of the killed workers, while their warnings are ignored


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_names_the_keys_that_help(tmp_path, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "train_step", fail)
    ended = train(tmp_path, *TINY)
    assert ended.status == 2
    assert "train.accumulate=2 or more" in ended.err
    assert "train.batch_size" in ended.err
    assert ended.err.count("\n") == 1


def test_nondeterministic_operation_is_named(tmp_path, monkeypatch):
    real = loop.train_step

    def step(*given: object) -> object:
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))  # without accumulate=True the last writer wins
        return real(*given)

    monkeypatch.setattr(loop, "train_step", step)
    try:
        ended = train(tmp_path, *TINY, "deterministic=true")
    finally:
        torch.use_deterministic_algorithms(False)
    assert ended.status == 2
    assert "put_" in ended.err
    assert "hint: deterministic=false" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.faults
def test_folder_is_written_by_one_run_only(tmp_path):
    """A second run asks for the folder while the first is running and again after it has ended."""
    here, line, seconds = tmp_path / "here", ("-m", "dl_lab.train", *RUN, "seed=1"), []
    first = while_it_runs(here, 3, lambda: seconds.append(spawn(here, *line)), *RUN)
    seconds.append(spawn(here, *line))
    assert first.status == 0, first.err
    assert [second.returncode for second in seconds] == [2, 2]
    assert "is being written by another run" in seconds[0].stderr
    assert "already holds a run" in seconds[1].stderr
    assert first.summary["seed"] == 0
    assert_equal(first, train(tmp_path / "alone", *RUN))


def test_clock_that_goes_backwards_keeps_the_order_of_events(tmp_path, monkeypatch):
    now = [2_000_000_000.0]

    def backwards() -> float:
        now[0] -= 100
        return now[0]

    monkeypatch.setattr(tensorboard.time, "time", backwards)
    interrupted(tmp_path, 9, *RUN)
    now[0] -= 1e6
    ended = train(tmp_path, "resume=run")
    assert ended.status == 0, ended.err
    assert ended.summary["seconds"] >= 0
    read = EventAccumulator(str(tmp_path / "run")).Reload()
    for tag in read.Tags()["scalars"]:
        points = read.Scalars(tag)
        assert [point.step for point in points] == sorted(point.step for point in points)
        assert [point.wall_time for point in points] == sorted(point.wall_time for point in points)


def promise(handler: BaseHTTPRequestHandler, length: int) -> None:
    """Announce `length` bytes."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def test_stalled_download_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    over, waited_out = threading.Event(), threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        promise(handler, 1000)
        handler.wfile.write(b"half")
        handler.wfile.flush()
        if not over.wait(20):
            waited_out.set()

    with serving({"/input.txt": stall}) as url:
        message = refusal(f"{url}/input.txt", tmp_path / "set" / "input.txt")
        over.set()
    assert "timed out" in message
    assert not waited_out.is_set()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_non_finite_number_is_reported_with_file_line_and_column(tmp_path):
    for cell in ("inf", "-inf", "1e39"):
        (tmp_path / "table.csv").write_text(f"x,y\n1,2\n3,{cell}\n" + "5,6\n" * 9)
        ended = train(tmp_path, "dataset=csv", "dataset.path=table.csv", "dataset.targets=[x]")
        assert ended.status == 2
        problem = "is not a number; allowed: finite numbers"
        assert f"dataset.path=table.csv line 3, column y: '{cell}' {problem}" in ended.err


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"status": 3'])
def test_run_with_a_damaged_summary_resumes_or_is_refused(tmp_path, damage):
    interrupted(tmp_path, 9, *RUN)
    (tmp_path / "run" / "summary.json").write_text(damage)
    ended = train(tmp_path, "resume=run")
    assert ended.status in (0, 2)
    if ended.status == 2:
        assert "summary.json" in ended.err
        assert ended.err.count("\n") == 1
    else:
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"
