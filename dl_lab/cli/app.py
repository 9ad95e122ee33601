"""The Hydra application: its options, exit statuses and one-line errors. Does not import torch, so that --help, --cfg
and a mistyped key are answered at once.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dl_lab.cli import help_text, hydra_patches
from dl_lab.cli.train_arguments import options_first
from dl_lab.config.compose import CONF, refuse_added_keys, refuse_sweep
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
)
from dl_lab.core.progress import announce
from dl_lab.core.terminal import escape_output
from dl_lab.runs.folders import remove_empty_folders, reserve_run_folder

NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # of a write to standard output


def register_resolvers() -> None:
    """Register the functions that conf/config.yaml calls."""
    OmegaConf.register_new_resolver("run_folder", reserve_run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("choices", help_text.choices, replace=True)
    OmegaConf.register_new_resolver("keys", help_text.explained_keys, replace=True)


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
