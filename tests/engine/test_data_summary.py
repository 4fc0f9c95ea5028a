"""The words in which a data source is summed up."""

from __future__ import annotations

import json

from trainables.core.data_summary import DataSummary, LeftOut

FOUND = DataSummary(
    num_examples=240,
    classes={"ants": 118, "bees": 122},
    parts={"train": 168, "val": 36, "test": 36},
    split_off=("val", "test"),
    sizes_px=((300, 200), (500, 375), (1024, 768)),
    num_sized=64,
    left_out=(
        LeftOut(reason="other ending", count=4, names=("a.heic", "b.pdf", "c.txt", "d.txt")),
        LeftOut(reason="empty class", count=1, names=("wasps",)),
    ),
    notes=("2 images are CMYK",),
)


def test_a_summary_is_the_list_of_its_lines():
    assert list(FOUND) == [
        "240 images of 2 classes: 118 (ants) to 122 (bees)",
        "168 train, 36 val, 36 test; val and test split off train",
        "sizes 300 x 200 to 1024 x 768 px, median 500 x 375 (64 were measured)",
        "left out, other ending: 4 (a.heic, b.pdf, c.txt, ...)",
        "left out, empty class: 1 (wasps)",
        "2 images are CMYK",
    ]
    assert FOUND[-1] == "2 images are CMYK"
    assert len(FOUND) == 6


def test_what_is_not_known_has_no_line():
    assert list(DataSummary(num_examples=5, unit="pairs")) == ["5 pairs"]


def test_even_classes_and_sizes_are_reported_once():
    even = DataSummary(num_examples=4, classes={"a": 2, "b": 2}, sizes_px=((8, 6),) * 3)
    assert list(even) == ["4 images of 2 classes, 2 of each", "all 8 x 6 px"]


def test_classes_of_boxes_are_counted_in_objects():
    boxes = DataSummary(num_examples=2, classes={"car": 7, "dog": 1}, class_unit="objects")
    assert list(boxes) == ["2 images, 8 objects of 2 classes: 1 (dog) to 7 (car)"]


def test_a_summary_survives_json():
    assert DataSummary.from_dict(json.loads(json.dumps(FOUND.to_dict()))) == FOUND
