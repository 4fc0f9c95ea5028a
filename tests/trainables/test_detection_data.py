"""Boxes come from files as they are meant, and go with their images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.box_annotations import annotation, coco_file, voc_folder, write_image
from trainables.core.contract import Budget, DataError, DataSpec, TrainingContext
from trainables.detection.annotations import objects_of
from trainables.detection.augment import BoxAugment
from trainables.detection.batches import DetectionBatches
from trainables.detection.shapes import shapes
from trainables.detection.sources import check_detection_data, load_detection_data
from trainables.engine.images.data import Statistics

UNSCALED = Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def context(data: DataSpec, folder: Path, **settings) -> TrainingContext:
    return TrainingContext(data=data, data_seed=0, seed=0, cache_dir=folder / "cache", **settings)


def coco_of_twenty(folder: Path) -> str:
    """20 images of 100 x 50 px, each with a dog on the left half, every second also with a crowd."""
    dogs = [annotation(10 + n, 3, (0, 0, 50, 25)) for n in range(20)]
    crowds = [annotation(10 + n, 90, (50, 0, 50, 50), iscrowd=1) for n in range(0, 20, 2)]
    return f"coco:{coco_file(folder / 'boxes.json', dogs + crowds, num_images=20)}"


def test_category_ids_with_gaps_are_counted_from_0_and_kept(tmp_path: Path) -> None:
    boxes = [annotation(10, 90, (1, 2, 3, 4)), annotation(11, 3, (5, 6, 7, 8), iscrowd=1, area=12.5)]
    many = [*boxes, *(annotation(13 + n, 7, (1, 2, 3, 4)) for n in range(7))]
    path = coco_file(tmp_path / "boxes.json", many, num_images=10)
    found = load_detection_data(context(f"coco:{path}", tmp_path, resolution=8)).annotations
    assert (found.class_names, found.category_ids) == (("dog", "cat", "cow"), (3, 7, 90))
    assert found.objects[0].boxes_px.tolist() == [[1, 2, 4, 6]]
    assert [item.labels.tolist() for item in found.objects[:4]] == [[2], [0], [], [1]]
    assert [item.is_crowd.tolist() for item in found.objects[:3]] == [[False], [True], []]
    assert [item.area_px.tolist() for item in found.objects[:3]] == [[12.0], [12.5], []]
    assert found.balance().tolist()[:4] == [2, 0, 3, 1]  # none is the fourth
    assert found.row_notes()["categories"] == "3 classes; ids 3 to 90 in the data"


def test_a_file_alone_takes_its_images_from_a_folder_that_is_given(tmp_path: Path) -> None:
    boxes = [annotation(10 + n, 3, (0, 0, 50, 25)) for n in range(8)]
    path = coco_file(tmp_path / "boxes.json", boxes, num_images=8, images=tmp_path / "elsewhere")
    data = context({"coco": str(path), "images": str(tmp_path / "elsewhere")}, tmp_path, resolution=8)
    found = load_detection_data(data).annotations
    assert [image.parent.name for image in found.paths] == ["elsewhere"] * 8
    with pytest.raises(DataError, match=r"give it: data: {coco: .*, images: FOLDER}"):
        check_detection_data(context(f"coco:{path}", tmp_path, resolution=8))


def test_voc_says_what_is_difficult_and_which_part_an_image_is_of(tmp_path: Path) -> None:
    root = voc_folder(
        tmp_path / "voc",
        {
            "a": [("dog", (1, 2, 30, 40), 0), ("cat", (5, 5, 9, 9), 1)],
            "b": [],
            "c": [("cat", (0, 0, 9, 9), 0)],
            "d": [("cat", (0, 0, 9, 9), 0)],
        },
    )
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for part, text in (("train", "a\n"), ("val", "d"), ("test", "c  1\n")):
        (lists / f"{part}.txt").write_text(text)
    found = load_detection_data(context(f"voc:{root}", tmp_path, resolution=8)).annotations
    assert found.parts == ("train", "val", "test")  # b is in no list
    assert found.class_names == ("cat", "dog")
    assert found.objects[0].boxes_px.tolist() == [[1, 2, 30, 40], [5, 5, 9, 9]]
    assert found.objects[0].is_crowd.tolist() == [False, True]


def test_crowds_are_not_trained_on() -> None:
    boxes = [(0, 0, 50, 25), (0, 0, 100, 50), (90, 40, 100.5, 50.5)]
    corners, labels = objects_of("a", (100, 50), boxes, [0, 1, 2], is_crowd=[False, True, False]).trained()
    assert labels.tolist() == [0, 2]
    assert corners == pytest.approx(torch.tensor([[0, 0, 0.5, 0.5], [0.9, 0.8, 1, 1]]))


def test_images_are_stretched_to_squares_and_boxes_are_shares(tmp_path: Path) -> None:
    data = load_detection_data(context(coco_of_twenty(tmp_path), tmp_path, resolution=32))
    assert [len(getattr(data.splits, part)) for part in ("train", "val", "test")] == [14, 3, 3]
    batches = DetectionBatches(
        data,
        context("", tmp_path, is_overfit=True),
        augment=BoxAugment("none", flip=False, seed=0),
        statistics=UNSCALED,
    )
    batch = batches.epoch(Budget(epochs=1, resolution=32), 0).batch(torch.arange(4))
    assert batch.images.shape == (4, 3, 32, 32)
    assert [target["boxes"].tolist() for target in batch.targets] == [[[0.25, 0.25, 0.5, 0.5]]] * 4
    assert [target["class_labels"].tolist() for target in batch.targets] == [[0]] * 4
    pieces = batch.split(3)
    assert [len(piece) for piece in pieces] == [2, 2]
    assert [item.image for piece in pieces for item in piece.objects] == [
        item.image for item in batch.objects
    ]


def test_boxes_are_mirrored_with_their_image() -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[:, 0:4, 0:2] = 255
    boxes, labels = torch.tensor([[0.0, 0.0, 0.25, 0.5]]), torch.tensor([1])
    augment = BoxAugment("none", flip=True, seed=0)
    seen = {}
    for number in range(8):
        changed, moved, kept = augment(image, boxes, labels, epoch=0, number=number)
        left = bool(changed[0, 0, 0])
        seen[left] = moved.tolist()
        assert kept.tolist() == [1]
    assert seen == {True: [[0.0, 0.0, 0.25, 0.5]], False: [[0.75, 0.0, 1.0, 0.5]]}


def test_augmentation_belongs_to_the_example_and_leaves_the_generator_alone() -> None:
    images, annotations = shapes()
    corners, labels = annotations.objects[1].trained()
    augment = BoxAugment("strong", flip=True, seed=3)
    before = torch.get_rng_state()
    first, again, later = (augment(images[1], corners, labels, epoch=epoch, number=1) for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], later[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert first[0].shape == images[1].shape


def test_an_image_whose_boxes_are_gone_or_never_were_is_a_negative() -> None:
    image, none = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(0, 4)
    _, boxes, labels = BoxAugment("strong", flip=True, seed=0)(
        image, none, torch.zeros(0, dtype=torch.int64), epoch=0, number=0
    )
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))


def test_shapes_fill_their_boxes() -> None:
    images, annotations = shapes()
    single = next(n for n, item in enumerate(annotations.objects) if len(item.labels) == 1)
    bright = (images[single] >= 120).all(0)
    rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
    corners = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    assert annotations.objects[single].boxes_px.tolist() == [corners]
    assert sum(not len(item.labels) for item in annotations.objects) == 40


def test_preflight_reports_what_was_found(tmp_path: Path) -> None:
    data = coco_of_twenty(tmp_path)
    assert list(check_detection_data(context(data, tmp_path, resolution=32))) == [
        "20 images, 30 objects of 3 classes: 0 (cat) to 20 (dog)",
        "14 train, 3 val, 3 test; val and test split off train",
        "all 100 x 50 px",
        "classes without objects: cat",
        "classes that training has no objects of, crowds apart: cow",
        "10 crowds or difficult objects are not trained on, nor are mistakes",
        "3 classes; ids 3 to 90 in the data",
    ]
    with pytest.raises(DataError, match="has no resolution of its own"):
        check_detection_data(context(data, tmp_path))


def test_preflight_finds_what_a_split_lacks(tmp_path: Path) -> None:
    few = coco_file(tmp_path / "few.json", [annotation(10, 3, (0, 0, 9, 9))], num_images=2)
    empty = coco_file(tmp_path / "empty.json", [annotation(10, 3, (0, 0, 9, 9))], num_images=9)
    for path, problem in (
        (few, "2 examples are too few for training, validation and test parts"),
        (empty, "has no objects in its"),
    ):
        for read in (check_detection_data, load_detection_data):
            with pytest.raises(DataError, match=problem):
                read(context(f"coco:{path}", tmp_path, resolution=8))


def test_the_made_shapes_are_summed_up(tmp_path: Path) -> None:
    found = check_detection_data(context("shapes", tmp_path))
    assert (found.num_examples, sum(found.classes.values())) == (480, 922)
    assert found.parts == {"train": 336, "val": 72, "test": 72}


def test_missing_images_are_named(tmp_path: Path) -> None:
    data = coco_of_twenty(tmp_path)
    (tmp_path / "13.png").unlink()
    with pytest.raises(DataError, match=r"a problem: image that does not exist: .*13\.png"):
        load_detection_data(context(data, tmp_path, resolution=32))


def test_data_without_objects_is_refused(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "boxes.json", [], num_images=8)
    with pytest.raises(DataError, match="has images but no annotations; the train part needs some"):
        load_detection_data(context(f"coco:{path}", tmp_path, resolution=32))


@pytest.mark.parametrize("data", ["digits", "coco:", "coc:/x"])
def test_an_unknown_source_is_refused_with_those_there_are(tmp_path: Path, data: str) -> None:
    with pytest.raises(DataError, match=r"no data source is named .*; there are shapes, coco:PATH"):
        check_detection_data(context(data, tmp_path))


def test_a_broken_image_is_left_out(tmp_path: Path) -> None:
    """One of 101 is under 1 %."""
    boxes = [annotation(10 + n, 3, (0, 0, 50, 25)) for n in range(101)]
    path = coco_file(tmp_path / "boxes.json", boxes, num_images=101)
    write_image(tmp_path / "20.png")
    (tmp_path / "20.png").write_bytes((tmp_path / "20.png").read_bytes()[:200])
    data = load_detection_data(context(f"coco:{path}", tmp_path, resolution=8))
    assert data.splits.num_unreadable == 1
    assert "1 images cannot be read and are left out" in data.notes()["data"]
