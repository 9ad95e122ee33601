"""Folders of images."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 6


def write(folder: Path, counts: dict[str, int], seed: int = 0) -> dict[bytes, str]:
    """Write random RGB images, `counts` per class. Return the class of each by its bytes (channel, height, width)."""
    random = np.random.default_rng(seed)
    classes = {}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) // np.array([1, 2, 3], dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
            classes[pixels.transpose(2, 0, 1).tobytes()] = name
    return classes
