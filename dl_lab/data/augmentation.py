"""Random changes of training images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_lab.core import rng


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of training images (batch, channel, height, width), drawn on the device.

    `flip` mirrors half of them horizontally. `crop` moves each by up to that many pixels and fills with black.
    """

    flip: bool
    crop: int

    def __call__(self, images: Tensor, key: Tensor) -> Tensor:
        number, channels, height, width = images.shape
        draws = rng.uniform(key, 3 * number).view(3, number, 1)
        shift = (draws[:2] * (2 * self.crop + 1)).long()
        rows = torch.arange(height, device=images.device) + shift[0]
        columns = torch.arange(width, device=images.device).expand(number, -1)
        if self.flip:
            columns = torch.where(draws[2] < 0.5, columns.flip(1), columns)
        columns = columns + shift[1]
        padded = F.pad(images, (self.crop,) * 4) if self.crop else images
        batch = torch.arange(number, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[:, None, None]
        return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]
