"""Folders of JPEG photographs for benchmarks."""

from __future__ import annotations

import random
from pathlib import Path

_SIDE_PX = 400
_HELD_OUT_EVERY = 8  # every eighth image is for validation, the next one for test


def write_photographs(folder: Path, *, count: int) -> Path:
    """Write crops of scikit-learn's two sample photographs as class folders, and return the folder."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    draw = random.Random(0)
    for name in ("china", "flower"):
        whole = Image.fromarray(load_sample_image(f"{name}.jpg"))  # 640 x 427 px
        (folder / name).mkdir(parents=True)
        for index in range(count // 2):
            side = draw.randint(250, min(whole.size))
            left, top = (draw.randint(0, length - side) for length in whole.size)
            crop = whole.crop((left, top, left + side, top + side)).resize((_SIDE_PX, _SIDE_PX))
            crop.save(folder / name / f"{index:05}.jpg", quality=90)
    return folder


def laid_out(images: Path, folder: Path) -> Path:
    """Link all images of `images` under train/, val/ and test/ of `folder`, and return `folder`."""
    for class_folder in sorted(path for path in images.iterdir() if path.is_dir()):
        for part in ("train", "val", "test"):
            (folder / part / class_folder.name).mkdir(parents=True)
        for index, path in enumerate(sorted(path for path in class_folder.iterdir() if path.is_file())):
            part = {0: "val", 1: "test"}.get(index % _HELD_OUT_EVERY, "train")
            (folder / part / class_folder.name / path.name).symlink_to(path.resolve())
    return folder
