"""One contender of benchmarks.data in its own process; prints its seconds as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from timm import create_model
from timm.data import ImageDataset, create_loader
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from trainables.core.contract import Budget, TrainingContext
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batches
from trainables.engine.images.data import load_data

_BATCH = 64
_WORKERS = 2
_STEPS_IN_TURNS = 12
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Pairs = Iterable[tuple[Tensor, Tensor]]
Loaders = Callable[[int], tuple[Pairs, Pairs]]  # maps an epoch to its training and validation batches


def main() -> None:
    """Run with the arguments WHO MODEL FOLDER SIDE EPOCHS CACHE."""
    who, model_name, folder, side, epochs, cache = sys.argv[1:]
    model = _model(model_name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    if who == "turns":
        print(json.dumps({"share": _share_of_bare_speed(model, optimizer, Path(folder), int(side), cache)}))
        return
    torch.set_num_threads(1)  # as in a one-core trial; with two threads, a busy machine stalls every barrier
    started_s, cpu_before_s = perf_counter(), sum(os.times()[:4])
    loaders = {"ours": _ours, "torchvision": _torchvision, "timm": _timm}[who](Path(folder), int(side), cache)
    ends_s = []
    for epoch in range(int(epochs)):
        num_images = _epoch(model, optimizer, *loaders(epoch))
        ends_s.append(perf_counter())
    epochs_s = [end - start for start, end in zip([started_s, *ends_s], ends_s, strict=False)]
    del loaders  # so that the time of loader processes is counted
    cpu_s = sum(os.times()[:4]) - cpu_before_s
    print(json.dumps({"epochs_s": epochs_s, "cpu_s": cpu_s, "num_images": num_images}))


def _model(name: str) -> nn.Module:
    if name == "tiny":  # every 16th pixel of every 16th row, so that only the loader is measured
        return nn.Sequential(nn.AvgPool2d(1, stride=16), nn.Flatten(), nn.LazyLinear(2))
    model: nn.Module = create_model(name, num_classes=2)
    return model.to(memory_format=torch.channels_last)


def _epoch(model: nn.Module, optimizer: torch.optim.Optimizer, train: Pairs, val: Pairs) -> int:
    """Train on one part and score the other; return the number of images of both."""
    num_images = 0
    for images, labels in train:
        _step(model, optimizer, images, labels)
        num_images += len(labels)
    with torch.inference_mode():
        for images, labels in val:
            model(images)
            num_images += len(labels)
    return num_images


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    optimizer.zero_grad()


def _batches(folder: Path, side: int, cache: str) -> Batches:
    context = TrainingContext(
        data=f"imagefolder:{folder}",
        data_seed=0,
        seed=0,
        cache_dir=Path(cache),
        resolution=side,
        num_workers=_WORKERS,
    )
    data = load_data(context)
    statistics = data.train.statistics(side)
    return Batches(data, context, augment=Augment.named("light", flip=True), statistics=statistics)


def _ours(folder: Path, side: int, cache: str) -> Loaders:
    batches = _batches(folder, side, cache)
    budget = Budget(epochs=1, resolution=side)

    def loaders(epoch: int) -> tuple[Pairs, Pairs]:
        examples = batches.epoch(budget, epoch)
        train = map(examples.batch, examples.steps(_BATCH, drop_single=False))
        return (
            ((batch.images, batch.labels) for batch in train),
            ((batch.images, batch.labels) for batch in batches.validation(budget)),
        )

    return loaders


def _torchvision(folder: Path, side: int, cache: str) -> Loaders:
    """The transforms of torchvision's classification reference, for Pillow images."""
    end = [v2.PILToTensor(), v2.ToDtype(torch.float, scale=True), v2.Normalize(_MEAN, _STD)]
    train = ImageFolder(
        str(folder / "train"), v2.Compose([v2.RandomResizedCrop(side), v2.RandomHorizontalFlip(), *end])
    )
    val = ImageFolder(str(folder / "val"), v2.Compose([v2.Resize(side), v2.CenterCrop(side), *end]))
    loaders: tuple[Any, Any] = (
        DataLoader(train, _BATCH, shuffle=True, num_workers=_WORKERS),
        DataLoader(val, _BATCH, num_workers=_WORKERS),
    )
    return lambda _: loaders


def _timm(folder: Path, side: int, cache: str) -> Loaders:
    """timm's own defaults for training and validation: crop, flip and colour jitter."""
    settings: Any = {
        "input_size": (3, side, side),
        "batch_size": _BATCH,
        "num_workers": _WORKERS,
        "use_prefetcher": False,  # it is for CUDA
        "device": torch.device("cpu"),
    }
    train = create_loader(ImageDataset(str(folder / "train")), is_training=True, **settings)
    val = create_loader(ImageDataset(str(folder / "val")), is_training=False, **settings)
    return lambda _: (train, val)


def _share_of_bare_speed(
    model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, side: int, cache: str
) -> float:
    """Time of steps on tensors in memory / time of steps on our batches; the two take turns."""
    examples = _batches(folder, side, cache).epoch(Budget(epochs=1, resolution=side), 0)
    steps = examples.steps(_BATCH, drop_single=False)[:_STEPS_IN_TURNS]
    ready = [(batch.images, batch.labels) for batch in map(examples.batch, steps)]

    def ours() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in map(examples.batch, steps):
            yield batch.images, batch.labels

    _step(model, optimizer, *ready[0])
    taken_s = {"ready": 0.0, "ours": 0.0}
    for both in zip(_timed(ours(), model, optimizer), _timed(iter(ready), model, optimizer), strict=True):
        for who, step_s in zip(("ours", "ready"), both, strict=True):
            taken_s[who] += step_s
    return taken_s["ready"] / taken_s["ours"]


def _timed(
    pairs: Iterator[tuple[Tensor, Tensor]], model: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[float]:
    started_s = perf_counter()
    for images, labels in pairs:
        _step(model, optimizer, images, labels)
        yield perf_counter() - started_s
        started_s = perf_counter()


if __name__ == "__main__":
    main()
