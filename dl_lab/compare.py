"""python -m dl_lab.compare FOLDER ... [metric=accuracy] [out=FOLDER]: compare runs and sweeps by configuration."""

import sys
from pathlib import Path

from dl_lab.cli import app, arguments
from dl_lab.core.errors import ConfigError
from dl_lab.core.paths import user_path
from dl_lab.core.shell import word

HELP = """Compare runs by configuration, over seeds: python -m dl_lab.compare FOLDER ... [key=value ...]

  FOLDER ...        runs, sweeps, or folders that contain them, such as outputs/sweeps/2026-11-22/10-00-00, or a
                    pattern such as 'outputs/*/*'
  metric=accuracy   a metric of the best validation (best/accuracy is the same), test/NAME of its checkpoint, last/NAME
                    of the last validation, train/NAME of the last training point; seconds, steps, parameters. Default:
                    accuracy of classes, r2 of numbers, nats of texts, or the metric of train.best, if it is set
  out=FOLDER        a new folder for compare.html, compare.md, compare.csv, figures/ and TensorBoard events. Default:
                    compare/NUMBER in the only FOLDER, if it is not a run; otherwise outputs/comparisons/DATE/TIME

Runs that are measured differently (dataset, split, loss, ...) form separate tables. The seeds and folds of a
configuration share a row. A mean includes only completed runs; the others are counted. Rows are ordered by mean; in
this order only, a pruned or diverged seed counts as the worst score that any run measured.
"""
KEYS = ("metric", "out")


def main() -> None:
    """Print the comparison and write it to files."""
    with app.exits():
        if arguments.answered(sys.argv[1:], HELP):
            return
        given, names = arguments.take(sys.argv[1:], KEYS)
        whole = " ".join(names)
        if len(names) > 1 and Path(whole).is_dir() and not Path(names[0]).is_dir():
            raise ConfigError(
                f"{names[0]} is not a folder; allowed: runs, sweeps, or folders of them; hint: {word(whole)}"
            )
        folders = [folder for name in names for folder in matching_folders(name.removeprefix("run="))]
        if not folders:
            raise ConfigError("no folder is given; hint: runs, sweeps, or folders of them, as outputs/sweeps/DATE/TIME")

        from dl_lab.analysis import report  # after the arguments are known to be readable

        out = user_path(given["out"], "out") if "out" in given else None
        print(report.write_report(folders, given.get("metric"), out)[0])


def matching_folders(name: str) -> list[Path]:
    """The folder called `name`, or else the folders that match it as a pattern (which the shell did not expand).

    Raises:
        ConfigError: if there is none.
    """
    if not name:  # of a variable of the shell that is not set
        raise ConfigError("an argument is empty; allowed: runs, sweeps, or folders of them")
    path = user_path(name, "FOLDER")
    if path.is_dir():
        return [path]
    pattern = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
    if folders := sorted(match for match in pattern if match.is_dir()):
        return folders
    key, equals, _ = name.partition("=")
    if equals and key.isidentifier():
        raise arguments.not_taken(name, KEYS, [name])
    raise ConfigError(f"{name} is not a folder; allowed: runs, sweeps, or folders of them")


if __name__ == "__main__":
    main()
