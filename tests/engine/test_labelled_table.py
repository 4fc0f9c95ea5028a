"""Tables of images and their classes, as competitions and labelling tools hand them out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from trainables.core.contract import DataError, TrainingContext
from trainables.engine.images.data import load_data
from trainables.engine.images.data_check import check_source
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.labelled_table import read_labelled_table


def made(root: Path, *folders: str, number: int = 6) -> None:
    """Images 0.png, 1.png and so on in each folder."""
    for place, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            Image.new("RGB", (4, 4), (index, place, 0)).save(root / folder / f"{index}.png")


def read(root: Path, text: str, name: str = "labels.csv", images: str = "") -> ImageFiles:
    (root / name).write_text(text)
    return read_labelled_table(root / name, root / images if images else None)


def rows(form: str, classes: str = "cat dog", number: int = 6) -> str:
    names = classes.split()
    return "".join(f"{form.format(index, names[index % len(names)])}\n" for index in range(number))


@pytest.mark.parametrize(
    ("header", "form", "folder"),
    [
        ("image,label", "{}.png,{}", "."),
        ("id,breed", "{},{}", "train"),  # Kaggle's dog breeds
        ("image_id;Label", "{}.png;{}", "train_images"),
        ("class,filepaths,width", "{1},pics/{0}.png,4", "pics"),
        ("File Name\tClass Name", "C:\\photos\\{}.png\t{}", "pics/deeper"),
    ],
)
def test_images_are_found_by_what_the_table_says_of_them(
    tmp_path: Path, header: str, form: str, folder: str
) -> None:
    made(tmp_path, folder)
    files = read(tmp_path, f"{header}\n{rows(form)}")
    assert [path.name for path in files.paths] == [f"{index}.png" for index in range(6)]
    assert (files.class_names, files.labels, set(files.parts)) == (("cat", "dog"), (0, 1) * 3, {"train"})
    assert not files.left_out


@pytest.mark.parametrize("form", ["{}.png,{}", "{1};{0}.png", "{}.png {}"])
def test_two_columns_need_no_header(tmp_path: Path, form: str) -> None:
    made(tmp_path, ".")
    files = read(tmp_path, rows(form))
    assert (files.class_names, files.labels, len(files.paths)) == (("cat", "dog"), (0, 1) * 3, 6)


def test_parts_are_the_tables_and_numbers_are_in_their_order(tmp_path: Path) -> None:
    made(tmp_path, ".")
    parts = ("Train", "train", "Validation", "valid", "test", "")
    lines = [f"{index}.png,{(2, 10)[index % 2]},{part}" for index, part in enumerate(parts)]
    files = read(tmp_path, "\n".join(["image,label,data set", *lines]))
    assert files.class_names == ("2", "10")
    assert Counter(files.parts) == {"train": 3, "val": 2, "test": 1}


def test_a_column_for_each_class_has_a_1_for_one_of_them(tmp_path: Path) -> None:
    made(tmp_path, "images")
    ones = "".join(f"{index},{index % 2}.0,{1 - index % 2}.0\n" for index in range(6))
    files = read(tmp_path, f"image,MEL,NV\n{ones}")
    assert (files.class_names, files.labels) == (("MEL", "NV"), (1, 0) * 3)
    assert files.remarks == (f"images are in {tmp_path}/images, classes in 2 columns with a 1 each",)


def test_what_is_not_used_is_counted(tmp_path: Path) -> None:
    made(tmp_path, "images", number=8)
    text = f"image,label\n{rows('{}.png,{}')}6.png,\n0.png,cat\n"
    files = read(tmp_path, text)
    assert {str(left) for left in files.left_out} == {
        "left out, row without a class: 1 (line 8 (6.png))",
        "left out, image that is listed twice: 1 (line 9 (0.png))",
        "left out, image that the table does not name: 2 (6.png, 7.png)",
    }


def test_of_two_folders_the_one_of_the_tables_part_is_taken(tmp_path: Path) -> None:
    made(tmp_path, "test_images", "train_images")
    files = read(tmp_path, f"image,label\n{rows('{}.png,{}')}", "train.csv")
    assert {path.parent.name for path in files.paths} == {"train_images"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"image,label\n{rows('{}.png,{}')}9.png,cat\n", r"image that is not in .*: line 8 \(9.png\)"),
        (f"image,label\n{rows('{}.png,{}')}0.png,dog\n", r"two classes or in two parts: line 8 \(0.png\)"),
        (f"image,label,split\n{rows('{}.png,{},fold1')}", r"part that is none of train.*: line 2 \(fold1\)"),
        (f"image,label\n{rows('{}.png,cat')}", "1 classes have images to train on; at least 2 are needed"),
        (f"image,label,split\n{rows('{}.png,{},train')}5.png,cow,val\n", "two classes or in two parts"),
        (rows("{}.png,{},a"), "has no header; let its first line be image,label"),
        (f"photo,kind\n{rows('{}.png,{}')}", "has the columns photo, kind; it needs one of images"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    made(tmp_path, ".")
    with pytest.raises(DataError, match=problem):
        read(tmp_path, text)


def test_images_of_one_name_in_two_folders_are_no_guess(tmp_path: Path) -> None:
    made(tmp_path, "new", "old")
    text = f"image,label\n{rows('{}.png,{}')}"
    with pytest.raises(DataError, match=r"its images are in new and in old equally; say which with \{labels"):
        read(tmp_path, text)
    assert {path.parent.name for path in read(tmp_path, text, images="old").paths} == {"old"}


def test_a_table_is_trained_on_as_a_folder_is(tmp_path: Path) -> None:
    made(tmp_path, "images", number=40)
    (tmp_path / "labels.csv").write_text(f"image,label\n{rows('{}.png,{}', number=40)}")
    context = TrainingContext(
        data={"labels": str(tmp_path / "labels.csv")},
        data_seed=0,
        seed=0,
        cache_dir=tmp_path / "cache",
        resolution=4,
    )
    splits = load_data(context)
    for part in (splits.train, splits.val, splits.test):
        for number, label in enumerate(part.labels.tolist()):
            assert int(Path(part.name(number)).stem) % 2 == label
    found = check_source(context)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (28, 6, 6)
    assert next(iter(found)).startswith("40 images")
