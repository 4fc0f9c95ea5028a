"""A box is trained on as it stands, cut, left out or refused, by one rule for every source."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.core.contract import DataError
from trainables.detection.annotations import Annotations
from trainables.detection.box_rules import annotations_of
from trainables.detection.entries import Category, Corners, ImageEntry, ObjectEntry
from trainables.engine.findings import Findings

FINE = (5.0, 5.0, 40.0, 30.0)


def described(
    *boxes: Corners, size_px: tuple[float, float] = (100, 50), fine: int = 20
) -> tuple[Annotations, Findings]:
    """One image with these boxes, and others with fine ones."""
    objects = tuple(ObjectEntry(f"box {n}", "dog", box) for n, box in enumerate(boxes))
    entries = [ImageEntry("a", "a.png", Path("a.png"), "train", size_px, objects)]
    for n in range(fine):
        entries.append(
            ImageEntry(
                f"{n}", f"{n}", Path(f"{n}"), "train", size_px, (ObjectEntry(f"fine {n}", "dog", FINE),)
            )
        )
    findings = Findings()
    return annotations_of(entries, [Category("dog", 1, "dog")], findings), findings


@pytest.mark.parametrize(
    ("box", "kept", "notes"),
    [
        (FINE, [list(FINE)], ""),
        ((0, 0, 100, 50), [[0, 0, 100, 50]], ""),
        ((-1, 0, 101, 50.5), [[-1, 0, 101, 50.5]], ""),  # counted from 1, or rounded
        (
            (-20, 5, 40, 30),
            [[0, 5, 40, 30]],
            "boxes that reach beyond their image and are cut at its edge: box 0",
        ),
        (
            (5, 5, 140, 80),
            [[5, 5, 100, 50]],
            "boxes that reach beyond their image and are cut at its edge: box 0",
        ),
        ((10, 10, 10, 30), [], "left out, box without area: 1 (box 0)"),
        ((10, 30, 40, 10), [], "left out, box without area: 1 (box 0)"),
        ((0, 0, 0, 0), [], "left out, box without area: 1 (box 0)"),
        ((100, 0, 130, 50), [], "left out, box outside its image: 1 (box 0)"),
        ((-40, -40, -2, -2), [], "left out, box outside its image: 1 (box 0)"),
    ],
)
def test_a_box_is_kept_cut_or_left_out(box: Corners, kept: list[list[float]], notes: str) -> None:
    annotations, findings = described(box)
    assert annotations.objects[0].boxes_px.tolist() == kept
    assert [*findings.notes.values(), *map(str, findings.left_out)] == ([notes] if notes else [])
    assert not findings.problems


def test_a_box_is_read_once_unless_its_class_differs() -> None:
    annotations, findings = described(FINE, FINE, FINE, (5, 5, 40, 31))
    assert annotations.objects[0].boxes_px.tolist() == [list(FINE), [5, 5, 40, 31]]
    assert [str(one) for one in findings.left_out] == ["left out, box that is listed twice: 2 (box 1, box 2)"]


@pytest.mark.parametrize("box", [(10, 10, 10, 30), (10, 30, 40, 10), (100, 0, 130, 50)])
def test_over_a_tenth_without_area_is_a_problem(box: Corners) -> None:
    _, findings = described(*[box] * 3, fine=27)
    assert not findings.problems
    _, findings = described(*[box] * 4, fine=27)
    with pytest.raises(
        DataError, match=r"voc:x has 4 problems: box without area in its image, over 10 % of 31 \(4\)"
    ):
        findings.refuse("voc:x")


def test_shares_instead_of_pixels_are_refused() -> None:
    _, findings = described((0.1, 0.2, 0.5, 0.6), (0.5, 0.5, 1.4, 1.2), fine=0)
    assert findings.problems == [
        "all 2 boxes lie between 0 and 1, as shares of the sides: give them in pixels"
    ]
    _, findings = described((0.1, 0.2, 0.5, 0.6), fine=1)  # one tiny box among others is none
    assert not findings.problems
    _, findings = described((0, 0, 2, 2), size_px=(8, 8), fine=0)  # nor is one of a tiny image
    assert not findings.problems


def test_corners_where_coco_has_width_and_height_are_refused() -> None:
    """30, 20, 90, 45 read as left, top, width, height end at 120, 65."""
    _, findings = described((30, 20, 120, 65), (50, 10, 130, 50), (10, 10, 60, 40), fine=0)
    assert findings.problems == [
        "2 of 3 boxes reach beyond their images, and none would as left, top, right, bottom: "
        "a bbox of COCO is left, top, width, height"
    ]


def test_many_boxes_that_reach_out_are_cut_where_they_are_no_corners() -> None:
    """As of whole persons behind the edge."""
    annotations, findings = described((80, 10, 120, 45), (90, 5, 110, 49), fine=0)
    assert not findings.problems
    assert annotations.objects[0].boxes_px.tolist() == [[80, 10, 100, 45], [90, 5, 100, 49]]


def test_a_cut_box_keeps_the_area_of_its_outline_and_else_has_its_own() -> None:
    objects = (
        ObjectEntry("a", "dog", (50, 0, 150, 50), area_px=123.0),
        ObjectEntry("b", "dog", (60, 0, 150, 50)),
    )
    fine = tuple(ObjectEntry("c", "dog", (n, 0, 40, 30)) for n in range(9))
    entry = ImageEntry("a", "a", Path("a"), "train", (100, 50), (*objects, *fine))
    annotations = annotations_of([entry], [Category("dog", 1, "dog")], Findings())
    assert annotations.objects[0].area_px.tolist()[:2] == [123.0, 40.0 * 50]
