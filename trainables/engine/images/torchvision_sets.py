"""torchvision's data sets, read by torchvision's own loaders."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.utils.data import ConcatDataset

from trainables.core.contract import DataError, DataNotHere
from trainables.core.files import replacing
from trainables.engine.cache_folder import CacheFolder
from trainables.engine.images.data_sources import Torchvision
from trainables.engine.images.decoded_source import decoded_source
from trainables.engine.images.decoding import ImageReader
from trainables.engine.images.reading import MEANING, upright_rgb
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing
from trainables.engine.images.source import ImageSource, in_memory_source

_SPELLINGS = {"train": ("train", "trainval"), "val": ("val", "valid"), "test": ("test",)}


def load_torchvision(
    source: Torchvision,
    cache: CacheFolder,
    *,
    top: int | None,
    num_threads: int,
    framing: Framing = WHOLE_MIDDLE,
) -> ImageSource:
    """Load the data set `torchvision.datasets.NAME` from $JOULETUNE_DATA or ~/.cache/jouletune/datasets.

    Its official parts are kept, above all the test part.

    Raises:
        DataError: No such data set, or it is not on disk.
    """
    name = source.torchvision
    try:
        by_part = official_parts(name, download=source.download and not cache.is_bypassed)
    except DataError as error:
        raise (DataNotHere if source.download else DataError)(str(error)) from error
    datasets = list(by_part.values())
    parts = np.repeat(list(by_part), [len(dataset) for dataset in datasets])
    if _are_in_memory(datasets):
        labels = torch.cat([_labels_in_memory(dataset) for dataset in datasets])
        images = torch.cat([_channels_first(torch.as_tensor(dataset.data)) for dataset in datasets])
        in_memory = in_memory_source(images, labels, parts=parts, class_names=_class_names(datasets, labels))
        return replace(in_memory, num_val=source.val_examples)
    joined: ConcatDataset[Any] = ConcatDataset(datasets)
    cached_name = f"torchvision-{name}-{len(joined)}-{MEANING}"
    labels = _labels_one_by_one(joined, cache.folder / f"{cached_name}-labels.npy")
    decoded = decoded_source(
        ImageReader(len(joined), lambda index, resolution: upright_rgb(joined[index][0]), framing=framing),
        labels,
        parts=parts,
        class_names=_class_names(datasets, labels),
        cache=cache,
        name=cached_name,
        top=top,
        num_threads=num_threads,
    )
    return replace(decoded, num_val=source.val_examples)


def check_name(name: str) -> None:
    """Raise DataError unless torchvision has a data set of this name."""
    if name not in torchvision.datasets.__all__:
        near = difflib.get_close_matches(name, torchvision.datasets.__all__, n=3)
        raise DataError(f"torchvision has no data set {name!r}; near are {', '.join(near) or 'none'}")


def official_parts(name: str, *, download: bool) -> dict[str, Any]:
    check_name(name)
    dataset_class: Any = getattr(torchvision.datasets, name)
    accepted = inspect.signature(dataset_class).parameters
    folder = Path(os.environ.get("JOULETUNE_DATA", "~/.cache/jouletune/datasets")).expanduser()
    settings: dict[str, Any] = {"root": folder} if "root" in accepted else {}
    if "download" in accepted:
        settings["download"] = download
    try:
        if "train" in accepted:
            return {part: dataset_class(train=part == "train", **settings) for part in ("train", "test")}
        if "split" in accepted:
            return _parts_by_split(dataset_class, settings)
        return {"train": dataset_class(**settings)}
    except TypeError as error:  # it is made of more than a folder
        raise DataError(f"torchvision:{name} cannot be read by its name alone: {error}") from error
    except (RuntimeError, OSError, ValueError, ImportError) as error:  # "Dataset not found or corrupted"
        reason = " ".join(str(error).split())
        way = f", or write data: {{torchvision: {name}, download: true}}" if "download" in accepted else ""
        raise DataError(
            f"torchvision:{name} is not in {folder} ({reason}); set JOULETUNE_DATA to the folder that has "
            f"it{way}"
        ) from error


def _parts_by_split(dataset_class: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The parts of a data set that has a `split`, in whichever spelling it accepts.

    Raises:
        DataError: The data set has no training part.
    """
    parts: dict[str, Any] = {}
    for part, spellings in _SPELLINGS.items():
        for spelling in spellings:
            try:
                parts[part] = dataset_class(split=spelling, **settings)
            except ValueError:  # this data set has no split of that name
                continue
            break
    if "train" not in parts:
        raise DataError(f"torchvision.datasets.{dataset_class.__name__} has no training split")
    return parts


def _channels_first(images: Tensor) -> Tensor:
    """(n, h, w), (n, h, w, channels) or (n, channels, h, w), to the last of these."""
    if images.ndim == 3:
        return images[:, None]
    return images if images.shape[1] in (1, 3) else images.permute(0, 3, 1, 2).contiguous()


def class_counts(datasets: Sequence[Any]) -> dict[str, int]:
    """Number of images of each class if that is known without decoding, else empty."""
    if not _are_in_memory(datasets):
        return {}
    labels = torch.cat([_labels_in_memory(dataset) for dataset in datasets])
    return dict(zip(_class_names(datasets, labels), labels.bincount().tolist(), strict=False))


def _are_in_memory(datasets: Sequence[Any]) -> bool:
    """Whether each has one array of images and a label for each: LFWPeople has paths, QMNIST 8 numbers."""
    return all(
        isinstance(getattr(each, "data", None), np.ndarray | Tensor) and _labels_in_memory(each).ndim == 1
        for each in datasets
    )


def _labels_in_memory(dataset: Any) -> Tensor:
    """The labels, which torchvision calls `targets`, or `labels` in SVHN and STL10; a scalar for none."""
    return torch.as_tensor(getattr(dataset, "targets", getattr(dataset, "labels", 0)))


def _labels_one_by_one(dataset: ConcatDataset[Any], path: Path) -> Tensor:
    """Labels of a data set that has them only with the images, which are decoded once for that."""
    if not path.is_file():
        with replacing(path) as temporary:
            np.save(temporary, np.array([_label(dataset[index]) for index in range(len(dataset))]))
    return torch.from_numpy(np.load(path))


def _label(item: Sequence[Any]) -> int:
    try:
        return int(item[1])
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"torchvision has no class for each image of this data set, got {item[1:]!r:.80}"
        ) from error


def _class_names(datasets: Sequence[Any], labels: Tensor) -> tuple[str, ...]:
    """The data set's own names of its classes, or their numbers."""
    names = getattr(datasets[0], "classes", None) or range(int(labels.max()) + 1)
    return tuple(str(name) for name in names)
