"""COCO's JSON as people have it: every layout is found, and what contradicts itself is named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.box_annotations import annotation, write_image
from trainables.core.contract import DataError, TrainingContext
from trainables.detection.sources import check_detection_data, load_detection_data

CATEGORIES = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
IMAGES = [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 50} for n in range(8)]
BOXES = [{"id": n, **annotation(n, 1 + n % 2, (5, 5, 40, 20))} for n in range(8)]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def whole(
    images: Sequence[Mapping[str, Any]] = IMAGES,
    annotations: Sequence[Any] = BOXES,
    categories: Sequence[Any] = CATEGORIES,
) -> dict[str, Any]:
    return {"images": list(images), "annotations": list(annotations), "categories": list(categories)}


def write_images(folder: Path, num: int = 8) -> None:
    for number in range(num):
        write_image(folder / f"{number}.png", number)


def one_file(folder: Path, **content: Any) -> str:
    """boxes.json beside eight images."""
    write_images(folder)
    write(folder / "boxes.json", whole(**content))
    return f"coco:{folder / 'boxes.json'}"


def context(data: str, folder: Path) -> TrainingContext:
    return TrainingContext(
        data=data, data_seed=0, seed=0, cache_dir=folder / "cache", resolution=32, num_workers=1
    )


def lines(data: str, folder: Path) -> list[str]:
    return list(check_detection_data(context(data, folder)))


def error(data: str, folder: Path) -> str:
    """What preflight reports, and a trial too."""
    with pytest.raises(DataError) as raised:
        check_detection_data(context(data, folder))
    with pytest.raises(DataError) as in_trial:
        load_detection_data(context(data, folder))
    assert str(in_trial.value) == str(raised.value)
    return str(raised.value)


def test_coco_as_it_is_handed_out_is_read_by_its_instances(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    for part in ("train", "val"):
        write_images(root / f"{part}2017")
        write(root / f"annotations/instances_{part}2017.json", whole())
        write(root / f"annotations/captions_{part}2017.json", {"images": IMAGES, "annotations": [{"id": 1}]})
        write(root / f"annotations/person_keypoints_{part}2017.json", whole(categories=CATEGORIES[:1]))
    for name in ("image_info_test2017", "image_info_test-dev2017"):
        write(root / f"annotations/{name}.json", {"images": IMAGES[:3], "categories": CATEGORIES})
    write_images(root / "test2017")
    found = check_detection_data(context(f"coco:{root}", tmp_path))
    assert (found.parts, found.split_off) == ({"train": 7, "val": 8, "test": 1}, ("test",))
    assert any("images without annotations; they are left out" in note for note in found.notes)
    assert [(one.reason, one.count) for one in found.left_out] == [
        ("JSON file of no part, or of a part that has another", 5)
    ]
    data = load_detection_data(context(f"coco:{root}", tmp_path))
    assert [len(part) for part in (data.splits.train, data.splits.val, data.splits.test)] == [7, 8, 1]


def test_of_two_years_the_later_is_read(tmp_path: Path) -> None:
    for year in (2014, 2017):
        for part in ("train", "val"):
            write_images(tmp_path / f"{part}{year}")
            write(tmp_path / f"annotations/instances_{part}{year}.json", whole())
    data = load_detection_data(context(f"coco:{tmp_path}", tmp_path))
    assert {path.parent.name for path in data.annotations.paths} == {"train2017", "val2017"}


@pytest.mark.parametrize(
    ("files", "images"),
    [
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ["train", "valid"]),  # Roboflow
        (["annotations/training.json", "annotations/validation.json"], ["training", "validation"]),
        (["annotations/train.json", "annotations/val.json"], ["images/train", "images/val"]),
        (["Train/labels.json", "Dev/labels.json"], ["Train/data", "Dev/data"]),  # FiftyOne
        (["train_set.json", "val_set.json"], ["images", "images"]),
        (["annotations/instances_Train.json", "annotations/instances_Validation.json"], ["images", "images"]),
    ],
)
def test_a_layout_is_found_by_its_names(tmp_path: Path, files: list[str], images: list[str]) -> None:
    for file, folder in zip(files, images, strict=True):
        write_images(tmp_path / folder)
        write(tmp_path / file, whole())
    found = check_detection_data(context(f"coco:{tmp_path}", tmp_path))
    assert (found.parts["val"], found.parts["train"] + found.parts["test"]) == (8, 8)


def test_two_files_for_one_part_are_no_guess(tmp_path: Path) -> None:
    write_images(tmp_path)
    for name in ("train_dogs", "train_cats"):
        write(tmp_path / f"{name}.json", whole())
    assert "train_cats.json and train_dogs.json may be meant for the same part" in error(
        f"coco:{tmp_path}", tmp_path
    )


def test_names_that_only_contain_a_parts_name_are_no_part(tmp_path: Path) -> None:
    write_images(tmp_path)
    write(tmp_path / "constraints.json", whole())
    assert check_detection_data(context(f"coco:{tmp_path}", tmp_path)).num_examples == 8  # alone: split here
    write(tmp_path / "latest.json", whole())
    text = error(f"coco:{tmp_path}", tmp_path)
    assert "no JSON file of training annotations" in text
    assert "constraints.json, latest.json" in text


@pytest.mark.parametrize(
    "name",
    [
        "sub/{}.png",
        "sub\\{}.png",
        "./sub/{}.png",
        "C:\\photos\\{}.png",
        "/home/pi/photos/{}.png",
        "../../label-studio/media/sub/{}.png",
    ],
)
def test_names_with_folders_are_found(tmp_path: Path, name: str) -> None:
    images = [{**image, "file_name": name.format(number)} for number, image in enumerate(IMAGES)]
    write(tmp_path / "boxes.json", whole(images=images))
    write_images(tmp_path / ("images/sub" if "sub" in name else "images"))
    assert check_detection_data(context(f"coco:{tmp_path}", tmp_path)).num_examples == 8


def test_accents_may_be_written_in_two_ways(tmp_path: Path) -> None:
    write(
        tmp_path / "boxes.json",
        whole(images=[{**image, "file_name": f"\u00e9{image['id']}.png"} for image in IMAGES]),
    )
    for number in range(8):
        write_image(tmp_path / f"e\u0301{number}.png", number)
    assert check_detection_data(context(f"coco:{tmp_path}", tmp_path)).num_examples == 8


def test_images_of_a_subset_lie_in_a_folder_of_its_name(tmp_path: Path) -> None:  # CVAT
    write_images(tmp_path / "images" / "default")
    write(tmp_path / "annotations" / "instances_default.json", whole())
    assert check_detection_data(context(f"coco:{tmp_path}", tmp_path)).num_examples == 8


def test_an_image_may_be_named_by_its_address_alone(tmp_path: Path) -> None:  # LVIS
    images = [
        {
            **{key: value for key, value in image.items() if key != "file_name"},
            "coco_url": f"http://h/{number}.png",
        }
        for number, image in enumerate(IMAGES)
    ]
    write(tmp_path / "boxes.json", whole(images=images))
    write_images(tmp_path)
    assert check_detection_data(context(f"coco:{tmp_path}", tmp_path)).num_examples == 8


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_json_of_any_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    data = one_file(tmp_path)
    text = json.dumps(
        whole(categories=[{"id": 1, "name": "Käfer"}, {"id": 2, "name": "鳥"}]), ensure_ascii=False
    )
    (tmp_path / "boxes.json").write_bytes(text.encode(encoding))
    assert set(check_detection_data(context(data, tmp_path)).classes) == {"Käfer", "鳥"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (json.dumps(whole())[:-30].encode(), "is not JSON: it ends too early, as an incomplete copy does"),
        (b"\n".join(json.dumps(box).encode() for box in BOXES), "more than one JSON object, as JSON Lines"),
        (json.dumps(BOXES).encode(), "it is a list, as files of detections are"),
        (b"", "is empty"),
        ('{"images": "é"}'.encode("latin-1"), "byte 12 is not UTF-8"),
        (
            b'{"shapes": [], "version": 5}',
            "no list of images and annotations and categories, but shapes, version",
        ),
        (b'{"images": {"a": 1}, "annotations": [], "categories": []}', "no list of images, but"),
        (b"null", "no list of images and annotations and categories, but nothing"),
        (b"12", "it is 12;"),
        (b"<annotation/>", "is not JSON (Expecting value"),
    ],
)
def test_what_is_no_coco_file_says_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    data = one_file(tmp_path)
    (tmp_path / "boxes.json").write_bytes(content)
    assert reason in error(data, tmp_path)


def test_ids_are_the_same_as_numbers_and_as_text(tmp_path: Path) -> None:
    images = [{**image, "id": str(image["id"])} for image in IMAGES]
    boxes = [
        {**box, "category_id": str(box["category_id"]), "image_id": float(box["image_id"])} for box in BOXES
    ]
    found = check_detection_data(context(one_file(tmp_path, images=images, annotations=boxes), tmp_path))
    assert found.classes == {"dog": 4, "cat": 4}


def test_ids_may_be_words_start_at_0_and_have_gaps(tmp_path: Path) -> None:
    ids = {1: 0, 2: 40}
    boxes = [{**box, "category_id": ids[box["category_id"]]} for box in BOXES]
    categories = [{"id": 0, "name": "dog"}, {"id": 40, "name": "cat"}]
    data = one_file(tmp_path / "gaps", annotations=boxes, categories=categories)
    assert "2 classes; ids 0 to 40 in the data" in lines(data, tmp_path)
    words = {1: "n02", 2: "n01"}
    boxes = [{**box, "category_id": words[box["category_id"]]} for box in BOXES]
    categories = [{"id": "n02", "name": "dog"}, {"id": "n01", "name": "cat"}]
    loaded = load_detection_data(
        context(one_file(tmp_path / "words", annotations=boxes, categories=categories), tmp_path)
    )
    assert loaded.annotations.category_ids == ("n01", "n02")
    assert loaded.annotations.class_names == ("cat", "dog")


def test_an_unused_category_of_the_same_name_is_left_out(tmp_path: Path) -> None:
    """As in Roboflow's files, where the project is a category."""
    categories = [{"id": 0, "name": "dog", "supercategory": "none"}, *CATEGORIES]
    found = check_detection_data(context(one_file(tmp_path, categories=categories), tmp_path))
    assert found.classes == {"dog": 4, "cat": 4}
    assert "left out, category without objects whose name is listed twice: 1 (0 (dog))" in list(found)


SIZE = {"width": 100, "height": 50}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            {"images": [*IMAGES, {"id": 0, "file_name": "7.png", **SIZE}]},
            "image id that more than one image has: boxes.json image 0 (0.png and 7.png)",
        ),
        (
            {"images": [*IMAGES, {"id": 50, "file_name": "0.png", **SIZE}]},
            "image that is listed more than once: boxes.json image 0 and boxes.json image 50 (0.png)",
        ),
        ({"images": [*IMAGES, {"id": 9}]}, "image without an id and a file_name: boxes.json image number 9"),
        (
            {"categories": [*CATEGORIES, {"id": 1, "name": "cow"}]},
            "category id that more than one category has: boxes.json category 1 (dog and cow)",
        ),
        (
            {
                "categories": [*CATEGORIES, {"id": 7, "name": "dog"}],
                "annotations": [*BOXES, annotation(0, 7, (1, 1, 2, 2))],
            },
            "name that more than one category has: dog is category 1 and 7",
        ),
        (
            {"categories": [*CATEGORIES, {"id": 3}]},
            "category without an id and a name: boxes.json category number 3",
        ),
        (
            {"annotations": [*BOXES, {"id": 9, **annotation(99, 1, (1, 1, 2, 2))}]},
            "annotation of an image that does not exist: boxes.json annotation 9 (image_id 99)",
        ),
        (
            {"annotations": [*BOXES, {"id": 9, **annotation(1, 5, (1, 1, 2, 2))}]},
            "annotation of a category that does not exist: boxes.json annotation 9 (category_id 5)",
        ),
        (
            {
                "annotations": [
                    *BOXES,
                    {"id": 9, "image_id": 1, "category_id": 1, "bbox": [1, float("nan"), 2, 2]},
                ]
            },
            "bbox that is not four finite numbers: boxes.json annotation 9 (bbox [1, nan, 2, 2])",
        ),
        (
            {
                "annotations": [
                    *BOXES,
                    {"id": 9, "image_id": 1, "category_id": 1, "bbox": [1, 2, float("inf"), 2]},
                ]
            },
            "bbox that is not four finite numbers: boxes.json annotation 9",
        ),
        (
            {
                "annotations": [
                    *BOXES,
                    {"id": 9, "image_id": 1, "category_id": 1, "bbox": ["1", "2", "3", "4"]},
                ]
            },
            "bbox that is not four finite numbers: boxes.json annotation 9",
        ),
        (
            {"annotations": [*BOXES, {"id": 9, "image_id": 1, "category_id": 1}]},
            "annotation without a bbox or an outline: boxes.json annotation 9",
        ),
        (
            {"annotations": [*BOXES, {"id": 9, **annotation(1, 1, (1, 1, 2, 2), iscrowd="maybe")}]},
            "iscrowd that is neither 0 nor 1: boxes.json annotation 9 (iscrowd 'maybe')",
        ),
        *(
            (
                {
                    "annotations": [
                        *BOXES,
                        {"id": 9, "image_id": 1, "category_id": 1, "segmentation": outline},
                    ]
                },
                "annotation without a bbox or an outline: boxes.json annotation 9",
            )
            for outline in (
                [],
                [[1, 2, 3]],
                [[1, 2, 3, "4"]],
                [[1, 2], 5],
                {},
                {"size": [0, 0], "counts": [1, 2]},
                {"size": [5, 5], "counts": [[]]},
                "mask.png",
            )
        ),
        ({"images": [*IMAGES, {"id": 9, "file_name": 9}]}, "image without an id and a file_name"),
        (
            {"annotations": [*BOXES, [1, 2]]},
            "annotation that is not a JSON object: boxes.json annotation number 9",
        ),
    ],
)
def test_a_contradiction_is_named_with_file_and_annotation(
    tmp_path: Path, content: dict[str, Any], problem: str
) -> None:
    data = one_file(tmp_path, **content)
    assert error(data, tmp_path).startswith(f"{data} has a problem: {problem}")


def test_all_problems_of_all_files_come_at_once_the_first_of_each_kind_named(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 7)  # 7.png is not there
    wrong = [annotation(99, 1, (1, 1, 2, 2)) for _ in range(5)]
    write(tmp_path / "train.json", whole(annotations=[*BOXES, *wrong]))
    (tmp_path / "val.json").write_text("{")
    text = error(f"coco:{tmp_path}", tmp_path)
    assert "has 7 problems" in text
    assert f"{tmp_path}/val.json is not JSON: it ends too early" in text
    assert f"image that does not exist: {tmp_path}/images/7.png" in text
    assert (
        "annotation of an image that does not exist (5): train.json annotation number 9 (image_id 99), "
        "train.json annotation number 10 (image_id 99), train.json annotation number 11 (image_id 99) "
        "and 2 more"
    ) in text


def test_what_is_listed_twice_is_read_once_and_reported(tmp_path: Path) -> None:
    data = one_file(tmp_path, images=[*IMAGES, IMAGES[0]], annotations=[*BOXES, *BOXES])
    found = check_detection_data(context(data, tmp_path))
    assert found.classes == {"dog": 4, "cat": 4}
    assert "left out, image that is listed twice: 1 (boxes.json image 0 (0.png))" in list(found)
    assert [one.count for one in found.left_out if one.reason == "box that is listed twice"] == [8]
    assert any(
        "annotation ids that are used twice; each annotation is read (8)" in note for note in found.notes
    )


def test_outlines_stand_for_boxes_that_are_missing(tmp_path: Path) -> None:
    """Polygons, and masks as run lengths, whole or packed: a rectangle from 10, 20 to 30, 40."""
    mask = np.zeros((50, 100), np.uint8)
    mask[20:40, 10:30] = 1
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    from faster_coco_eval.core.mask import encode

    packed = encode(np.asfortranarray(mask))
    outlines: list[Any] = [
        [[10, 20, 30, 20, 30, 40], [10, 40, 12, 40, 12, 30]],
        {"size": [50, 100], "counts": runs},
        {"size": [50, 100], "counts": packed["counts"].decode()},
    ]
    first = [{"id": n, "image_id": n, "category_id": 1, "segmentation": s} for n, s in enumerate(outlines)]
    data = load_detection_data(context(one_file(tmp_path, annotations=[*first, *BOXES[3:]]), tmp_path))
    assert [item.boxes_px.tolist() for item in data.annotations.objects[:3]] == [[[10, 20, 30, 40]]] * 3
    assert "boxes taken from the outline, as there is no bbox (3)" in data.notes()["boxes"]


def test_crowds_are_0_and_1_in_any_spelling(tmp_path: Path) -> None:
    crowds = [0, 1, "0", "1", False, True, None, 0]
    boxes = [{**box, "iscrowd": crowd} for box, crowd in zip(BOXES, crowds, strict=True)]
    boxes[7]["ignore"] = 1  # as tools mark regions to leave out
    data = load_detection_data(context(one_file(tmp_path, annotations=boxes), tmp_path))
    assert [item.is_crowd.tolist() for item in data.annotations.objects] == [
        [False], [True], [False], [True], [False], [True], [False], [True]
    ]  # fmt: skip


def test_an_area_that_is_no_positive_number_is_the_boxs(tmp_path: Path) -> None:
    areas = [10.5, None, 0, -3, float("nan"), "12"]
    boxes = [{**box, "area": area} for box, area in zip(BOXES[:6], areas, strict=True)]
    data = load_detection_data(context(one_file(tmp_path, annotations=[*boxes, *BOXES[6:]]), tmp_path))
    assert [item.area_px.tolist() for item in data.annotations.objects[:6]] == [[10.5], *[[800.0]] * 5]
    assert "areas that are not positive numbers; the box's area counts (4)" in data.notes()["areas"]


def test_empty_classes_and_images_are_counted(tmp_path: Path) -> None:
    data = one_file(tmp_path, annotations=BOXES[:6], categories=[*CATEGORIES, {"id": 9, "name": "cow"}])
    notes = lines(data, tmp_path)
    assert "classes without objects: cow" in notes
    assert "2 images without objects" in notes


def test_images_beside_the_listed_ones_are_counted(tmp_path: Path) -> None:
    data = one_file(tmp_path)
    write_image(tmp_path / "more.png")
    (tmp_path / "._0.png").write_bytes(b"")  # of a Mac
    assert "left out, image without annotations: 1 (more.png)" in lines(data, tmp_path)


def test_a_missing_image_is_named_with_what_may_be_meant(tmp_path: Path) -> None:
    data = one_file(tmp_path)
    (tmp_path / "3.png").rename(tmp_path / "3.PNG")
    assert error(data, tmp_path) == (
        f"{data} has a problem: image that does not exist: {tmp_path}/3.png; did you mean {tmp_path}/3.PNG?"
    )


@pytest.mark.parametrize(
    "name", ["x" * 300 + ".png", "data:image/png;base64," + "A" * 5000, "sub/../../8.png"]
)
def test_names_that_no_file_has_are_named(tmp_path: Path, name: str) -> None:
    data = one_file(tmp_path, images=[*IMAGES, {"id": 8, "file_name": name, **SIZE}])
    assert "has a problem: image that does not exist: " in error(data, tmp_path)


def test_the_same_image_in_two_parts_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    write(tmp_path / "train.json", whole())
    write(tmp_path / "val.json", whole(images=IMAGES[:2], annotations=BOXES[:2]))
    notes = lines(f"coco:{tmp_path}", tmp_path)
    same = "0.png (train) = 0.png (val), 1.png (train) = 1.png (val)"
    assert f"images in two parts: 2 ({same}); scores on them validate nothing" in notes


def test_a_validation_file_without_annotations_is_refused_as_is_one_without_images(tmp_path: Path) -> None:
    write_images(tmp_path)
    write(tmp_path / "train.json", whole())
    write(tmp_path / "val.json", {"images": IMAGES[:2], "categories": CATEGORIES})
    assert "val.json has images but no annotations" in error(f"coco:{tmp_path}", tmp_path)
    write(tmp_path / "none.json", whole(images=[], annotations=[]))
    assert "it lists no images" in error(f"coco:{tmp_path / 'none.json'}", tmp_path)
