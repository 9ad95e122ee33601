"""A comparison replaces and removes only the files that a comparison has written."""

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from dl_lab.analysis import report_files
from dl_lab.analysis.report_files import RECORD, publish, recorded
from dl_lab.core.errors import ConfigError

EVENTS = "compare/curves/1 lr/events.out.tfevents.1.host.2.0.dl_lab"
FILES = {"compare.md": b"table", "compare/curves.png": b"picture", EVENTS: b"events"}


def contents(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != RECORD}


def test_a_comparison_replaces_its_own_files_and_keeps_all_others(tmp_path):
    publish({**FILES, "compare/by_lr.png": b"old"}, tmp_path)
    others = {"compare/mine.png": b"mine", "compare/by_lr.png": b"edited", "compare/events.out.tfevents.1.x": b"run"}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    publish({"compare.md": b"new"}, tmp_path)
    assert contents(tmp_path) == {**others, "compare.md": b"new"}
    assert {name for _, name in recorded(tmp_path)} == {"compare.md"}
    assert not (tmp_path / EVENTS).parent.exists()


@pytest.mark.parametrize("name", ["compare.md", "compare/holiday.png", "compare/metrics.jsonl", EVENTS, RECORD])
def test_files_of_somebody_else_are_refused_and_unchanged(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"is not as a comparison has written it.*hint"):
        publish(FILES, tmp_path)
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"mine"]


def test_an_edited_report_is_refused(tmp_path):
    publish(FILES, tmp_path)
    (tmp_path / "compare.md").write_bytes(b"with my notes")
    with pytest.raises(ConfigError, match=r"compare\.md is not as"):
        publish(FILES, tmp_path)
    assert contents(tmp_path) == {**FILES, "compare.md": b"with my notes"}


@pytest.mark.parametrize("name", ["compare", "compare/curves", "compare/curves/1 lr", "compare.md", RECORD])
def test_links_are_refused(tmp_path, name):
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.mkdir()
    (victim / "holiday.png").write_bytes(b"mine")
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(victim)
    with pytest.raises(ConfigError, match=r"is a link|is not as a comparison"):
        publish(FILES, out)
    assert contents(victim) == {"holiday.png": b"mine"}


def test_a_record_of_somebody_else_names_no_file_elsewhere(tmp_path):
    publish(FILES, tmp_path / "out")
    digest = next(digest for digest, name in recorded(tmp_path / "out") if name == "compare.md")
    names = ["../victim.md", "compare/../../victim.png", "notes.txt", str(tmp_path / "victim.md")]
    for name in names:
        (tmp_path / "out" / name).write_bytes(FILES["compare.md"])
    (tmp_path / "out" / RECORD).write_text("".join(f"{digest}  {name}\n" for name in [*names, "compare.md"]))
    assert recorded(tmp_path / "out") == {(digest, "compare.md")}


def test_a_killed_comparison_leaves_only_files_in_the_record(tmp_path, monkeypatch):
    publish(FILES, tmp_path)
    write = report_files._write

    def killed(path: Path, content: bytes) -> None:
        if path.suffix == ".png":
            raise KeyboardInterrupt
        write(path, content)

    new = {"compare.md": b"new", "compare/by_lr.png": b"new"}
    monkeypatch.setattr(report_files, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(new, tmp_path)
    monkeypatch.setattr(report_files, "_write", write)
    publish(new, tmp_path)
    assert contents(tmp_path) == new


def test_a_comparison_writes_only_while_it_holds_the_lock(tmp_path, monkeypatch):
    (tmp_path / "compare").mkdir()
    monkeypatch.setattr(report_files, "LONGEST_WAIT", 0)
    with FileLock(tmp_path / "compare" / ".lock"), pytest.raises(ConfigError, match="another comparison"):
        publish(FILES, tmp_path)
    write = report_files._write

    def locked(path: Path, content: bytes) -> None:
        with pytest.raises(Timeout):
            FileLock(tmp_path / "compare" / ".lock").acquire(blocking=False)
        write(path, content)

    monkeypatch.setattr(report_files, "_write", locked)
    publish(FILES, tmp_path)
    assert contents(tmp_path) == FILES
