"""Which folders are parts and which classes; everything left out is named."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from trainables.core.contract import DataError
from trainables.engine.images.class_folders import find_image_files
from trainables.engine.images.files import ImageFiles


def fill(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (4, 4), (number, len(folder.name), 0)).save(folder / f"{number}.png")


def classes(root: Path, *names: str, count: int = 2) -> Path:
    for name in names or ("cat", "dog"):
        fill(root / name, count)
    return root


def left_out(files: ImageFiles) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {one.reason: (one.count, one.names) for one in files.left_out}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training_set", "validation-set", "test_set"),
        ("TRAINING", "dev", "Testing"),
        ("trainval", "ValidationSet", "test2017"),
    ],
)
def test_parts_are_known_by_any_usual_name(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name, count in zip(names, (3, 2, 1), strict=True):
        classes(tmp_path / name, count=count)
    files = find_image_files(tmp_path)
    assert files.class_names == ("cat", "dog")
    assert Counter(files.parts) == {"train": 6, "val": 4, "test": 2}
    assert not files.left_out
    assert not files.remarks


@pytest.mark.parametrize(
    ("train", "test"),
    [("seg_train/seg_train", "seg_test/seg_test"), ("alphabet-Training", "alphabet-Testing")],
)
def test_parts_are_known_by_a_word_of_names_that_are_alike_otherwise(
    tmp_path: Path, train: str, test: str
) -> None:
    classes(tmp_path / train, count=3)
    classes(tmp_path / test, count=1)
    fill(tmp_path / "seg_pred", 2)
    files = find_image_files(tmp_path)
    names = [name.partition("/")[0] for name in (train, test)]
    assert files.remarks == (f"{', '.join(names)} are taken for the parts train, test, by their names",)
    assert (files.class_names, Counter(files.parts)) == (("cat", "dog"), {"train": 6, "test": 2})
    assert left_out(files) == {"folder beside the parts": (1, ("seg_pred/",))}


def test_classes_that_mention_a_part_are_classes(tmp_path: Path) -> None:
    names = ("test_tube", "train_station", "training_fake", "training_real")
    assert find_image_files(classes(tmp_path, *names)).class_names == names


def test_a_part_may_lie_in_a_folder_of_its_own_name(tmp_path: Path) -> None:
    for folder, count in (("training/training", 3), ("validation/validation", 2), ("test/test", 1)):
        classes(tmp_path / folder, count=count)
    files = find_image_files(tmp_path)
    assert (files.class_names, Counter(files.parts)) == (("cat", "dog"), {"train": 6, "val": 4, "test": 2})
    assert not files.left_out


def test_an_accent_that_is_written_in_two_ways_is_one_class(tmp_path: Path) -> None:
    classes(tmp_path / "train", "caf\u00e9", "cat", count=3)
    classes(tmp_path / "val", "cafe\u0301", "cat", count=1)
    files = find_image_files(tmp_path)
    assert sorted(files.class_names) == ["caf\u00e9", "cat"]
    assert Counter(files.parts) == {"train": 6, "val": 2}


def test_a_name_that_is_not_utf_8_is_written_out(tmp_path: Path) -> None:
    classes(tmp_path, "cat", os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe8"))
    files = find_image_files(tmp_path)
    assert files.class_names == ("caf\\udce8", "caf\\udce9", "cat")
    assert len(files.paths) == 6


def test_what_is_hidden_or_a_systems_own_is_neither_class_nor_image(tmp_path: Path) -> None:
    classes(tmp_path)
    for junk in (".ipynb_checkpoints", "__MACOSX/cat", "@eaDir", "cat/.thumbnails", "lost+found"):
        fill(tmp_path / junk, 1)
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png"):
        (tmp_path / "dog" / name).write_bytes(b"\0")
    files = find_image_files(tmp_path)
    assert (files.class_names, len(files.paths)) == (("cat", "dog"), 4)
    assert left_out(files)["hidden or system file"][0] == 9
    assert len(files.left_out) == 1


def test_empty_classes_and_parts_are_named(tmp_path: Path) -> None:
    classes(tmp_path / "train", "cat", "dog")
    for empty in ("train/bird", "val/cat", "val/dog", "test/dog"):
        (tmp_path / empty).mkdir(parents=True)
    fill(tmp_path / "test" / "cat", 1)
    files = find_image_files(tmp_path)
    assert files.class_names == ("cat", "dog")
    assert left_out(files) == {
        "empty class": (4, ("train/bird/", "val/cat/", "val/dog/", "test/dog/")),
        "empty part": (1, ("val/",)),
    }
    assert files.remarks == ("test/ has no image of dog",)


def test_images_of_a_part_that_are_not_in_classes_are_left_out(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name / "images", 2)  # Tiny ImageNet
    fill(tmp_path / "val/images", 3)
    files = find_image_files(tmp_path)
    assert (files.class_names, files.parts) == (("cat", "dog"), ("train",) * 4)
    assert {reason: count for reason, (count, _) in left_out(files).items()} == {
        "image outside of class folders": 3,
        "empty part": 1,
    }


def test_other_endings_and_loose_images_are_counted_by_their_reason(tmp_path: Path) -> None:
    classes(tmp_path)
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/c.pdf", "dog/d.txt", "README", "cat/e.mpg"):
        (tmp_path / name).write_bytes(b"x")
    fill(tmp_path, 1)
    files = find_image_files(tmp_path)
    assert files.remarks == ("HEIC: `pip install pillow-heif` reads it, or save it as JPEG",)
    assert left_out(files) == {
        "file ending in .heic": (2, ("cat/a.heic", "cat/b.HEIC")),
        "file ending in .mpg": (1, ("cat/e.mpg",)),
        "file ending in .pdf": (1, ("dog/c.pdf",)),
        "file ending in .txt": (1, ("dog/d.txt",)),
        "file without ending": (1, ("README",)),
        "image outside of class folders": (1, ("0.png",)),
    }


def test_links_are_followed_but_for_dead_ones_and_loops(tmp_path: Path) -> None:
    root = classes(tmp_path / "pets")
    fill(tmp_path / "elsewhere", 3)
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "more.png").symlink_to(root / "dog" / "0.png")
    (root / "cat" / "lost.jpg").symlink_to("/nowhere/a.jpg")
    (root / "cat" / "all").symlink_to("..")
    (root / "dog" / "self").symlink_to(".")
    (root / "dog" / "round.jpg").symlink_to("round.jpg")
    files = find_image_files(root)
    assert Counter(files.class_names[label] for label in files.labels) == {"bird": 3, "cat": 3, "dog": 2}
    assert left_out(files) == {
        "dead link": (2, ("cat/lost.jpg", "dog/round.jpg")),
        "link to a folder above it or read already": (2, ("cat/all/", "dog/self/")),
    }


def test_a_folder_with_an_images_name_is_a_folder_and_a_pipe_is_none(tmp_path: Path) -> None:
    classes(tmp_path)
    fill(tmp_path / "cat" / "album.jpg", 1)
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    files = find_image_files(tmp_path)
    assert len(files.paths) == 5
    assert left_out(files) == {"special file": (1, ("dog/pipe.png",))}


def test_train_without_class_folders_beside_other_classes_is_a_vehicle(tmp_path: Path) -> None:
    classes(tmp_path, "bus", "car", "train")
    files = find_image_files(tmp_path)
    assert files.class_names == ("bus", "car", "train")
    assert files.remarks == ("train is taken for a class, as it has no class folders",)


def test_what_lies_beside_the_parts_is_named(tmp_path: Path) -> None:
    for part in ("train", "test", "unlabelled"):
        classes(tmp_path / part)
    (tmp_path / "labels.csv").write_text("")
    fill(tmp_path / "train", 1)
    assert left_out(find_image_files(tmp_path)) == {
        "file ending in .csv": (1, ("labels.csv",)),
        "folder beside the parts": (1, ("unlabelled/",)),
        "image outside of class folders": (1, ("train/0.png",)),
    }


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ("old/cat old/dog new/cat new/dog", "new, old have the same folders in them .cat, dog.*not classes"),
        (
            "fold1/cat fold1/dog fold2/cat fold2/dog fold3/cat fold3/dog fold3/bird",
            "are not classes but parts",
        ),
        ("cat/train cat/test dog/train dog/test", "put the parts outside: test/cat"),
        ("train test", "train/ is the training part by its name, but has no class folders"),
        ("train test1", "train/ is the training part by its name, but has no class folders"),  # Kaggle's
        ("val/cat val/dog test/cat test/dog", "there is no training part beside"),
        ("cat dog test/cat test/dog", "test has the name of a part, but there is no training part"),
        ("train/cat train/dog Training/cat Training/dog test/cat", "train.* both named like the train part"),
        ("train/steam train/diesel bus car", "bus, car lie beside train/"),
        ("zip/cat zip/dog", "did you mean imagefolder:.*/zip"),
        (".", "2 images lie in it side by side: make a folder for each class, or write labels:FILE"),
        ("pics/a pics/b notes/a notes/b", r"none in notes; did you mean imagefolder:.*/pics"),
        ("train/cat train/dog val/Cat", "class 'Cat' is in .*did you mean cat"),
        ("cat", "1 class folders with images; at least 2 are needed"),
        ("zip/zip/pets/cat zip/zip/pets/dog", "did you mean imagefolder:.*/zip/zip/pets"),
        ("images/cat images/dog meta", "did you mean imagefolder:.*/images"),
        ("images annotations/trimaps", "annotations, images are kinds of files; give a folder"),
        (
            "cat/images cat/masks dog/images dog/masks",
            "if they are classes, keep one of these folders in each",
        ),
        ("cat dog all/cat all/dog", "all has a folder for each of the classes beside it.*move it away"),
    ],
)
def test_what_could_be_misread_is_refused_with_a_way_on(tmp_path: Path, folders: str, words: str) -> None:
    for folder in folders.split():
        fill(tmp_path / folder, 0 if folder.startswith(("meta", "notes")) else 2)
    with pytest.raises(DataError, match=words):
        find_image_files(tmp_path)


@pytest.mark.parametrize("inner", [("images",), ("monday", "tuesday")])
def test_classes_may_have_folders_of_one_name_or_be_many(tmp_path: Path, inner: tuple[str, ...]) -> None:
    names = [f"person{number:02}" for number in range(11)]
    for name in names:
        for folder in inner:
            fill(tmp_path / name / folder, 1)
    assert find_image_files(tmp_path).class_names == tuple(names)


def test_a_table_beside_images_without_class_folders_is_suggested(tmp_path: Path) -> None:
    for part in ("train", "test"):  # as Hugging Face's imagefolder has them
        fill(tmp_path / part)
        (tmp_path / part / "metadata.csv").write_text("file_name,label")
    for folder in (tmp_path, tmp_path / "train"):
        with pytest.raises(DataError, match=f"or write labels:{tmp_path}/train/metadata.csv"):
            find_image_files(folder)


def test_masks_and_copies_beside_their_images_are_named(tmp_path: Path) -> None:
    classes(tmp_path, "cat", "dog", count=5)
    for number in range(2):
        for name in (f"{number}_mask.png", f"{number}_mask_1.png", f"{number}.jpg"):
            Image.new("RGB", (4, 4)).save(tmp_path / "cat" / name)
    Image.new("RGB", (4, 4)).save(tmp_path / "dog" / "x_mask.png")
    what = "if they are masks or copies of them, move them away"
    assert find_image_files(tmp_path).remarks == (
        f"2 images are named like others with another ending (0.png); {what}",
        f"2 images are named like others with _mask added (0_mask.png); {what}",
        f"2 images are named like others with _mask_1 added (0_mask_1.png); {what}",
    )
