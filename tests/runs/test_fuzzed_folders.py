"""Two thousand damaged and hostile run and sweep folders: every command ends with a status and at most a few lines. It
never ends in a traceback or hangs, executes nothing, and writes and deletes nothing outside the folders it was given.
"""

import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.commands import TINY, Ended, command, train
from support.damage import USERS, mutate
from support.interrupted import RUN, interrupted

from dl_lab import compare, evaluate
from dl_lab import train as training
from dl_lab.core.errors import printable
from dl_lab.core.signals import Signals

pytestmark = pytest.mark.faults

CASES, PARTS = 2000, 20
SECONDS = 6  # after which a command counts as hanging
STEPS = 30  # after which a run is stopped, because a damaged configuration may ask for any number
STOPPED = 128  # plus 0, because no signal was sent
SWEEP = ("-m", *TINY, "seed=0,1")
COMMANDS: dict[str, Sequence[tuple[Callable[[], None], tuple[str, ...]]]] = {
    "run": [
        (training.main, ("resume=run",)),
        (training.main, ("resume=run", "train.steps=24")),
        (training.main, ("rerun=run", "hydra.run.dir=again")),
        (evaluate.main, ("run=run",)),
        (evaluate.main, ("run=run", "checkpoint=last")),
        (compare.main, ("run", "done", "out=out")),
    ],
    "sweep": [
        (training.main, (*SWEEP, "sweep.resume=sweep")),
        (training.main, (*SWEEP, "sweep.resume=sweep", "hydra/launcher=vectorized")),
        (training.main, (*SWEEP, "hydra.sweep.dir=sweep")),
        (compare.main, ("sweep",)),
        (evaluate.main, ("run=sweep/0",)),
    ],
}
OURS = {"run", "sweep", "again", "out", "outputs", "data"}  # what a command may write


class Hangs(BaseException):
    """A command has not ended in time."""


executed: list[str] = []
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """Record what starts a program or imports a planted module."""
    starts = event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
    if watching and (starts or (event == "import" and arguments[0] == "evil")):
        executed.append(f"{event} {arguments[:2]}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interrupted run, a completed one, a sweep with an interrupted job, and files outside, which stay the same."""
    folder = tmp_path_factory.mktemp("made")
    interrupted(folder, 15, *RUN)
    train(folder, *RUN, "hydra.run.dir=done")
    train(folder, *SWEEP, "hydra.sweep.dir=sweep")
    command(compare.main, folder, "sweep")
    (folder / "sweep" / "1" / "summary.json").unlink()
    (folder / "private" / "inner").mkdir(parents=True)
    for name in ("private/note.txt", "private/inner/compare.md", "evil.py"):
        (folder / name).write_text("raise SystemExit('executed')")
    sys.addaudithook(watch)
    return folder


@pytest.fixture
def alarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop runs after a few steps, and commands that hang."""
    asked = 0

    def received(self: Signals) -> bool:
        nonlocal asked
        asked += 1
        return asked % STEPS == 0

    def hang(*_: object) -> None:
        raise Hangs

    monkeypatch.setattr(Signals, "received", received)
    before = signal.signal(signal.SIGALRM, hang)
    yield
    signal.signal(signal.SIGALRM, before)


def outside(folder: Path) -> dict[str, object]:
    """The name, size, time and target of everything that no command may change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] not in OURS or name.name in USERS:
            stat = path.lstat()
            found[str(name)] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


def problem(ended: Ended | BaseException) -> str | None:
    """What is wrong with the end of a command."""
    if isinstance(ended, Hangs):
        return "hangs"
    if isinstance(ended, BaseException):
        return f"traceback: {type(ended).__name__}: {ended}"[:300]
    lines = ended.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if ended.status not in (0, 1, 2, STOPPED) or "Traceback" in ended.err:
        return f"status {ended.status}: {ended.err[-700:]}"
    advice = len(errors) == 1 and re.search("allowed: |hint: ", errors[0])
    if ended.status == 2 and not advice:
        return f"not one line: {ended.err[:900]}"
    if len(lines) > 6 or any(len(line) > 2000 for line in lines):
        return f"too much: {len(lines)} lines, {len(ended.err)} characters: {ended.err[:300]}"
    if printable(ended.err + ended.out, "\n\t") != ended.err + ended.out:
        return f"control characters: {ended.err + ended.out!r}"[:900]
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_folder_is_read_or_refused(tmp_path: Path, made: Path, alarmed: None, part: int) -> None:
    global watching
    problems = []
    for case in range(part, CASES, PARTS):
        chance, folder = random.Random(case), tmp_path / str(case)
        shutil.copytree(made, folder, symlinks=True)
        which = chance.choice(list(COMMANDS))
        what = mutate(folder / which, chance)
        main, arguments = chance.choice(COMMANDS[which])
        before = outside(folder)
        watching = True
        signal.alarm(SECONDS)
        try:
            ended: Ended | BaseException = command(main, folder, *arguments)
        except BaseException as error:
            ended = error
        signal.alarm(0)
        watching = False
        found = [problem(ended), *executed]
        changed = {name for name, stat in outside(folder).items() ^ before.items()}
        found += [f"changed outside: {sorted(changed)}"] if changed else []
        problems += [f"{case}: {what}, {' '.join(arguments)}: {each}" for each in found if each]
        executed.clear()
        shutil.rmtree(folder)
    assert not problems, "\n".join(problems)
