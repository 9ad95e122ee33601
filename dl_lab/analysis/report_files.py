"""Put the files of a comparison into a folder of their own, so that none replaces those of an earlier one."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from dl_lab.core.atomic_io import name_in_errors, no_links
from dl_lab.core.errors import ConfigError
from dl_lab.runs.finder import SWEEP
from dl_lab.runs.folders import refuse_links, reserve_run_folder
from dl_lab.runs.reader import read_tolerant


def new_folder(folders: Sequence[Path], out: Path | None) -> Path:
    """Make the folder of a comparison of `folders`: `out`; by default FOLDER/compare/NUMBER in the only FOLDER, if it
    is not a run, otherwise outputs/comparisons/DATE/TIME.

    Raises:
        ConfigError: if `out` has contents, or a folder is a link.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigError(f"out={out} is not empty; allowed: a new or an empty folder, as no file is replaced")
        return out
    if len(folders) > 1 or not ((folders[0] / SWEEP).exists() or isinstance(read_tolerant(folders[0]), str)):
        return Path(reserve_run_folder("outputs/comparisons"))
    parent = folders[0] / "compare"
    refuse_links(parent)
    parent.mkdir(exist_ok=True)
    for number in count(1):
        folder = parent / str(number)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        break
    return folder


def write_new(files: Mapping[str, bytes], folder: Path) -> None:
    """Write `files`, by their names relative to `folder`. None of them remains if one cannot be written."""
    written: list[Path] = []
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with name_in_errors(path), open(path, "xb", opener=no_links) as file:
                written.append(path)
                file.write(content)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
