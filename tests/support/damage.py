"""Damage a run or sweep folder as somebody else may have: fields, bits, links, special files, and files planted."""

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from dl_lab.core.atomic_io import is_plain
from dl_lab.runs import checkpoint


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


def fifos(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_fifo()]


def replace(path: Path, chance: random.Random, private: Path) -> None:
    """Put a link, a FIFO, a folder or nothing where a file or folder was. Links lead to a copy outside."""
    copy = private / f"{len(list(private.iterdir()))}.{path.name}"
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.copytree(path, copy, symlinks=True, ignore=fifos, dirs_exist_ok=True)
        shutil.rmtree(path)
    else:
        shutil.copy(path, copy)
        path.unlink()
    act = chance.choice(["link", "link", "folder", "dangling", "loop", "zero", "fifo", "directory", "file", "nothing"])
    targets = {"link": copy, "folder": private, "dangling": private / "new", "loop": path}
    if act in targets or act == "zero":
        path.symlink_to(targets.get(act, Path("/dev/zero")))
    elif act == "fifo":
        os.mkfifo(path)
    elif act == "directory":
        path.mkdir()
    elif act == "file":
        path.write_text("of somebody else")


PLANTED = (
    ".lock", "film.mkv.partial", ".last.pt.0123456789abcdef.dl_lab.partial", ".x.dl_lab.partial", "sweep.json",
    "events.out.tfevents.1.host.2.0", "events.out.tfevents.9999999999.host.2.0.dl_lab", "events.out.tfevents.x",
    "compare/2", "compare/mine.png", "compare/1/curves/x/events.out.tfevents.1", "compare/2/compare.md", "compare.csv",
    "checkpoints/mine.pt", ".hydra/config.yaml", ".hydra/hydra.yaml", "summary.json", "7/summary.json", "evil.py",
)  # fmt: skip


USERS = {"film.mkv.partial", ".x.dl_lab.partial", "mine.png", "mine.pt", "evil.py", "events.out.tfevents.x"}
USERS |= {"events.out.tfevents.1.host.2.0", "events.out.tfevents.1"}  # names that dl_lab does not write


def plant(folder: Path, chance: random.Random, private: Path) -> str:
    """Put a file, a link, a FIFO or a folder where nothing was, and return its name."""
    folders = sorted(path for path in (folder, *folder.rglob("*")) if path.is_dir() and not path.is_symlink())
    path = chance.choice(folders) / chance.choice(PLANTED)
    if os.path.lexists(path) or any(parent.is_symlink() or parent.is_file() for parent in path.parents):
        return "nothing"
    path.parent.mkdir(parents=True, exist_ok=True)
    if (act := chance.choice(["file", "file", "link", "folder", "fifo"])) == "file":
        path.write_bytes(chance.choice([b"", b"of somebody else", b"\0" * 99, b"{}", b"- 1\n", b"a: 1\n"]))
    elif act == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(private if act == "folder" else private / chance.choice(["note.txt", "new"]))
    return f"{path.relative_to(folder.parent)} (planted {act})"


def mutate(folder: Path, chance: random.Random) -> str:
    """Change one file or folder inside `folder`, or several, and return what was changed and how."""
    acts = chance.choice([[change], [change], [change], [change, change], [plant], [plant, change]])
    return ", ".join(act(folder, chance, folder.parent / "private") for act in acts)


def change(folder: Path, chance: random.Random, private: Path) -> str:
    """Change a file or folder inside `folder`, and return what was changed and how."""
    paths = sorted(path for path in folder.rglob("*") if path.is_dir() or is_plain(path))
    path = chance.choice(paths)
    kind = chance.choice(["field", "field", "field", "damage", "replace"])
    if path.is_dir() or kind == "replace":
        replace(path, chance, private)
    else:
        try:
            (change_content if kind == "field" else damage)(path, chance)
        except Exception:  # of many kinds: an earlier change has damaged it
            damage(path, chance)
    return f"{path.relative_to(folder.parent)} ({kind})"
