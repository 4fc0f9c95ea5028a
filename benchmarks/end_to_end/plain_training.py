"""A training as written by hand: torchvision's ImageFolder, a DataLoader, SGD, a cosine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from trainables.engine.classifiers.small_networks import ResNet20

Hparams = Mapping[str, float]
Batches = DataLoader[tuple[torch.Tensor, torch.Tensor]]

NUM_EPOCHS = 9
RESOLUTION_PX = {"digits": 28, "crops": 64}


def train(hparams: Hparams, data: Path, *, seed: int, part: str = "val") -> Iterator[float]:
    """Train a ResNet-20 in full; yield its accuracy on `part` after each epoch."""
    torch.manual_seed(seed)
    training, evaluation = (loader(data / name, int(hparams["batch_size"])) for name in ("train", part))
    model = ResNet20(num_classes=len(list((data / "train").iterdir())))
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=hparams["lr"],
        momentum=0.9,
        nesterov=True,
        weight_decay=hparams["weight_decay"],
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=NUM_EPOCHS * len(training))
    for _ in range(NUM_EPOCHS):
        model.train()
        for images, labels in training:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
        yield accuracy(model, evaluation)


def test_accuracy(hparams: Hparams, data: Path, seed: int) -> float:
    """Test accuracy of a full training in one thread.

    Two at once take half as long as one after the other with two threads.
    """
    torch.set_num_threads(1)
    return list(train(hparams, data, seed=seed, part="test"))[-1]


def loader(folder: Path, batch_size: int) -> Batches:
    """Batches from a folder of class folders, shuffled for training."""
    side = RESOLUTION_PX[folder.parent.name]
    transform = transforms.Compose(
        [
            transforms.Resize((side, side)),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    return DataLoader(ImageFolder(folder, transform), batch_size=batch_size, shuffle=folder.name == "train")


@torch.no_grad()
def accuracy(model: nn.Module, batches: Batches) -> float:
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches)
    return right / len(batches.dataset)  # type: ignore[arg-type]
