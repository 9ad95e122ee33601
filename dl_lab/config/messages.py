"""One-line messages for the errors that a user can cause or meet."""

import errno
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from hydra.errors import HydraException, MissingConfigException, OverrideParseException, SearchPathException
from omegaconf import DictConfig
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError, OmegaConfBaseException

from dl_lab.config import hints, quoting
from dl_lab.core.errors import ConfigError, Diverged, Failed, hinted, is_out_of_memory, printable, unknown, unknown_key
from dl_lab.registry import registering_packages

# Errors of the file system that the user can fix; any other is a bug.
FILE_ERRORS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.EMFILE,
}
LIBRARIES = {"site-packages", "dist-packages"}  # folders; these packages are libraries wherever they are installed:
PACKAGES = {"antlr4", "hydra", "numpy", "omegaconf", "polars", "pydantic", "torch", "torchvision", "yaml"}
LOST_WORKER = "DataLoader worker (pid"  # how torch reports a worker that died
EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}  # launchers, and the extras with them


IN_WORKER = re.compile(r"Caught \w+ in DataLoader worker.*?(?:File \"([^\"]*)\", line (\d+).*?)+\n(\w[^\n]*)\n?$", re.S)


def user_place(error: BaseException) -> str | None:
    """File and line of the user's code that raised the error; None if dl_lab or a library that it calls did."""
    place, users = None, registering_packages()
    for frame, line in traceback.walk_tb(error.__traceback__):
        spec = frame.f_globals.get("__spec__")  # of `python -m dl_lab.train`, which is called __main__
        package = str(spec.name if spec else frame.f_globals.get("__name__")).partition(".")[0]
        file = Path(frame.f_code.co_filename)
        if package == "dl_lab":
            place = None
        elif package in users or not (package in PACKAGES | sys.stdlib_module_names or LIBRARIES & set(file.parts)):
            place = f"{file.name}, line {line}"
    return place


def described(error: BaseException) -> str:
    """Type, text and place of an error that has no line of its own, in one line."""
    if in_worker := IN_WORKER.match(str(error)):  # a worker's error arrives with its traceback as text
        file, line, text = in_worker.groups()
        return f"{text} ({Path(file).name}, line {line}, in a DataLoader worker)"
    text, place = " ".join(str(error).split()), user_place(error)
    return f"{type(error).__name__}{text and ': '}{text}{f' ({place})' if place else ''}"


def explain(error: BaseException) -> str | None:
    """Return one line for a user's mistake or a failure of the machine, and None for a bug."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    ours = [str(link) for link in chain if isinstance(link, ConfigError | Diverged | Failed)]
    line = ours[0] if ours else _explain_foreign(chain[-1]) or _explain_foreign(error)
    return None if line is None else printable(line)


def _explain_foreign(error: BaseException) -> str | None:
    """The line for an error of Hydra, OmegaConf, torch or the file system. Errors of Hydra and OmegaConf in the code
    of a user do not describe the command.
    """
    for kinds, describe in [*([] if user_place(error) else OF_THE_COMMAND), *OF_THE_RUN]:
        if isinstance(error, kinds) and (line := describe(error)) is not None:
            return line
    return None


def _missing_choice(error: MissingConfigException) -> str | None:
    if not error.missing_cfg_file:
        return None
    group, name = _group_and_choice(error.missing_cfg_file)
    if group == "hydra/launcher" and name in EXTRAS:
        return f"hydra/launcher={name} is not installed; hint: pip install 'dl_lab[{EXTRAS[name]}]'"
    return str(unknown(group or "--config-name", name, error.options or [], hints.of_choice(group, name)))


def _group_and_choice(file: str) -> tuple[str, str]:
    """The group and the choice of a missing file; a choice can be a path, such as dataset=data/my.csv."""
    group, _, choice = file.partition("/")
    above, _, name = file.rpartition("/")
    return (group, choice) if group in hints.choices() else (above, name)


def _unreadable_override(error: OverrideParseException) -> str:
    reason = _first_line(error.message)
    details = f" ({reason})" if error.override not in reason else ""
    return f"{error.override} cannot be read{details}; allowed: key=value{hinted(quoting.readable(error.override))}"


def _unreadable_configuration(error: OmegaConfBaseException) -> str:
    parent = error.parent_node
    if isinstance(error, InterpolationKeyError):
        name = _first_line(str(error)).split("'")[1]
        given = next((line for line in sys.argv[1:] if f"${{{name}}}" in line), error.full_key or "configuration")
        return f"{given} refers to {name}, which is not a key; allowed: keys in ${{}}; hint: a name cannot contain ${{"
    if ours := re.match(r"ConfigError raised while resolving interpolation: (.*)", _first_line(str(error))):
        return ours[1]
    if isinstance(error, InterpolationResolutionError) and "Errno" in str(error):
        reason = _first_line(str(error)).rsplit("] ", 1)[-1]
        return f"{error.full_key} cannot be created ({reason}); hint: another folder, with {error.full_key}=FOLDER"
    if isinstance(parent, DictConfig) and error.key is not None and error.key not in list(parent):
        keys = [str(key) for key in parent if key not in ("hydra", "experiment")]
        group = str(parent._get_full_key(None))
        root = cast(DictConfig, parent._get_root())
        hint = hints.of_key(group, *_given(group, str(error.key)), root)
        return str(unknown_key(group, error.key, keys, hint))
    return f"{error.full_key or 'configuration'}: {_first_line(str(error))}; hint: see --help"


def _given(group: str, key: str) -> tuple[str, str]:
    """A key, with the keys below it, and its value in the arguments of the command."""
    whole = f"{group}{'.' if group else ''}{key}"
    for name, _, value in (line.lstrip("+").partition("=") for line in sys.argv[1:]):
        if f"{name}.".startswith(f"{whole}."):
            return key + name.removeprefix(whole), value
    return key, "VALUE"


def _hydra(error: HydraException) -> str:
    if ambiguous := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*)'", str(error)):
        return f"{ambiguous[1]} has several values; allowed: one; hint: {quoting.several(ambiguous[1])}"
    return f"{' '.join(str(error).split())}; hint: see --help"


def _inside_hydra(error: ValueError | AssertionError) -> str | None:
    """Hydra raises these for overrides such as model=3."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames or not frames[-1][0].f_globals["__name__"].startswith("hydra."):
        return None
    return f"{_first_line(str(error)) or 'a choice cannot be read'}; allowed: group=choice and key=value"


def _normalization(error: ValueError) -> str | None:
    if not str(error).startswith("Expected more than 1 "):
        return None
    reason = "cannot compute a variance from one example, or from one value of each channel"
    return f"a normalization layer {reason} ({_first_line(str(error))}); hint: another train.batch_size, or larger maps"


def _class(error: IndexError) -> str | None:
    if (found := re.match(r"Target (-?\d+) is out of bounds", str(error))) is None:
        return None
    return f"the dataset has the class number {found[1]}; allowed: 0 to one less than the number of classes"


def _torch(error: MemoryError | RuntimeError) -> str | None:
    if is_out_of_memory(error):
        return (
            "there is not enough memory; hint: train.accumulate=2 or more computes the same step in pieces, or reduce "
            "train.batch_size, train.eval_batch_size, the model or the data"
        )
    if operation := re.match(r"(\S+) does not have a deterministic implementation", str(error)):
        return f"{operation[1]} is not deterministic on this device; hint: deterministic=false, or device=cpu"
    if "does not require grad" in str(error):
        return "the loss does not depend on a weight that is trained; hint: detach() and no_grad() in model and loss"
    if LOST_WORKER in str(error):
        return f"{_first_line(str(error))}; hint: dataset.num_workers=0 shows the cause"
    return None


def _file(error: OSError) -> str | None:
    if user_place(error):
        return about_file(error)
    return cannot_write(error) if error.errno in FILE_ERRORS and error.filename else None


def cannot_write(error: OSError) -> str:
    """The line for a folder or file that cannot be written."""
    hint = "free some space on that disk" if is_full(error) else "another folder, with hydra.run.dir=FOLDER"
    return f"{about_file(error)}; hint: {hint}"


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, is that of a file on a full disk."""
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and bool(error.filename)
    return full or is_full(error.__cause__)


def about_file(error: OSError) -> str:
    """The reason of an error of the file system: dl_lab cannot write a file, or a user's code cannot open one."""
    return described(error) if user_place(error) else f"{error.filename} cannot be written ({error.strerror})"


def _exit(error: SystemExit | GeneratorExit) -> str | None:
    hint = "hint: raise an error instead"
    return f"the code of a user ended the run: {described(error)}; {hint}" if user_place(error) else None


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


Handler = tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[Any], str | None]]

# From specific to general: an error goes to the first handler that has a line for it.
OF_THE_COMMAND: list[Handler] = [
    (MissingConfigException, _missing_choice),
    (OverrideParseException, _unreadable_override),
    (OmegaConfBaseException, _unreadable_configuration),
    (SearchPathException, lambda error: f"--config-dir: {_first_line(str(error))}; allowed: an existing folder"),
    (HydraException, _hydra),
    ((ValueError, AssertionError), _inside_hydra),
]
OF_THE_RUN: list[Handler] = [
    (ValueError, _normalization),
    (IndexError, _class),
    ((MemoryError, RuntimeError), _torch),
    (OSError, _file),
    ((SystemExit, GeneratorExit), _exit),
]
