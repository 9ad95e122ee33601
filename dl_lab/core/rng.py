"""Named random streams: every random number is a function of (seed, stream, step) alone.

A resumed run therefore needs no generator state, and changing one choice, such as dropout, leaves the other streams
(initialization, data order) unchanged. Masks come from a counter-based hash of key and index, which takes a few tensor
operations and gives the same bits on every device (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
doi:10.1145/2063384.2063405), with the multiply-xorshift rounds of Steele et al. 2014 (doi:10.1145/2660193.2660195).
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import prod

import torch
from torch import Tensor

# Odd 32-bit constants as signed integers: 2^32 / golden ratio, and two that mix well (found by hash-prospector).
_WEYL, _MIX_1, _MIX_2 = -1640531527, 0x7FEB352D, -2073254261


def seed_for(seed: int, stream: str, step: int = 0) -> int:
    """The 63-bit seed of one step of one stream."""
    digest = blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """A CPU generator with the seed of one step of one stream."""
    return torch.Generator().manual_seed(seed_for(seed, stream, step))


def _halves(value: int) -> list[int]:
    """Split a 63-bit integer into two signed 32-bit integers, the low half first."""
    return [half - (1 << 32) if half >= 1 << 31 else half for half in (value & 0xFFFFFFFF, value >> 32)]


def key(seed: int, stream: str, step: int = 0) -> Tensor:
    """The same seed as an int32 tensor (2,), the key that `bits` takes."""
    return torch.tensor(_halves(seed_for(seed, stream, step)), dtype=torch.int32)


def keys(seeds: Sequence[int], stream: str, step: int = 0) -> Tensor:
    """The keys (run, 2) of several seeds."""
    return torch.tensor([_halves(seed_for(seed, stream, step)) for seed in seeds], dtype=torch.int32)


def bits(key: Tensor, count: int, layer: int = 0) -> Tensor:
    """`count` int32 numbers, uniform over the whole range, each a function of `key` (2,), `layer` and its index.

    The high bits are mixed best. torch.func.vmap maps it over keys (run, 2).
    """
    index = torch.arange(count, dtype=torch.int32, device=key.device)
    state = (index * _WEYL) ^ (key[0] + layer * _MIX_1 % 0x7FFFFFFF)
    state = (state ^ ((state >> 16) & 0xFFFF)) * _MIX_1
    state = state + key[1]
    return (state ^ ((state >> 15) & 0x1FFFF)) * _MIX_2


def keep_mask(key: Tensor, shape: Sequence[int], drop: float | Tensor, layer: int = 0) -> Tensor:
    """A boolean mask of `shape` in which each element is False with probability `drop`, a number or a tensor ()."""
    threshold: int | Tensor
    if isinstance(drop, Tensor):
        threshold = ((drop * 2**32).round().clamp(max=2**32 - 1) - 2**31).to(torch.int32)
    else:
        threshold = min(round(drop * 2**32), 2**32 - 1) - 2**31
    return (bits(key, prod(shape), layer) >= threshold).view(*shape)


def uniform(key: Tensor, count: int, layer: int = 0) -> Tensor:
    """`count` float32 numbers, uniform in [0, 1), multiples of 2^-24."""
    return ((bits(key, count, layer) >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24
