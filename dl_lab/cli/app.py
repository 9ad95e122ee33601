"""Hydra's command line, with a user's mistakes told in one line. Imports no torch, so that --help, --cfg and a mistyped
key are answered at once.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException, SearchPathException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from dl_lab.cli.hydra_patches import composed_once, groups_listed_if_shown, only_plugins
from dl_lab.core.errors import ConfigError, Diverged, Failed, Stopped, unknown, unknown_key, unknown_option

HERE = Path(__file__).parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"

MISTAKE, FAILED, INTERRUPTED = 2, 1, 130  # exit statuses

# What a machine refuses, as against what our code gets wrong.
REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.EMFILE,
}

NOT_DETERMINISTIC = r"(\S+) does not have a deterministic implementation"
RERUN = "--experimental-rerun"
NO_KEY = re.compile(r"\s*(\+\+?|~)?\s*(@[^=]*)?=")
PLUGINS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}  # launchers, and the extras with them

_reserved: list[Path] = []  # run folders made by this process, and what it made to hold them


class JobsFailed(Exception):
    """Some jobs of a sweep failed; its text has a line for each."""


def compose(*overrides: str) -> DictConfig:
    """The configuration of `python -m dl_lab.train OVERRIDES`, for programs."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return hydra.compose("config", list(overrides))


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


def choices(sources: Iterable[Mapping[str, str]]) -> str:
    """Every group with its choices, a line each, from the folders among Hydra's config sources. Hydra's own list copies
    the composed configuration once a group, which is most of the time that --help takes.
    """
    found: dict[str, set[str]] = {}
    for folder in (Path(source["path"]) for source in sources if source["schema"] == "file"):
        for path in folder.glob("*/*.yaml"):
            found.setdefault(path.parent.name, set()).add(path.stem)
    return "\n".join(f"{group}: {', '.join(sorted(names))}" for group, names in sorted(found.items()))


def remove_empty_folders() -> None:
    """Leave no trace of a run that was refused before it began."""
    for folder in sorted(_reserved, key=lambda folder: len(folder.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    _reserved.clear()


def explain(error: BaseException) -> str | None:
    """A user's mistake, or a machine's refusal, in one line; None for anything else."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    ours = [str(link) for link in chain if isinstance(link, ConfigError | Diverged | Failed)]
    line = ours[0] if ours else _explain_hydra(chain[-1]) or _explain_hydra(error)
    return None if line is None else str(ConfigError(line))  # one line, whatever was given


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    says_so = re.search("allocate memory|out of memory|unable to alloc|^$", str(error), re.I)
    return isinstance(error, MemoryError | RuntimeError) and says_so is not None


def _is_raised_by_hydra(error: BaseException) -> bool:
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals["__name__"].startswith("hydra.")


def _explain_hydra(error: BaseException) -> str | None:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and name in PLUGINS:
            return f"hydra/launcher={name} is not installed; allowed: after pip install 'dl_lab[{PLUGINS[name]}]'"
        return str(unknown(group or "--config-name", name, error.options or []))
    if isinstance(error, OverrideParseException):
        reason = _first_line(error.message)
        says_more = f" ({reason})" if error.override not in reason else ""
        return f"{error.override} cannot be read{says_more}; allowed: key=value"
    if isinstance(error, OmegaConfBaseException):
        parent = error.parent_node
        if isinstance(error, InterpolationResolutionError) and "Errno" in str(error):
            reason = _first_line(str(error)).rsplit("] ", 1)[-1]
            return f"{error.full_key} cannot be made ({reason}); allowed: another folder, with {error.full_key}=FOLDER"
        if isinstance(parent, DictConfig) and error.key is not None and error.key not in list(parent):
            keys = [str(key) for key in parent if key not in ("hydra", "experiment")]
            return str(unknown_key(parent._get_full_key(None), error.key, keys))
        return f"{error.full_key or 'configuration'}: {_first_line(str(error))}; allowed: see --help"
    if isinstance(error, SearchPathException):
        return f"--config-dir: {_first_line(str(error))}; allowed: a folder that is there"
    if isinstance(error, HydraException):
        if ambiguous := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
            return f"{ambiguous[1]} is several values; allowed: one, or -m to run each"
        return f"{' '.join(str(error).split())}; allowed: see --help"
    if isinstance(error, ValueError | AssertionError) and _is_raised_by_hydra(error):  # as of model=3
        return f"{_first_line(str(error)) or 'a choice cannot be read'}; allowed: group=choice and key=value"
    if is_out_of_memory(error):
        return (
            "there is not enough memory; allowed: train.accumulate=2 or more (the same step in pieces), a smaller "
            "train.batch_size, train.eval_batch_size, model or data"
        )
    if isinstance(error, RuntimeError) and (operation := re.match(NOT_DETERMINISTIC, str(error))):
        return f"{operation[1]} has no deterministic form on this device; allowed: deterministic=false, or device=cpu"
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        return f"{_first_line(str(error))}; allowed: dataset.num_workers=0, which shows what killed it"
    if isinstance(error, OSError) and error.errno in REFUSALS and error.filename:
        return cannot_write(error)
    return None


def refuse_added_keys(config: DictConfig, overrides: Iterable[str]) -> None:
    """Raise ConfigError for +key=value: every key that there is has a value already, so an added one is unknown."""
    for override in overrides:
        if override.startswith("+") and not override.startswith("++"):
            group, _, key = override[1:].split("=", 1)[0].rpartition(".")
            node = OmegaConf.select(config, group) if group else config
            raise unknown_key(group, key, [str(name) for name in node if name not in (key, "experiment")])


def is_of_sweep(override: str) -> bool:
    """Whether an override says which jobs there are, as against what one is."""
    return override.lstrip("+~").startswith(("sweep.", "sweep="))


def refuse_sweep(overrides: Iterable[str]) -> None:
    """Raise ConfigError for a key of the group sweep on a single run."""
    for override in filter(is_of_sweep, overrides):
        raise ConfigError(f"{override} says how a sweep goes, and this is one run; allowed: with -m")


def options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with Hydra's options before the overrides, since it reads none that stands between two.

    Raises:
        ConfigError: for an option that Hydra does not have, of which it would print its usage in ten lines; for one
            that runs code from a file; for a value without a key, at which Hydra would fail.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; allowed: see --help")

    parser = get_args_parser()
    parser.error = refuse
    parsed, rest = parser.parse_known_intermixed_args(list(arguments))
    if rest:
        names = [name for name in parser._option_string_actions if name.startswith("--") and name != RERUN]
        raise unknown_option(rest[0], names)
    if parsed.experimental_rerun is not None:
        raise ConfigError(f"{RERUN} loads a pickle, which can run code; allowed: the same overrides again")
    options = list(arguments)
    for override in parsed.overrides:
        if NO_KEY.match(override):
            raise ConfigError(f"{override} cannot be read (it has no key); allowed: key=value")
        options.remove(override)
    return options + parsed.overrides


def cannot_write(error: OSError) -> str:
    """The line for a folder or file that the machine refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename} cannot be written ({error.strerror}); allowed: room for it, made on that disk"
    return f"{error.filename} cannot be written ({error.strerror}); allowed: another folder, with hydra.run.dir=FOLDER"


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def run(task: Callable[[DictConfig], Any]) -> None:
    """Compose the configuration from the command line and call `task` with it, once or for each job of a sweep; exits
    as `exits` says.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises what it would print
    OmegaConf.register_new_resolver("run_folder", reserve_run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("choices", choices, replace=True)
    raised: list[Exception] = []

    def guarded(config: DictConfig) -> Any:
        job = HydraConfig.get()
        try:
            refuse_added_keys(config, job.overrides.task)
            if job.mode is RunMode.RUN:
                refuse_sweep(job.overrides.task)
            return task(config)
        except Exception as error:
            if job.mode is RunMode.MULTIRUN:
                raise
            raised.append(error)  # Hydra would print lines of its own

    with exits(raised):
        sys.argv[1:] = options_first(sys.argv[1:])
        with only_plugins(), composed_once(), groups_listed_if_shown():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(guarded)()
        for error in raised:
            raise error


@contextmanager
def exits(raised: Sequence[Exception] = ()) -> Iterator[None]:
    """What happens within ends the process with 2 after a mistake, 1 after a failure, 130 after Ctrl-C, a line each.
    `raised` holds what a task raised, as against Hydra.
    """
    try:
        yield
    except BrokenPipeError:  # nobody reads on: `... --help | head`; say nothing more, not even when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    except Exception as error:
        line = explain(error)
        if line is None and isinstance(error, OSError) and error.filename and not raised:  # Hydra's, of the run folder
            line = cannot_write(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(FAILED if isinstance(error, Diverged | Failed) else MISTAKE)
    finally:
        remove_empty_folders()
