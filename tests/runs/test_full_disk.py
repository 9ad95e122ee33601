"""A disk that is full, or read-only: one line, nothing lost that was there, and the run goes on once it can."""

import builtins
import errno
import io
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.commands import TINY, Ended, train
from support.interrupted import RUN, assert_equal, interrupted

from dl_lab.runs import checkpoint
from dl_lab.sweeps import manifest

REASONS = {number: os.strerror(number) for number in (errno.ENOSPC, errno.EROFS, errno.EIO)}


class Disk:
    """Counts what is opened for writing, written, flushed, and renamed below a folder; refuses from a number on."""

    def __init__(self, folder: Path, refuses_from: int | None, reason: int = errno.ENOSPC):
        self.folder, self.refuses_from, self.reason, self.count = folder, refuses_from, reason, 0

    def act(self) -> None:
        self.count += 1
        if self.refuses_from is not None and self.count >= self.refuses_from:
            raise OSError(self.reason, os.strerror(self.reason))

    def is_below(self, path: object) -> bool:
        return str(self.folder) in str(Path(str(path)).absolute())

    def __enter__(self) -> "Disk":
        self.patch = pytest.MonkeyPatch()
        really_open, really_replace, really_sync = io.open, Path.replace, os.fsync
        disk = self

        class Writer(io.FileIO):
            def write(self, data: Any, /) -> int:
                disk.act()
                return super().write(data)

        def opened(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if isinstance(path, int) or not disk.is_below(path) or not set(mode) & set("wax"):
                return really_open(path, mode, *arguments, **named)
            buffered = io.BufferedWriter(Writer(path, mode.replace("b", ""), opener=named.get("opener")))
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

        def replaced(path: Path, target: Path) -> Path:
            if disk.is_below(path):
                disk.act()
            return really_replace(path, target)

        def synced(descriptor: int) -> None:
            disk.act()
            really_sync(descriptor)

        self.patch.setattr(Path, "open", opened)
        self.patch.setattr(builtins, "open", opened)
        self.patch.setattr(Path, "replace", replaced)
        self.patch.setattr(os, "fsync", synced)
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def on(disk: Disk, folder: Path, *arguments: str) -> Ended:
    with disk:
        return train(folder, *arguments)


def writes_of_a_run() -> int:
    """How often a run writes, flushes and renames."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder), None)
        assert on(disk, Path(folder), *RUN).status == 0
        return disk.count


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return train(tmp_path_factory.mktemp("whole"), *RUN)


def checkpoints(folder: Path) -> dict[str, int]:
    """The step of each checkpoint, which is whole."""
    found = sorted((folder / "run" / "checkpoints").glob("*.pt"))
    return {path.name: checkpoint.load(path, torch.device("cpu"))["step"] for path in found}


def assert_tells_of_the_disk(ended: Ended, reason: int) -> None:
    assert ended.status in (1, 2)
    assert REASONS[reason] in ended.err
    assert len(ended.err.splitlines()) == 1, ended.err
    assert "Traceback" not in ended.err


def goes_on(folder: Path, whole: Ended) -> None:
    """With room again: from where the run was, or from its start if it had not begun."""
    begun = (folder / "run" / ".hydra" / "config.yaml").exists()
    again = train(folder, "resume=run") if begun else train(folder, *RUN)
    assert again.status == 0, again.err
    assert_equal(again, whole)


@pytest.mark.faults
def test_a_disk_that_is_full_from_any_write_on(tmp_path, whole):
    """Each of the run's writes, flushes and renamings in turn is the first of those that fail."""
    writes = writes_of_a_run()
    assert writes > 40
    for number in range(1, writes + 1):
        folder = tmp_path / str(number)
        ended = on(Disk(folder, number), folder, *RUN)
        assert_tells_of_the_disk(ended, errno.ENOSPC)
        checkpoints(folder)
        goes_on(folder, whole)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("part", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_a_disk_that_refuses_some_way_into_a_run(tmp_path, whole, part, reason):
    ended = on(Disk(tmp_path, int(part * writes_of_a_run()), reason), tmp_path, *RUN)
    assert_tells_of_the_disk(ended, reason)
    if (tmp_path / "run" / "checkpoints").exists() and checkpoints(tmp_path):
        assert "continue with python -m dl_lab.train resume=" in ended.err
    goes_on(tmp_path, whole)


def test_what_was_there_is_there_while_a_full_disk_refuses_to_go_on(tmp_path, whole):
    interrupted(tmp_path, 15, *RUN)
    before = checkpoints(tmp_path)
    for number in (1, 2, 3, 5, 8, 13):
        assert_tells_of_the_disk(on(Disk(tmp_path, number), tmp_path, "resume=run"), errno.ENOSPC)
        assert checkpoints(tmp_path) == before
    goes_on(tmp_path, whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 240 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=240k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    ) if os.name == "posix" and Path("/bin/mount").exists() else None  # fmt: skip
    if mounted is None or mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here ({mounted.stderr.strip() if mounted else 'no mount'})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.faults
def test_a_real_disk_that_is_full(tmp_path, small_disk, whole):
    for kilobytes in range(60, 230, 10):
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(1000 * kilobytes))
        folder = small_disk / "work"
        ended = train(folder, *RUN)
        if ended.status:
            assert_tells_of_the_disk(ended, errno.ENOSPC)
            if (folder / "run" / "checkpoints").exists():
                checkpoints(folder)
        ballast.unlink()
        if ended.status:
            goes_on(folder, whole)
        subprocess.run(["rm", "-r", str(folder)], check=True)


@pytest.mark.faults
def test_a_real_run_folder_that_has_become_read_only(small_disk, whole):
    interrupted(small_disk, 15, *RUN)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        assert_tells_of_the_disk(train(small_disk, "resume=run"), errno.EROFS)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    goes_on(small_disk, whole)


SWEEP = ("-m", *TINY, "model.hidden_sizes=[8]", "seed=0,1,2", "hydra.sweep.dir=sweep")
LAUNCHERS = {
    "in_turn": ("hydra/launcher=in_turn",),
    "basic": ("hydra/launcher=basic",),
    "stack": ("hydra/launcher=vectorized", "hydra.launcher.processes=1"),
    "processes": ("hydra/launcher=processes", "hydra.launcher.processes=2"),
    "stacks": ("hydra/launcher=vectorized", "hydra.launcher.processes=2"),
}


def assert_a_sweep_tells_and_goes_on(ended: Ended, folder: Path) -> None:
    """One line and no traceback of a thread, which would be a warning here. The sweep continues once there is room."""
    assert_tells_of_the_disk(ended, errno.ENOSPC)
    resumes = "sweep.resume=sweep" if (folder / "sweep" / "sweep.json").exists() else "tags=[]"
    again = train(folder, *SWEEP, resumes)
    assert again.status == 0, again.err
    assert len(again.runs) == 3


@pytest.mark.parametrize("launcher", ["in_turn", "stack"])
@pytest.mark.parametrize("write", [1, 9, 40, 80])
def test_a_disk_that_is_full_during_a_sweep(tmp_path, monkeypatch, launcher, write):
    monkeypatch.setattr(manifest, "WRITE_DELAY", 0)
    ended = on(Disk(tmp_path, write), tmp_path, *SWEEP, *LAUNCHERS[launcher])
    assert_a_sweep_tells_and_goes_on(ended, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
def test_a_real_disk_that_is_full_during_a_sweep(small_disk, launcher):
    for kilobytes in (232, 224, 208, 180, 140):
        ballast, folder = small_disk / "ballast", small_disk / "work"
        ballast.write_bytes(bytes(1024 * kilobytes))
        ended = train(folder, *SWEEP, *launcher)
        ballast.unlink()
        assert_a_sweep_tells_and_goes_on(ended, folder)
        subprocess.run(["rm", "-r", str(folder)], check=True)
