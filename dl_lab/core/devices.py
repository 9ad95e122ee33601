"""The one room for what depends on the device: which there is, layout, precision, what is compiled or deterministic."""

import gc
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from dl_lab.core.errors import ConfigError, unknown

TORCHS_THREADS = torch.get_num_threads()
SMALL = 8_000_000  # multiply-adds of a forward pass, from where on two threads are clearly faster than one: measured
FREE_MEMORY = 4_000_000_000  # bytes, where the system does not say
COMPILING_PAYS = 2e13  # multiply-adds: some seven minutes on two cores, of which a sixth is saved and one spent
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


def available() -> list[str]:
    """The names that `device` takes here, the fastest first."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose(name: str, precision: str) -> torch.device:
    """The device called `name`; auto is the fastest there is that knows the precision.

    Raises:
        ConfigError: if it is not there, or has no such precision.
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    names = [device for device in available() if not (device == "mps" and precision == "float64")]
    if name == "auto":
        return torch.device(names[0])
    if name == "mps" and precision == "float64":
        raise ConfigError("precision=float64 is not known to device=mps; allowed: float32, bfloat16, or device=cpu")
    if name == "cuda" and "cuda:0" in names:
        return torch.device("cuda:0")
    if name not in names:
        raise ConfigError(f"device={name} is not there; allowed: auto, {', '.join(names)}")
    return torch.device(name)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's own random numbers. Without a GPU, torch.manual_seed keeps a traceback for each kind that may come
    yet: a millisecond, for the jobs of a sweep again and again.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on `device`, its convolutions with channels last in memory, which is faster on CPUs and on CUDA."""
    placed: nn.Module = model.to(device)
    for module in placed.modules() if device.type in ("cpu", "cuda") else ():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return placed


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a forward pass: bfloat16 where it is safe, or nothing at all."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def apply(model: Callable[[Tensor], Tensor], inputs: Tensor, device: torch.device, precision: str) -> Tensor:
    """Outputs of the model computed in that precision, as float32 or float64."""
    with autocast(device, precision):
        outputs = model(inputs)
    return outputs.to(PRECISIONS[precision])


def use_threads(wanted: int | None, multiply_adds: int) -> None:
    """Use so many threads of the CPU. For None: one where a step has few multiply-adds (waiting for a second thread
    costs more than it saves, and on a busy machine many times as much), else as many as torch had at its start.
    """
    torch.set_num_threads(wanted or (1 if multiply_adds < SMALL else TORCHS_THREADS))


def limit_threads(count: int) -> None:
    """Have torch take no more threads of the CPU than so many where none are wanted."""
    global TORCHS_THREADS
    TORCHS_THREADS = count
    torch.set_num_threads(count)


def thread_counts(wanted: int | None) -> list[int]:
    """How many threads of the CPU are worth trying: what is wanted, or else one and as many as torch had."""
    return [wanted] if wanted else sorted({1, TORCHS_THREADS})


def synchronize() -> None:
    """Wait for what the device still computes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def memory_for(device: torch.device, sharing: int) -> int:
    """Bytes for runs that train together: half of what is free, of which so many processes have an equal share."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
    return free // 2 // sharing


def available_memory() -> int:
    """Bytes of memory that a process may still take, of the machine's, caches of files that can be let go included, and
    of its container's.
    """
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    return min(int(found[1]) * 1024 if found else FREE_MEMORY, left_in_container())


def left_in_container() -> int:
    """Bytes below the limit of the container that this process is in, by Linux's cgroup v2; very many without one."""
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if not limit.exists() or (most := limit.read_text().strip()) == "max":
        return sys.maxsize
    return max(0, int(most) - int(used.read_text()))


def free_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def should_compile(wanted: bool | None, model: nn.Module, device: torch.device, multiply_adds: float) -> bool:
    """Whether to compile a model whose whole training has so many multiply-adds. For None: where it pays on a CPU,
    which is for a model with many operations between its matrix products that trains for long.

    Raises:
        ConfigError: if it is wanted on a CPU without a C++ compiler.
    """
    gains = device.type == "cpu" and getattr(model, "gains_from_compiling", False)
    if not (wanted or (wanted is None and gains and multiply_adds >= COMPILING_PAYS)):
        return False
    has_compiler = device.type != "cpu" or any(map(shutil.which, ("g++", "clang++", "c++", "cl")))
    if wanted and not has_compiler:
        raise ConfigError("compile=true needs a C++ compiler for device=cpu; allowed: install g++, or compile=false")
    return has_compiler


def compiled(model: nn.Module, examples: int) -> Callable[[Tensor], Tensor]:
    """The model's forward pass, compiled for batches of so many examples; others, as an epoch's last, go without."""
    fast = torch.compile(model, dynamic=False)

    def forward(inputs: Tensor) -> Tensor:
        outputs: Tensor = fast(inputs) if len(inputs) == examples else model(inputs)
        return outputs

    return forward


def make_deterministic(wanted: bool) -> None:
    """Let torch use only algorithms that give the same bits every time, or raise where there is none."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
    if torch.are_deterministic_algorithms_enabled() != wanted:  # the call itself takes a second of imports
        torch.use_deterministic_algorithms(wanted)


def widest_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on Apple GPUs, which know no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def widest(tensor: Tensor) -> Tensor:
    """The same numbers, as precise as the device knows any."""
    return tensor.to(widest_dtype(tensor.device))
