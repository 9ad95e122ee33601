"""Everything that depends on the device: names, memory layout, precision, threads, compilation, determinism."""

import gc
import os
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dl_lab.core.errors import ConfigError, unknown

TORCHS_THREADS = torch.get_num_threads()
SMALL = 8_000_000  # multiply-adds of a forward pass; above, two threads are clearly faster than one (measured)
FREE_MEMORY = 4_000_000_000  # bytes, if the system does not report them
COMPILING_PAYS = 2e13  # multiply-adds, about seven minutes on two cores; compiling takes one and saves a sixth
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


def available() -> list[str]:
    """The devices of this machine, the fastest first."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose(name: str, precision: str) -> torch.device:
    """The device called `name`; auto is the fastest that supports the precision.

    Raises:
        ConfigError: if this machine does not have it, or it does not support the precision.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    names = [device for device in available() if not (device == "mps" and precision == "float64")]
    if name == "auto":
        return torch.device(names[0])
    if name == "mps" and precision == "float64":
        raise ConfigError("device=mps does not support precision=float64; allowed: float32, bfloat16; hint: device=cpu")
    if name == "cuda" and "cuda:0" in names:
        return torch.device("cuda:0")
    if name not in names:
        raise ConfigError(f"device={name} is not available; allowed: auto, {', '.join(names)}")
    return torch.device(name)


def seed_global_generators(seed: int, device: torch.device) -> None:
    """Seed the global generators of torch, NumPy and Python. On a CPU this skips torch.manual_seed, which takes a
    millisecond to remember the seed for every kind of GPU that could be initialized later.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # the one that user code may draw from
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move the model to `device`, with channels-last convolutions on CPU and CUDA, where they are faster."""
    placed: nn.Module = model.to(device)
    for module in placed.modules() if device.type in ("cpu", "cuda") else ():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return placed


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Create floating-point tensors as `dtype` inside the context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a forward pass: autocast for bfloat16, otherwise a null context."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def use_threads(wanted: int | None, multiply_adds: int) -> None:
    """Set the number of CPU threads. None means one thread if a forward pass has few multiply-adds, because then
    waiting for a second thread costs more than it saves; otherwise it means torch's own number.
    """
    torch.set_num_threads(wanted or (1 if multiply_adds < SMALL else TORCHS_THREADS))


def limit_threads(count: int) -> None:
    """Set the number of CPU threads, and use it instead of torch's own number from now on."""
    global TORCHS_THREADS
    TORCHS_THREADS = count
    torch.set_num_threads(count)


def thread_counts(wanted: int | None) -> list[int]:
    """The numbers of CPU threads that are worth trying: `wanted`, or else one and torch's own number."""
    return [wanted] if wanted else sorted({1, TORCHS_THREADS})


def synchronize() -> None:
    """Wait until the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def memory_for(device: torch.device, sharing: int) -> int:
    """Bytes that one of `sharing` processes may use for a stack: its share of half of the free memory."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
    return free // 2 // sharing


def available_memory() -> int:
    """Bytes that a process can still allocate, within the machine's memory and the container's limit."""
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    return min(int(found[1]) * 1024 if found else FREE_MEMORY, _left_in_container())


def _left_in_container() -> int:
    """Bytes below the memory limit of this container (cgroup v2); sys.maxsize without a limit."""
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if not limit.exists() or (most := limit.read_text().strip()) == "max":
        return sys.maxsize
    return max(0, int(most) - int(used.read_text()))


def free_memory() -> None:
    """Release the GPU memory that torch has cached."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def should_compile(wanted: bool | None, model: nn.Module, device: torch.device, multiply_adds: float) -> bool:
    """True if a model should be compiled, given the multiply-adds of its whole training. None means yes for a long
    training on a CPU of a model that declares `gains_from_compiling`.

    Raises:
        ConfigError: if `wanted` is true on a CPU without a C++ compiler.
    """
    gains = device.type == "cpu" and getattr(model, "gains_from_compiling", False)
    if not (wanted or (wanted is None and gains and multiply_adds >= COMPILING_PAYS)):
        return False
    has_compiler = device.type != "cpu" or any(map(shutil.which, ("g++", "clang++", "c++", "cl")))
    if wanted and not has_compiler:
        raise ConfigError("compile=true needs a C++ compiler for device=cpu; hint: install g++, or compile=false")
    return has_compiler


def compiled(model: nn.Module, examples: int) -> Callable[[Tensor], Tensor]:
    """The forward pass, compiled for batches of `examples`; other batches, such as an epoch's last, run eagerly."""
    fast = torch.compile(model, dynamic=False)

    def forward(inputs: Tensor) -> Tensor:
        return fast(inputs) if len(inputs) == examples else model(inputs)

    return forward


def make_deterministic(wanted: bool) -> None:
    """Make torch use deterministic algorithms only, and raise an error where there is none."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    if torch.are_deterministic_algorithms_enabled() != wanted:  # the call imports for a second
        torch.use_deterministic_algorithms(wanted)


def widest_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on Apple GPUs, which do not support float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def widest(tensor: Tensor) -> Tensor:
    """Convert to the widest dtype of the tensor's device."""
    return tensor.to(widest_dtype(tensor.device))
