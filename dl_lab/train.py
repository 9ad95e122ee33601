"""The entrypoint: python -m dl_lab.train [group=choice ...] [key=value ...]"""

import argparse
import gc
import sys
from pathlib import Path

from omegaconf import DictConfig

from dl_lab.cli import app
from dl_lab.cli.arguments import answered, divided, is_bare, take
from dl_lab.config.compose import compose, quoted
from dl_lab.core.errors import FAILED, ConfigError, hinted
from dl_lab.core.paths import user_path
from dl_lab.core.shell import word
from dl_lab.runs.identity import HARMLESS_KEYS


def main() -> None:
    """Train one run, or with -m one for every combination of values. With resume=FOLDER continue a run; with
    rerun=FOLDER train one again.
    """
    gc.set_threshold(50_000)  # at 700, a tenth of the time of the imports is spent in the garbage collector
    with app.exits():
        if answered(sys.argv[1:]):
            return
        special, others = take(sys.argv[1:], ("resume", "rerun"))
        if len(special) == 2:
            raise ConfigError(f"resume={special['resume']} and rerun={special['rerun']}; allowed: one of them")
        auto = special.get("resume") == "auto"
        if special:
            from dl_lab.training.rerun import continue_run, rerun  # imports torch

            others = others if auto else config_dir(others)[1]  # a run folder holds the values of its choices
            for bare in filter(is_bare, () if auto else others):
                meant = divided(sys.argv[1:], sys.argv.index(bare) - 1, special.__contains__)
                raise ConfigError(f"{bare} is not key=value; allowed: key=value{hinted(meant and word(meant))}")
        if "rerun" in special:
            same, text = rerun(user_path(special["rerun"], "rerun"), others)
            print(text)
            sys.exit(0 if same else FAILED)
        folder = newest_unfinished(others) if auto else user_path(special["resume"], "resume") if special else None
        if folder is not None:
            given = [each for each in others if not auto or each.partition("=")[0] in HARMLESS_KEYS]
            print(continue_run(folder, given))
            return
    sys.argv[1:] = others
    app.run(train)


def train(config: DictConfig) -> float:
    """Train the run that Hydra composed, and print its result. Returns its best validation metric, for sweepers."""
    from dl_lab.training.run import train_job  # imports torch, which takes longer than --help should

    result = train_job(config)
    print(result)
    return result.value


def config_dir(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """The folder given as --config-dir, and the other arguments."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--config-dir", "-cd", type=Path)
    own, others = options.parse_known_args(arguments)
    return own.config_dir, others


def newest_unfinished(overrides: list[str]) -> Path | None:
    """The newest run of the configuration that these overrides compose which has not ended; None if there is none."""
    from dl_lab.config.parse import parse
    from dl_lab.runs import resume

    folder, overrides = config_dir(overrides)
    for option in (argument for argument in overrides if argument.startswith("-")):
        raise ConfigError(
            f"{option} does not go with resume=auto; allowed: group=choice, key=value and --config-dir; "
            "hint: a sweep is continued by sweep.resume=FOLDER"
        )
    if folder is not None:
        overrides.append(f"hydra.searchpath=[{quoted(f'file://{folder.absolute()}')}]")
    where, overrides = take(overrides, ("hydra.run.dir",))
    roots = [Path(each) for each in where.values()] or sorted(Path("outputs").glob("*/*"), reverse=True)
    return resume.newest_unfinished(roots, parse(compose(*overrides)).as_dict)


if __name__ == "__main__":
    main()
