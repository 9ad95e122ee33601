"""Two thousand damaged and hostile run and sweep folders: every command ends with a status and at most a few lines. It
never ends in a traceback or hangs, executes nothing, and writes and deletes nothing outside the folders it was given.
"""

import json
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.commands import TINY, Ended, command, train
from support.interrupted import RUN, interrupted

from dl_lab import compare, evaluate
from dl_lab import train as training
from dl_lab.core.errors import printable
from dl_lab.core.signals import Signals
from dl_lab.runs import checkpoint

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


def nested(depth: int, inner: object = 1) -> object:
    for _ in range(depth):
        inner = [inner]
    return inner


DEEP = "replaced by nesting that no recursion survives"
VALUES = [
    None, True, -1, 0, 3, 2**63, 10**400, 1e308, -1e308, 1e-320, float("nan"), float("inf"), 0.5, "", "1" * 400,
    "x" * 10_000,
    "\x1b]52;c;YQ==\x07", "\u202e\x9b2J", "a\nb", "../private", "/dev/zero", "${oc.env:HOME}", "${seed}", "???", "\0",
    "imports=[evil]", "[evil]", ["evil"], [], {}, [[]], {"": 1}, {"_target_": "evil.main"}, {"name": "adam"},
    nested(60), DEEP,
]  # fmt: skip
TENSORS = [
    torch.zeros(0), torch.full((3,), float("nan")), torch.full((3, 8), 1e38), torch.zeros(1).expand(10**13),
    torch.zeros(2, dtype=torch.complex64), torch.ones(4, dtype=torch.bool), torch.zeros(2, 3, 4),
    torch.eye(2).to_sparse(),
]  # fmt: skip


def fields(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in `content` with each of its keys or places."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        yield content, key
        yield from fields(content[key])


def change_field(content: Any, chance: random.Random, values: Sequence[object]) -> Any:
    """Replace, remove or rename a field, or the whole content."""
    places = list(fields(content))
    if not places or chance.random() < 0.03:
        return chance.choice(values)
    container, key = chance.choice(places)
    act = chance.choice(["replace"] * 5 + ["remove", "rename"])
    value = container.pop(key) if act != "replace" else chance.choice(values)
    if act == "replace":
        container[key] = value
    elif act == "rename" and isinstance(container, dict):
        container[chance.choice(["", "evil", "imports", "../x", "\x1b[2J", 3, "name", "step"])] = value
    return content


def change_content(path: Path, chance: random.Random) -> None:
    """Change a field of a file, and write it as it was written before."""
    deep = "[" * 100_000 + "]" * 100_000
    if path.suffix == ".pt":
        contents = torch.load(path, weights_only=True)
        checkpoint.save(path, change_field(contents, chance, [*VALUES, *TENSORS]))
    elif path.suffix == ".yaml":
        text = yaml.safe_dump(change_field(yaml.safe_load(path.read_text()), chance, VALUES), allow_unicode=True)
        path.write_text(text.replace(DEEP, deep))
    elif path.suffix == ".json":
        text = json.dumps(change_field(json.loads(path.read_text()), chance, VALUES))
        path.write_text(text.replace(f'"{DEEP}"', deep))
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        number = chance.randrange(len(lines))
        line = json.dumps(change_field(json.loads(lines[number]), chance, VALUES))
        lines[number] = line.replace(f'"{DEEP}"', deep)
        path.write_text("\n".join(lines) + "\n")
    else:
        damage(path, chance)


def damage(path: Path, chance: random.Random) -> None:
    """Flip a bit, cut the file off, or write something else into it."""
    content = bytearray(path.read_bytes())
    where = chance.randrange(len(content) or 1)
    if (act := chance.randrange(5)) == 0 and content:
        content[where] ^= 1 << chance.randrange(8)
    elif act == 1:
        del content[where:]
    elif act == 2:
        content[where:where] = chance.randbytes(chance.choice([1, 9, 3000]))
    else:
        content = bytearray(chance.choice([b"", b"\xff\xfe", b"\0" * 999, b"[1]\n", b"a: &a [*a]", b"{" * 9999, b"\n"]))
    path.write_bytes(content)


def replace(path: Path, chance: random.Random, private: Path) -> None:
    """Put a link, a FIFO, a folder or nothing where a file or folder was. Links lead to a copy outside."""
    (shutil.copytree if path.is_dir() else shutil.copy)(path, private / path.name)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    act = chance.choice(["link", "link", "folder", "dangling", "loop", "zero", "fifo", "directory", "file", "nothing"])
    targets = {"link": private / path.name, "folder": private, "dangling": private / "new", "loop": path}
    if act in targets or act == "zero":
        path.symlink_to(targets.get(act, Path("/dev/zero")))
    elif act == "fifo":
        os.mkfifo(path)
    elif act == "directory":
        path.mkdir()
    elif act == "file":
        path.write_text("of somebody else")


def mutate(folder: Path, chance: random.Random) -> str:
    """Change a file or folder inside `folder`, and return what was changed and how."""
    paths = sorted(path for path in folder.rglob("*") if path.name != ".lock")
    path = chance.choice(paths)
    kind = chance.choice(["field", "field", "field", "damage", "replace"])
    if path.is_dir() or kind == "replace":
        replace(path, chance, folder.parent / "private")
    else:
        (change_content if kind == "field" else damage)(path, chance)
    return f"{path.relative_to(folder.parent)} ({kind})"


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
        if name.parts[0] not in OURS:
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
