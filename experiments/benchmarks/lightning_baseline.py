"""The same training in PyTorch Lightning, as its documentation does it: `python FILE DATA` trains mlp [256, 128] for
one epoch on Fashion-MNIST, `python FILE digits` trains mlp [32] for twenty epochs on scikit-learn's digits.
"""

import sys
import tempfile

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchvision import transforms
from torchvision.datasets import FashionMNIST


class Classifier(lightning.LightningModule):
    def __init__(self, *layers):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), *layers)

    def step(self, batch, split):
        inputs, targets = batch
        logits = self.network(inputs)
        loss = F.cross_entropy(logits, targets)
        self.log_dict({f"{split}/loss": loss, f"{split}/accuracy": (logits.argmax(1) == targets).float().mean()})
        return loss

    def training_step(self, batch, number):
        return self.step(batch, "train")

    def validation_step(self, batch, number):
        self.step(batch, "val")

    def test_step(self, batch, number):
        self.step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def fashion_mnist(folder):
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])
    published = FashionMNIST(folder, train=True, transform=transform)
    train, validation = random_split(published, [54_000, 6_000])
    test = FashionMNIST(folder, train=False, transform=transform)
    layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
    loaders = DataLoader(train, 64, shuffle=True), DataLoader(validation, 1000), DataLoader(test, 1000)
    return Classifier(*layers), *loaders


def digits():
    from sklearn.datasets import load_digits

    images, classes = (torch.tensor(part) for part in load_digits(return_X_y=True))
    table = TensorDataset((images / 16).float(), classes)
    train, validation, test = random_split(table, [1258, 180, 359])
    layers = [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)]
    return Classifier(*layers), DataLoader(train, 32, shuffle=True), DataLoader(validation, 180), DataLoader(test, 359)


def main():
    small = sys.argv[1] == "digits"
    model, train, validation, test = digits() if small else fashion_mnist(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder)
        trainer = lightning.Trainer(max_epochs=20 if small else 1, logger=logger, enable_progress_bar=False)
        trainer.fit(model, train, validation)
        trainer.test(dataloaders=test, verbose=False)


if __name__ == "__main__":
    main()
