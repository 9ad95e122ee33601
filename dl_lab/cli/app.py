"""The Hydra application: its options, exit statuses and one-line errors. Does not import torch, so that --help, --cfg
and a mistyped key are answered at once.
"""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dl_lab.cli import hydra_patches
from dl_lab.config.compose import CONF, quoted, refuse_added_keys, refuse_sweep
from dl_lab.config.messages import cannot_write, explain
from dl_lab.core.errors import (
    FAILED,
    FAILURES,
    INTERRUPTED,
    MISTAKE,
    ConfigError,
    Diverged,
    Failed,
    JobsFailed,
    Stopped,
    printable,
    unknown_option,
)
from dl_lab.core.progress import announce
from dl_lab.core.terminal import escape_output
from dl_lab.runs.folders import remove_empty_folders, reserve_run_folder

RERUN = "--experimental-rerun"
NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of a write to standard output
NO_KEY = re.compile(r"\s*(\+\+?|~)?\s*(@[^=]*)?=")
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "sweep.resume", "data_dir")
COLUMNS = re.compile(r"dataset\.(targets|features|drop|categories|numbers|dates)=\[([^\[\]'\"$\\]*)\]")
FILE = r"dataset\.(?:path|\w+_path|image_folder|images|split|group|time|sample_weight)"  # or a column
ONE_VALUE = re.compile(rf"{FILE}=(?!\w+\(|~)[^,'\"$\\]+")  # no sweep, quoted text, interpolation or function
PLAIN = re.compile(r"'.*'|\".*\"|[\w./-]*", re.ASCII)  # what Hydra reads as it is written
NUMBER = re.compile(r"(?<=[=,\[])[-+]?[\d.][\w.+-]*(?=[,\]]|$)")
HOME = re.compile(r"(?<=[=,\[])~[^,\]]*")  # a value such as ~/data.csv, which Hydra reads in quotes only


def choices(sources: Iterable[Mapping[str, str]]) -> str:
    """One line per group with its choices, read from the folders among Hydra's config sources. Hydra's own list copies
    the composed configuration for each group, which takes longer than the rest of --help.
    """
    found: dict[str, set[str]] = {}
    for folder in (Path(source["path"]) for source in sources if source["schema"] == "file"):
        for path in folder.glob("*/*.yaml"):
            found.setdefault(printable(path.parent.name), set()).add(printable(path.stem))
    return "\n".join(f"{group}: {', '.join(sorted(names))}" for group, names in sorted(found.items()))


def options_first(arguments: Sequence[str]) -> list[str]:
    """Move Hydra's options before the overrides, because it does not read an option between two overrides, and quote
    values that begin with ~.

    Raises:
        ConfigError: for an unknown option, an option that runs code from a file, and a value without a key.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; hint: see --help")

    parser = get_args_parser()
    parser.error = refuse
    parsed, rest = parser.parse_known_intermixed_args(list(arguments))
    if rest:
        names = [name for name in parser._option_string_actions if name.startswith("--") and name != RERUN]
        raise unknown_option(rest[0], names)
    if parsed.experimental_rerun is not None:
        raise ConfigError(f"{RERUN} loads a pickle, which can run code; hint: give the same overrides again")
    options = list(arguments)
    for override in parsed.overrides:
        if NO_KEY.match(override):
            raise ConfigError(f"{override} cannot be read (it has no key); allowed: key=value")
        options.remove(override)
    return options + [in_quotes(override) for override in parsed.overrides]


def in_quotes(override: str) -> str:
    """Quote values that Hydra reads otherwise: ~/data.csv, the path of a folder with any character, columns and files
    of a table with spaces, brackets and letters such as é, and a name or tag that looks like a number.
    """
    key, _, value = override.partition("=")
    is_escaped = "${" in value and re.search(r"['\"\\]", value)  # by a user who knows Hydra's grammar
    if key in FOLDERS and not PLAIN.fullmatch(value) and not is_escaped:
        return f"{key}={quoted(value)}"
    if columns := COLUMNS.fullmatch(override):
        names = [name if PLAIN.fullmatch(name) else quoted(name) for name in map(str.strip, columns[2].split(","))]
        return f"{key}=[{','.join(names)}]"
    if ONE_VALUE.fullmatch(override) and not PLAIN.fullmatch(value):
        return f"{key}={quoted(value)}"
    if re.search("['\"]", override):
        return override
    return (NUMBER if key in ("name", "tags") else HOME).sub(r"'\g<0>'", override)


def register_resolvers() -> None:
    """Register the functions that conf/config.yaml calls."""
    OmegaConf.register_new_resolver("run_folder", reserve_run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("choices", choices, replace=True)


def run(task: Callable[[DictConfig], Any]) -> None:
    """Compose the configuration from the command line and call `task` with it, once or for each job of a sweep. Exits
    as `exits` describes.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them
    register_resolvers()
    failures: list[Exception] = []

    def keeping_failure(config: DictConfig) -> Any:
        job = HydraConfig.get()
        try:
            refuse_added_keys(config, job.overrides.task)
            if job.mode is RunMode.RUN:
                refuse_sweep(job.overrides.task)
            return task(config)
        except Exception as error:
            if job.mode is RunMode.MULTIRUN:
                raise
            failures.append(error)  # raised below, because Hydra would print lines of its own

    with exits():
        sys.argv[1:] = options_first(sys.argv[1:])
        with hydra_patches.patched():
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(keeping_failure)()
            except OSError as error:
                if isinstance(error, BrokenPipeError) or not error.filename:
                    raise
                raise ConfigError(cannot_write(error)) from error  # Hydra could not make the run folder
        if failures:
            raise failures[0]


@contextmanager
def exits() -> Iterator[None]:
    """Turn an error inside the context into one line and an exit status: 2 after a mistake, 1 after a failure, 130
    after Ctrl-C. Bugs keep their traceback.
    """
    announce.cache_clear()
    escape_output()
    try:
        try:
            yield
        except SystemExit as end:
            if end.code:
                raise
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # not at the exit of Python, where an error is a traceback
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        silence_output()
        sys.exit(FAILED)
    except OSError as error:
        if error.filename is not None or error.errno not in NO_OUTPUT:
            fail(error)
        silence_output()
        print(f"error: the output cannot be written ({error.strerror}); allowed: a file with space", file=sys.stderr)
        sys.exit(FAILED)
    except Stopped as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except JobsFailed as failures:
        print(failures, file=sys.stderr)
        sys.exit(FAILED)
    except FAILURES as error:
        fail(error)
    finally:
        remove_empty_folders()
        try:
            sys.stdout.flush()
        except OSError:  # after another error, whose line and status say more
            silence_output()


def silence_output() -> None:
    """Print nothing more to standard output, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: BaseException) -> NoReturn:
    """Print the line of an error and exit; raise a bug again."""
    line = explain(error)
    if line is None:
        raise error
    print(f"error: {line}", file=sys.stderr)
    sys.exit(FAILED if isinstance(error, Diverged | Failed | SystemExit | GeneratorExit) else MISTAKE)
