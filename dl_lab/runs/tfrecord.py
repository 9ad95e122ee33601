"""TFRecord, the format of TensorBoard's event files: a length and a content, each with a checksum.

TensorBoard's own writer computes checksums byte by byte in Python, and imports a stub of TensorFlow for it.
"""

import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), lowest bit first
WIDTH = 256  # bytes per NumPy operation


def record(content: bytes) -> bytes:
    """The record of a content, in bytes."""
    return _length(len(content)) + content + struct.pack("<I", masked(crc32c(content)))


@cache
def _length(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked(crc32c(packed)))


def masked(checksum: int) -> int:
    """The checksum as records store it. Unmasked, data that end in their own checksum would all have the same one."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """The CRC-32C of four bytes or more."""
    assert len(content) >= 4
    start = -len(content) % WIDTH  # leading zeros do not change a checksum
    padded = np.zeros(start + len(content), dtype=np.uint8)
    padded[start:] = np.frombuffer(content, dtype=np.uint8)
    padded[start : start + 4] ^= 0xFF
    (tables, positions), checksum = _tables(), 0
    for row in padded.reshape(-1, WIDTH):
        row[:4] ^= np.frombuffer(checksum.to_bytes(4, "little"), dtype=np.uint8)
        checksum = int(np.bitwise_xor.reduce(tables[positions, row]))
    return checksum ^ 0xFFFFFFFF


@cache
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The contribution of each byte value at each position to the checksum of WIDTH bytes (WIDTH, 256), and the
    positions. A checksum is the exclusive or of the contributions of its bytes.
    """
    last: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = np.where(last & 1, last >> 1 ^ POLYNOMIAL, last >> 1).astype(np.uint32)
    rows = [last]
    while len(rows) < WIDTH:  # followed by one more zero
        rows.append(rows[-1] >> 8 ^ last[rows[-1] & 0xFF])
    return np.stack(rows[::-1]), np.arange(WIDTH)
