"""Which objects a detector missed, which of its boxes are false, and the pictures that show them."""

from __future__ import annotations

from io import BytesIO

import pytest
import torch
from PIL import Image

from trainables.detection.annotations import Objects, objects_of
from trainables.detection.mistakes import DetectionMistakes, Detections, judged

Box = tuple[float, float, float, float]
CAT, DOG = 0, 1


def detections(*boxes: tuple[Box, int, float]) -> Detections:
    """Boxes as left, top, width and height, with their class and score."""
    return {
        "boxes": torch.tensor([box for box, _, _ in boxes], dtype=torch.float64).reshape(-1, 4),
        "labels": torch.tensor([label for _, label, _ in boxes], dtype=torch.int64),
        "scores": torch.tensor([score for _, _, score in boxes]),
    }


def cats(*corners: Box, is_crowd: list[bool] | None = None) -> Objects:
    return objects_of("a.png", (100, 50), corners, [CAT] * len(corners), is_crowd=is_crowd)


@pytest.mark.parametrize(
    ("box", "is_found", "num_false"),
    [
        (((0, 0, 20, 20), CAT, 0.9), True, 0),
        (((0, 0, 20, 20), CAT, 0.49), False, 0),  # not sure enough to be shown
        (((0, 0, 20, 20), DOG, 0.9), False, 1),
        (((0, 0, 10, 20), CAT, 0.9), True, 0),  # an overlap of exactly one half
        (((0, 0, 9, 20), CAT, 0.9), False, 1),
        (((60, 0, 20, 20), CAT, 0.9), False, 1),
    ],
)
def test_a_box_finds_an_object_of_its_class_that_it_overlaps_by_half(
    box: tuple[Box, int, float], is_found: bool, num_false: int
) -> None:
    image = judged(0, detections(box), cats((0, 0, 20, 20)))
    assert image.is_found.tolist() == [is_found]
    assert image.is_missed.tolist() == [not is_found]
    assert len(image.false_labels) == num_false
    assert image.num_mistakes == num_false + (not is_found)


def test_an_object_is_found_once_by_the_surest_box() -> None:
    found = detections(((0, 0, 20, 20), CAT, 0.9), ((0, 0, 20, 19), CAT, 0.8))
    image = judged(0, found, cats((0, 0, 20, 20), (50, 0, 70, 20)))
    assert image.is_found.tolist() == [True, False]
    assert image.false_boxes_px.tolist() == [[0, 0, 20, 19]]


def test_a_crowd_is_neither_missed_nor_a_place_for_false_boxes() -> None:
    found = detections(((10, 10, 5, 5), CAT, 0.9), ((10, 10, 5, 5), DOG, 0.8))
    image = judged(0, found, cats((0, 0, 80, 40), is_crowd=[True]))
    assert image.is_missed.tolist() == [False]
    assert image.false_labels.tolist() == [DOG]


def test_an_image_without_objects_or_boxes_has_no_mistake() -> None:
    mistakes = DetectionMistakes(["cat", "dog"])
    mistakes.update(detections(), cats())
    assert mistakes.table().rows == []
    assert mistakes.images() == {}


def test_the_image_with_most_mistakes_is_first_and_drawn_in_its_own_proportions() -> None:
    asked: list[int] = []

    def picture(place: int, longest_px: int) -> Image.Image:
        asked.append(place)
        return Image.new(
            "RGB", (longest_px, longest_px), "white"
        )  # stretched to a square, as it is trained on

    mistakes = DetectionMistakes(["cat", "dog"], picture)
    for _ in range(2):  # what was fed is forgotten
        mistakes.update(detections(((0, 0, 20, 20), CAT, 0.9)), cats((0, 0, 20, 20)))  # no mistake
        mistakes.update(detections(), cats((0, 0, 20, 20)))
        mistakes.update(detections(((60, 10, 20, 20), DOG, 0.9)), cats((0, 0, 20, 20), (30, 0, 50, 20)))
        assert mistakes.table().rows == [
            ("a.png", 2, 2, 1, "2 cat", "1 dog"),
            ("a.png", 1, 1, 0, "1 cat", ""),
        ]
    images = mistakes.images()
    assert asked == [2, 1]
    assert list(images) == ["01", "02"]
    worst = Image.open(BytesIO(images["01"]))
    assert worst.size == (320, 160)
    missed, false = (240, 228, 66), (213, 94, 0)
    assert worst.getpixel((30, 63)) == missed  # the lower edge of the first cat, 20 px of 50
    assert worst.getpixel((220, 33)) == false


def test_pictures_are_left_out_together_if_one_cannot_be_read() -> None:
    def picture(place: int, longest_px: int) -> Image.Image:
        if place == 1:
            raise OSError("gone")
        return Image.new("RGB", (8, 8))

    mistakes = DetectionMistakes(["cat"], picture)
    for _ in range(2):
        mistakes.update(detections(), cats((0, 0, 20, 20)))
    assert len(mistakes.table().rows) == 2
    assert mistakes.images() == {}
