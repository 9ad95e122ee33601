"""Names for new run folders, and the removal of those that stay empty."""

from datetime import datetime
from pathlib import Path

_reserved: list[Path] = []  # run folders made by this process, and what it made to hold them


def reserve_run_folder(root: str) -> str:
    """Make a folder `root`/<date>/<time>, with a number behind it if another run has that name already."""
    now = datetime.now()
    day = Path(root) / now.strftime("%Y-%m-%d")
    holders = [holder for holder in (day, *day.parents) if not holder.exists()]
    day.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        folder = day / (now.strftime("%H-%M-%S") + (f"-{number}" if number else ""))
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            _reserved.extend([folder, *holders])
            return str(folder)


def remove_empty_folders() -> None:
    """Leave no trace of a run that was refused before it began."""
    for folder in sorted(_reserved, key=lambda folder: len(folder.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    _reserved.clear()
