"""One line for every error that a user can cause or meet."""

import errno
import re
import traceback

from hydra.errors import HydraException, MissingConfigException, OverrideParseException, SearchPathException
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from dl_lab.core.errors import ConfigError, Diverged, Failed, is_out_of_memory, unknown, unknown_key

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


PLUGINS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}  # launchers, and the extras with them


def explain(error: BaseException) -> str | None:
    """A user's mistake, or a machine's refusal, in one line; None for anything else."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    ours = [str(link) for link in chain if isinstance(link, ConfigError | Diverged | Failed)]
    line = ours[0] if ours else _explain_hydra(chain[-1]) or _explain_hydra(error)
    return None if line is None else str(ConfigError(line))  # one line, whatever was given


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


def cannot_write(error: OSError) -> str:
    """The line for a folder or file that the machine refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename} cannot be written ({error.strerror}); allowed: room for it, made on that disk"
    return f"{error.filename} cannot be written ({error.strerror}); allowed: another folder, with hydra.run.dir=FOLDER"


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]
