"""Boxes in YOLO's text files, laid out as Ultralytics, Roboflow and labelling tools write them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.support.box_annotations import write_image
from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import read_source, resolve_data
from trainables.detection.annotations import Annotations
from trainables.detection.data_sources import BOX_SOURCES, Yolo
from trainables.detection.sources import load_detection_data

# Of 100 x 50 px: the middle half of the image, and a quarter in its corner.
MIDDLE, CORNER = "1 0.5 0.5 0.5 0.5", "0 0.125 0.25 0.25 0.5"
NAMES = "names: [cat, dog]"


def made(root: Path, text: str, images: str, labels: str = "", line: str = MIDDLE, number: int = 8) -> Path:
    """A data.yaml, and in each folder of images as many of them, each with a label file of the line."""
    root.mkdir(exist_ok=True)
    (root / "data.yaml").write_text(text)
    for place, (folder, of_labels) in enumerate(zip(images.split(), (labels or images).split(), strict=True)):
        for index in range(number):
            write_image(root / folder / f"{index}.png", 100 * place + index)
            (root / of_labels).mkdir(parents=True, exist_ok=True)
            (root / of_labels / f"{index}.txt").write_text(line)
    return root


def read(path: Path) -> Annotations:
    folder = path if path.is_dir() else path.parent
    context = TrainingContext(
        data={"yolo": str(path)},
        data_seed=0,
        seed=0,
        cache_dir=folder / "cache",
        resolution=32,
        num_workers=1,
    )
    return load_detection_data(context).annotations


def boxes(annotations: Annotations) -> list[tuple[int, list[float]]]:
    """Of the first image."""
    first = annotations.objects[0]
    return list(zip(first.labels.tolist(), first.boxes_px.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "images", "labels"),
    [
        ("train: images/train\nval: images/val", "images/train images/val", "labels/train labels/val"),
        (
            "path: .\ntrain: images/train\nvalid: [images/val]",
            "images/train images/val",
            "labels/train labels/val",
        ),
        (
            "path: /home/me/pets\ntrain: train/images\nval: valid/images",
            "train/images valid/images",
            "train/labels valid/labels",
        ),
        (
            "train: ../train/images\nval: ../valid/images",
            "train/images valid/images",
            "train/labels valid/labels",
        ),
        ("path: pets\ntrain: a\nval: b\ntest:", "pets/a pets/b", ""),
        (
            "train: /content/pets/train/images\nval: /content/pets/valid/images\ntest: ../test/images",
            "train/images valid/images",
            "train/labels valid/labels",
        ),
        ("path: C:\\pets\ntrain: C:\\pets\\a\nval: C:\\pets\\b", "a b", ""),
        (
            "train: train\\images\nval: val\\images\nkpt_shape: null",
            "train/images val/images",
            "train/labels val/labels",
        ),
    ],
)
def test_a_data_file_is_found_and_its_parts_and_labels_too(
    tmp_path: Path, text: str, images: str, labels: str
) -> None:
    found = read(made(tmp_path, f"{text}\nnc: 2\n{NAMES}\n", images, labels))
    assert Counter(found.parts) == {"train": 8, "val": 8}
    assert (found.class_names, found.category_ids) == (("cat", "dog"), (0, 1))
    assert boxes(found) == [(1, [25.0, 12.5, 75.0, 37.5])]
    assert found.objects[0].size_px == (100, 50)


def test_parts_may_be_lists_of_images_and_classes_a_mapping(tmp_path: Path) -> None:
    made(
        tmp_path,
        "train: train.txt\nval: [val.txt, more]\nnames: {0: cat, 1: dog}\n",
        "images/a more",
        "labels/a more",
    )
    (tmp_path / "train.txt").write_text(
        "\n\n".join(["./images/a/0.png", *(f"images/a/{number}.png" for number in range(1, 6))])
    )
    (tmp_path / "val.txt").write_text(f"{tmp_path}/images/a/7.png\n")
    assert Counter(read(tmp_path / "data.yaml").parts) == {"train": 6, "val": 9}


def test_a_folder_of_a_labelling_tool_has_its_classes_in_a_text_file(tmp_path: Path) -> None:
    made(tmp_path, "", "images", "labels", CORNER)
    (tmp_path / "data.yaml").rename(tmp_path / "classes.txt")
    (tmp_path / "classes.txt").write_text("\ufeffcat\r\ndog\r\n", encoding="utf-8")
    found = read(tmp_path)
    assert (found.class_names, set(found.parts)) == (("cat", "dog"), {"train"})
    assert boxes(found) == [(0, [0.0, 0.0, 25.0, 25.0])]


@pytest.mark.parametrize(
    ("more", "line", "box"),
    [
        ("", "1 0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8", [10.0, 10.0, 50.0, 40.0]),
        ("", "1.0 0.1 0.2 0.5 0.2 0.3 0.8", [10.0, 10.0, 50.0, 40.0]),
        ("kpt_shape: [2, 3]", f"{MIDDLE} 0.4 0.4 2 0.6 0.6 1", [25.0, 12.5, 75.0, 37.5]),
    ],
)
def test_an_outline_is_the_box_around_it_and_keypoints_are_left_out(
    tmp_path: Path, more: str, line: str, box: list[float]
) -> None:
    found = read(made(tmp_path, f"train: images\n{NAMES}\n{more}\n", "images", "labels", line))
    assert [corners for _, corners in boxes(found)] == [pytest.approx(box)]


def test_boxes_are_shares_of_the_upright_image(tmp_path: Path) -> None:
    made(tmp_path, f"train: images\n{NAMES}\n", "images", "labels", CORNER)
    exif = Image.Exif()
    exif[274] = 6
    for path in (tmp_path / "images").iterdir():
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), exif=exif)
        path.unlink()
    found = read(tmp_path)
    assert (found.objects[0].size_px, boxes(found)) == ((50, 100), [(0, [0.0, 0.0, 12.5, 50.0])])


def test_images_without_labels_have_no_objects_and_are_counted(tmp_path: Path) -> None:
    made(tmp_path, f"train: images\n{NAMES}\n", "images", "labels")
    (tmp_path / "labels" / "7.txt").unlink()
    (tmp_path / "labels" / "6.txt").write_text("\n")
    found = read(tmp_path)
    assert [len(objects.labels) for objects in found.objects] == [1] * 6 + [0, 0]
    assert found.notes["files"] == "images without a label file, taken to have no objects: 7.png"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "train: images",
            "2 0.5 0.5 0.1 0.1",
            r"object of a class that names does not have \(8\): labels/0.txt line 1 \(2\)",
        ),
        (
            "train: images",
            "0 50 25 20 10",
            "number above 1, in over 10 % of 8 boxes: give shares of width and height",
        ),
        ("train: images", "0 0.5 0.5 0.1 0.1 0.9", r"line that is neither a class and a box .*\(6 numbers\)"),
        (
            "train: images",
            "cat 0.5 0.5 0.1 0.1",
            r"line that is not numbers alone \(8\): labels/0.txt line 1 \(cat",
        ),
        ("train: nowhere", MIDDLE, "train: nowhere is not in .*; correct it, or path"),
        ("val: images", MIDDLE, "names no images to train on; write train: images/train"),
        ("nc: 2", MIDDLE, "names no images to train on; write train: images/train"),
        ("- train: [", MIDDLE, "is not YAML: "),
        (
            "train: /x/train/images\nval: /x/val/images",
            MIDDLE,
            "/x/train/images and /x/val/images are not in",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str, line: str, problem: str) -> None:
    made(tmp_path, f"{text}\n{NAMES}\n", "images", "labels", line)
    with pytest.raises(DataError, match=problem):
        read(tmp_path)


def test_a_folder_without_labels_or_a_data_file_says_what_is_missing(tmp_path: Path) -> None:
    made(tmp_path, f"train: images\n{NAMES}\n", "images", "elsewhere")
    with pytest.raises(DataError, match=r"no image has a label file, such as .*labels/7\.txt"):
        read(tmp_path)
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"has no data\.yaml; write one such as train: images/train, val"):
        read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")


def test_a_bare_path_of_a_file_is_read_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(NAMES)
    (tmp_path / "boxes.json").write_text("{}")
    for name, key in (("data.yaml", "yolo"), ("boxes.json", "coco")):
        spec, problems = resolve_data(name, BOX_SOURCES, lambda _: tmp_path, must_exist=True)
        assert (spec, problems) == ({key: str(tmp_path / name)}, [])
    assert read_source({"yolo": "x"}, BOX_SOURCES) == Yolo(yolo=Path("x"))


def test_a_folder_of_the_other_kind_or_above_is_hinted_at(tmp_path: Path) -> None:
    made(tmp_path / "pets", f"train: images\n{NAMES}\n", "images", "labels")
    context = TrainingContext(
        data=f"coco:{tmp_path / 'pets'}", data_seed=0, seed=0, cache_dir=tmp_path, resolution=32
    )
    with pytest.raises(DataError, match=r"did you mean yolo:.*/pets\?"):
        load_detection_data(context)
    (tmp_path / "pets" / "data.yaml").unlink()
    (tmp_path / "pets" / "a.json").write_text("{}")
    with pytest.raises(DataError, match=r"JSON files there: none; did you mean coco:.*/pets\?"):
        load_detection_data(replace(context, data=f"coco:{tmp_path}"))


def test_a_test_part_without_a_label_file_or_a_folder_is_left_out(tmp_path: Path) -> None:
    made(tmp_path, f"train: a\nval: b\ntest: c\n{NAMES}\n", "a b c")
    for path in (tmp_path / "c").glob("*.txt"):
        path.unlink()
    found = read(tmp_path)
    assert Counter(found.parts) == {"train": 8, "val": 8}
    what = "the test part has 8 images and no label file; they are left out, and a test part is split off"
    assert found.notes == {"parts": what}
    (tmp_path / "c").rename(tmp_path / "unlabelled")
    assert read(tmp_path / "data.yaml").notes == {"parts": "test: c does not exist; a test part is split off"}


def test_folders_of_parts_beside_a_text_file_of_classes_are_parts(tmp_path: Path) -> None:
    made(tmp_path, "", "images/train images/val", "labels/train labels/val")
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog")
    assert Counter(read(tmp_path).parts) == {"train": 8, "val": 8}
    in_gbk = made(tmp_path / "gbk", "", "images")
    (in_gbk / "data.yaml").rename(in_gbk / "classes.txt")
    (in_gbk / "classes.txt").write_bytes("cat\n\u72d7".encode("gbk"))
    with pytest.raises(DataError, match=r"classes.txt is not UTF-8 \(byte 4\); save it as UTF-8"):
        read(in_gbk)


@pytest.mark.parametrize("names", ["[007, null]", "{0: 007, 1: null}"])
def test_names_of_classes_are_as_they_are_written(tmp_path: Path, names: str) -> None:
    assert read(made(tmp_path, f"train: images\nnames: {names}\n", "images")).class_names == ("007", "null")


def test_images_in_a_list_may_have_folders_of_another_machine_and_accents_of_a_mac(tmp_path: Path) -> None:
    made(tmp_path, f"train: train.txt\n{NAMES}\n", "images", "labels")
    (tmp_path / "images/0.png").rename(tmp_path / "images/cafe\u0301.png")
    (tmp_path / "labels/0.txt").rename(tmp_path / "labels/caf\u00e9.txt")
    names = ["caf\u00e9", *map(str, range(1, 8))]
    (tmp_path / "train.txt").write_text("".join(f"D:\\pets\\images\\{name}.png\n" for name in names))
    assert [len(objects.labels) for objects in read(tmp_path).objects] == [1] * 8
