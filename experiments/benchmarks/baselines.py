"""Hand-written training loops to compare with: the same model, data and batch size as dl_lab."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_lab.core import devices
from dl_lab.datasets.mnist import FILES, read_idx

Batches = Iterator[tuple[Tensor, Tensor]]


def model(name: str) -> nn.Module:
    """tiny: 64-32-10. mlp: 784-256-128-10. cnn: conv 32, pool, conv 64, pool, 128, 10."""
    if name == "tiny":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    if name == "mlp":
        layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
        return nn.Sequential(nn.Flatten(), *layers)
    convolutions = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    convolutions += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))


def data(name: str, data_dir: Path) -> tuple[Tensor, Tensor]:
    """All training images as normalized floats (example, 1, height, width), and their classes."""
    if name == "tiny":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)
    folder = data_dir / "FashionMNIST" / "raw"
    images = read_idx(folder / FILES[0]).unsqueeze(1)
    return images.float().div(255).sub(0.2860).div(0.3530), read_idx(folder / FILES[1]).long()


def batches(inputs: Tensor, targets: Tensor, batch_size: int) -> Batches:
    """Shuffled batches, epoch after epoch, without the last incomplete batch."""
    while True:
        order = torch.randperm(len(inputs)).to(inputs.device)
        for index in order[: len(order) // batch_size * batch_size].split(batch_size):
            yield inputs[index], targets[index]


def train(name: str, data_dir: Path, batch_size: int, steps: int) -> float:
    """Seconds of the given number of Adam steps on the fastest device, with the data on it, after ten warm-up steps."""
    torch.manual_seed(0)
    device = devices.choose("auto", "float32")
    network = model(name).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    inputs, targets = data(name, data_dir)
    stream = batches(inputs.to(device), targets.to(device), batch_size)
    total, start = torch.zeros((), device=device), 0.0
    for step in range(steps + 10):
        if step == 10:
            devices.synchronize()
            start = time.perf_counter()
        inputs, targets = next(stream)
        loss = F.cross_entropy(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()
    total.item()
    return time.perf_counter() - start


@torch.no_grad()
def validate(network: nn.Module, inputs: Tensor) -> float:
    """Seconds of one forward pass in batches of 1,000."""
    devices.synchronize()
    start = time.perf_counter()
    for batch in inputs.split(1000):
        network(batch)
    devices.synchronize()
    return time.perf_counter() - start
