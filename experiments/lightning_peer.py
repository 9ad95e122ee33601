"""One epoch of the same mlp on Fashion-MNIST by PyTorch Lightning, as its documentation has it: python FILE DATA."""

import sys
import tempfile

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import transforms
from torchvision.datasets import FashionMNIST


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
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


def main():
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])
    published = FashionMNIST(sys.argv[1], train=True, transform=transform)
    train, validation = random_split(published, [54_000, 6_000])
    test = FashionMNIST(sys.argv[1], train=False, transform=transform)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(max_epochs=1, logger=TensorBoardLogger(folder), enable_progress_bar=False)
        trainer.fit(Classifier(), DataLoader(train, 64, shuffle=True), DataLoader(validation, 1000))
        trainer.test(dataloaders=DataLoader(test, 1000), verbose=False)


if __name__ == "__main__":
    main()
