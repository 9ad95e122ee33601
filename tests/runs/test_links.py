"""Files that are not ours, and links that lead to them, stay as they are."""

from pathlib import Path

import pytest
from support.commands import train
from support.interrupted import RUN, interrupted

from dl_lab.core.atomic_io import atomic_write
from dl_lab.runs.folders import locked

LEFT = ".last.pt.0123456789abcdef.dl_lab.partial"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_atomic_write_replaces_links_and_follows_none(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_text("mine")
    path.symlink_to(victim)
    (tmp_path / "file.partial").symlink_to(victim)
    with atomic_write(path) as file, atomic_write(path) as other:
        file.write(b"first")
        other.write(b"second")
    assert (path.read_text(), path.is_symlink(), victim.read_text()) == ("first", False, "mine")
    assert sorted(names(tmp_path)) == ["file", "file.partial", "victim"]


@pytest.mark.parametrize("name", [".hydra", "checkpoints", "metrics.jsonl", ".lock"])
@pytest.mark.parametrize("dangling", [True, False])
def test_a_new_run_writes_through_no_link(tmp_path, name, dangling):
    private = tmp_path / "private"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(private)
    if not dangling:
        private.mkdir()
    ended = train(tmp_path, *RUN)
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert name in ended.err
    assert names(tmp_path / "run") == [name]
    assert private.exists() is not dangling
    assert dangling or names(private) == []


def test_a_lock_with_contents_is_kept(tmp_path):
    (tmp_path / ".lock").write_text("of another program")
    with pytest.raises(ValueError, match="not a lock of dl_lab"), locked(tmp_path, "run"):
        pass
    assert (tmp_path / ".lock").read_text() == "of another program"


def test_a_resumed_run_removes_only_its_own_files(tmp_path):
    interrupted(tmp_path, 15, *RUN)
    run = tmp_path / "run"
    users = ["film.mkv.partial", f"data/{LEFT}", ".x.dl_lab.partial", "events.out.tfevents.1.host.2.0"]
    (run / "data").mkdir()
    for name in (*users, f"checkpoints/{LEFT}"):
        (run / name).write_text("mine")
    assert train(tmp_path, "resume=run").status == 0
    assert [(run / name).read_text() for name in users] == ["mine"] * 4
    assert not (run / "checkpoints" / LEFT).exists()
