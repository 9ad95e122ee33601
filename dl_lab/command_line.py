"""Hydra's command line, with a user's mistakes told in one line. Imports no torch, so that --help, --cfg and a mistyped
key are answered at once.
"""

import errno
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dl_lab.errors import ConfigError, Diverged, unknown

HERE = Path(__file__).parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"

MISTAKE, FAILED, INTERRUPTED = 2, 1, 130  # exit statuses

# What a machine refuses, as against what our code gets wrong.
REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}

_reserved: list[Path] = []  # run folders made by this process


class JobsFailed(Exception):
    """Some jobs of a sweep failed; its text has a line for each."""


def reserve_run_folder(root: str) -> str:
    """Make a folder `root`/<date>/<time>, with a number behind it if another run has that name already."""
    now = datetime.now()
    day = Path(root) / now.strftime("%Y-%m-%d")
    day.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        folder = day / (now.strftime("%H-%M-%S") + (f"-{number}" if number else ""))
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            _reserved.append(folder)
            return str(folder)


def remove_empty_folders() -> None:
    """Leave no trace of a run that was refused before it began."""
    for folder in _reserved:
        for empty in (folder, folder.parent):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
    _reserved.clear()


def explain(error: BaseException) -> str | None:
    """A user's mistake, or a machine's refusal, in one line; None for anything else."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for link in reversed(chain):
        if (line := _explain_one(link)) is not None:
            return line
    return None


def _explain_one(error: BaseException) -> str | None:
    if isinstance(error, ConfigError | Diverged):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return str(unknown(group or "--config-name", name, error.options or []))
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read ({_first_line(error.message)}); allowed: key=value"
    if isinstance(error, OmegaConfBaseException):
        parent = error.parent_node
        if isinstance(parent, DictConfig) and error.key is not None and error.key not in parent:
            prefix = f"{parent._get_full_key(None)}." if parent._get_full_key(None) else ""
            return str(unknown(f"{prefix}key" if prefix else "key", error.key, [k for k in parent if k != "hydra"]))
        return f"{error.full_key or 'configuration'}: {_first_line(str(error))}; allowed: see --help"
    if isinstance(error, HydraException) and not isinstance(error.__cause__, OmegaConfBaseException):
        return f"{' '.join(str(error).split())}; allowed: see --help"
    if isinstance(error, OSError) and error.errno in REFUSALS and error.filename:
        return f"{error.filename} cannot be written ({error.strerror}); allowed: a folder of yours with room, as hydra.run.dir"
    return None


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def run(task: Callable[[DictConfig], Any]) -> None:
    """Compose the configuration from the command line and call `task` with it, once or for each job of a sweep. Exits
    with 2 after a mistake, 1 after a failure, 130 after Ctrl-C.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises what it would print
    OmegaConf.register_new_resolver("run_folder", reserve_run_folder, use_cache=True, replace=True)
    try:
        if any(argument.startswith("--experimental-rerun") for argument in sys.argv):
            raise ConfigError("--experimental-rerun loads a pickle, which can run code; allowed: the same overrides again")
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except JobsFailed as failures:
        print(failures, file=sys.stderr)
        sys.exit(FAILED)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(FAILED if isinstance(error, Diverged) else MISTAKE)
    finally:
        remove_empty_folders()
