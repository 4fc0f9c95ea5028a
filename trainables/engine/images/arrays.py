"""Images and labels as arrays in a NumPy file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from trainables.core.contract import DataError
from trainables.engine.images.folder_names import PARTS, Part, part_of
from trainables.engine.images.source import ImageSource, in_memory_source

_IMAGES, _LABELS = {"images", "image", "x"}, {"labels", "label", "y"}
_WANTED = "images and labels, or such a pair for each part (train_images, train_labels, ...; x_test, y_test)"


def read_arrays(path: Path) -> ImageSource:
    """Read images and labels; classes are named by their labels.

    Raises:
        DataError: The file is not NumPy's or lacks one of the two, or they do not match.
    """
    pairs = _pairs(path)
    images = {part: _channels_first(path, pair["images"]) for part, pair in pairs.items()}
    labels = {part: _labels(path, pair["labels"], len(images[part])) for part, pair in pairs.items()}
    shapes = {pixels.shape[1:] for pixels in images.values()}
    if len(shapes) > 1:
        raise DataError(f"{path}: images of all parts must have one shape, got {', '.join(map(str, shapes))}")
    names, rows = np.unique(np.concatenate([*labels.values()]), return_inverse=True)
    trained = set(labels["train"].tolist())
    if unknown := [name for name in names.tolist() if name not in trained]:
        raise DataError(f"{path}: the training part has no image of {', '.join(map(str, unknown[:5]))}")
    return in_memory_source(
        torch.from_numpy(np.concatenate([*images.values()])),
        torch.from_numpy(rows),
        parts=np.repeat([*labels], [len(of_part) for of_part in labels.values()]),
        class_names=[str(name) for name in names],
    )


def _pairs(path: Path) -> dict[Part, Mapping[str, np.ndarray]]:
    """The arrays of images and of labels of each part; of the training part alone if none is named."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = _names(path, file.files)
            found = {part: {kind: file[name] for kind, name in pair.items()} for part, pair in names.items()}
            held = ", ".join(file.files) or "nothing"
    except (DataError, MemoryError):
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise anything for broken files
        raise DataError(f"{path} cannot be read: {error}; it must be .npz with {_WANTED}") from error
    if "train" not in found or any(len(pair) < 2 for pair in found.values()):
        raise DataError(f"{path} has {held}; it must have {_WANTED}")
    return {part: found[part] for part in PARTS if part in found}


def _names(path: Path, held: Sequence[str]) -> Mapping[Part, Mapping[str, str]]:
    """The names of the arrays of images and of labels of each part.

    Of several, that with the fewest words is meant: `labels` beside `label_names`.

    Raises:
        DataError: Several have equally few, such as fine_labels and coarse_labels.
    """
    found: defaultdict[Part, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for name in held:
        words = {word for word in re.split(r"[^a-z]+", name.lower()) if word}
        parts = [part for word in words if (part := part_of(word))] or [PARTS[0]]
        kind = "images" if words & _IMAGES else "labels" if words & _LABELS else ""
        if kind and len(parts) == 1:
            found[parts[0]][kind][name] = len(words)
    chosen: defaultdict[Part, dict[str, str]] = defaultdict(dict)
    for part, kinds in found.items():
        for kind, counts in kinds.items():
            fewest = [name for name, count in counts.items() if count == min(counts.values())]
            if len(fewest) > 1:
                raise DataError(
                    f"{path}: {' and '.join(fewest)} may each be the {kind} of the {part} part; keep one"
                )
            chosen[part][kind] = fewest[0]
    return chosen


def _channels_first(path: Path, images: np.ndarray) -> np.ndarray:
    """(n, height, width) or (n, height, width, channels) as (n, channels, height, width)."""
    has_colours = images.ndim == 4 and images.shape[3] in (1, 3)
    if images.dtype != np.uint8 or not (images.ndim == 3 or has_colours):
        raise DataError(
            f"{path}: images must be (n, height, width) or (n, height, width, 3) of uint8, got "
            f"{images.shape} of {images.dtype}"
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if has_colours else images[:, None]


def _labels(path: Path, labels: np.ndarray, num_images: int) -> np.ndarray:
    """Labels, (n,), of integers or text; one column of them may be (n, 1)."""
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (num_images,) or flat.dtype.kind not in "iubU" or not len(flat):
        raise DataError(
            f"{path}: labels must be {num_images} whole numbers or words, one an image, got "
            f"{labels.shape} of {labels.dtype}"
        )
    return flat
