"""Tables of images and their classes, as competitions and labelling tools hand them out."""

from __future__ import annotations

import json
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
        ("id,image,choice,annotator", "1,/data/upload/3/{}.png,{},2", "."),  # Label Studio
        ("Width,ClassId,Path", "4,{1},pics/{0}.png", "pics"),  # GTSRB
        ("class,filepaths,width", "{1},pics/{0}.png,4", "pics"),
        ("File Name\tClass Name", "C:\\photos\\{}.png\t{}", "pics/deeper"),
        ("photo,kind", "{}.png,{}", "train"),
        ("photo,kind,label", "{}.png,train,{}", "."),
        ("photo,label,score", "{}.PNG,{},3", "."),
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


@pytest.mark.parametrize("column", ["data set", "Usage"])
def test_parts_are_the_tables_and_numbers_are_in_their_order(tmp_path: Path, column: str) -> None:
    made(tmp_path, ".")
    parts = ("Train", "train", "Validation", "valid", "test", "")
    lines = [f"{index}.png,{(2, 10)[index % 2]},{part}" for index, part in enumerate(parts)]
    files = read(tmp_path, "\n".join([f"image,label,{column}", *lines]))
    assert files.class_names == ("2", "10")
    assert Counter(files.parts) == {"train": 3, "val": 2, "test": 1}


def test_a_column_may_mark_the_images_of_one_part(tmp_path: Path) -> None:
    made(tmp_path, ".")
    lines = [f"{index}.png,{['cat', 'dog'][index % 2]},{index > 3}" for index in range(6)]
    files = read(tmp_path, "\n".join(["fname,labels,is_valid", *lines]))  # as fast.ai has it
    assert files.parts == (*("train",) * 4, *("val",) * 2)
    assert files.remarks == (
        f"images are in {tmp_path}, classes in labels; those marked is_valid are the val part",
    )
    alone = read(tmp_path, "\n".join(["fname,is_valid", *(f"{index}.png,{index % 2}" for index in range(6))]))
    assert (alone.class_names, set(alone.parts)) == (("0", "1"), {"train"})
    usable = [line.replace("False", "True") for line in lines]
    assert set(read(tmp_path, "\n".join(["fname,labels,is_valid", *usable])).parts) == {"train"}


def test_what_pandas_writes_for_no_class_is_none_and_numbers_with_fractions_are_named(tmp_path: Path) -> None:
    made(tmp_path, ".")
    files = read(tmp_path, f"image,dose\n{rows('{}.png,{}', '0.5 1.0 nan')}")
    assert (files.class_names, files.labels) == (("0.5", "1.0"), (0, 1, 0, 1))
    assert str(files.left_out[0]) == "left out, row without a class: 2 (line 4 (2.png), line 7 (5.png))"
    assert files.remarks[1] == (
        "classes are numbers with fractions, each a class of its own and none near another"
    )


def test_an_id_that_names_no_image_gives_way_to_the_column_that_does(tmp_path: Path) -> None:
    made(tmp_path, ".")
    files = read(
        tmp_path, "id,img_path,label\n" + "".join(f"{n + 90},pics/{n}.png,{n % 2}\n" for n in range(6))
    )
    assert [path.name for path in files.paths] == [f"{n}.png" for n in range(6)]
    assert files.remarks[1] == "id names no image here, img_path does"
    masks = "id,mask,label\n" + "".join(f"{n},{5 - n}.png,{n % 2}\n" for n in range(6))
    assert [path.name for path in read(tmp_path, masks).paths] == [f"{n}.png" for n in range(6)]


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
        (f"image,label,split\n{rows('{}.png,{},fold1')}", r"split that is none of train.*: line 2 \(fold1\)"),
        (f"image,label\n{rows('{}.png,cat')}", "1 classes have images to train on; at least 2 are needed"),
        (f"image,label,split\n{rows('{}.png,{},train')}5.png,cow,val\n", "two classes or in two parts"),
        (rows("{}.png,{},a"), "has no header; let its first line be image,label"),
        (f"photo,kind,x\n{rows('{},{},1')}", "has the columns photo, kind, x; it needs one of images"),
        pytest.param(
            f"label,{','.join(f'pixel{n}' for n in range(784))}\n",
            "pixel7, pixel8 and 775 more; it needs one of i",
            id="digits",
        ),
        (
            "image,cat,dog\n0.png,1,0\n1.png,1,1\n",
            r"image with several classes.*: line 3 \(1.png: cat, dog\)",
        ),
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


def test_images_of_a_table_may_be_shared_by_folders(tmp_path: Path) -> None:
    made(tmp_path, "part_1", "part_2/images", number=12)
    for index in range(12):
        (tmp_path / ("part_2/images" if index < 8 else "part_1") / f"{index}.png").unlink()
    files = read(tmp_path, f"image,label\n{rows('{},{}', number=12)}")
    assert [path.parent.name for path in files.paths] == ["part_1"] * 8 + ["images"] * 4


def test_names_of_another_machine_keep_their_folders_apart(tmp_path: Path) -> None:
    made(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog", number=3)
    cells = [
        f"{part}/{name}/{n}.png,{name},{part}"
        for part in ("train", "val")
        for name in ("cat", "dog")
        for n in range(3)
    ]
    files = read(tmp_path, "\n".join(["path,label,split", *(f"/kaggle/input/{cell}" for cell in cells)]))
    assert [files.class_names[label] for label in files.labels] == [path.parent.name for path in files.paths]
    assert (
        files.parts == tuple(path.parent.parent.name for path in files.paths) == ("train",) * 6 + ("val",) * 6
    )


def test_an_image_that_is_one_of_several_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "a", "b")
    with pytest.raises(
        DataError, match=r"image that may be one of several \(6\): line 2 \(0: a/0.png, b/0.png\)"
    ):
        read(tmp_path, f"image,label\n{rows('{},{}')}", images=".")


def test_classes_that_may_be_one_or_several_are_named(tmp_path: Path) -> None:
    made(tmp_path, ".")
    files = read(
        tmp_path,
        f"image,label\n{rows('{}.png,{}', 'cat dog cat|dog Cat dog,Cat black-cat')}".replace(
            "dog,Cat", '"dog, Cat"'
        ),
    )
    assert files.remarks[1:] == (
        "class names that differ only in case (2): Cat, cat",
        "classes that read like several others, each taken for one of its own: an image has one class (2): "
        "cat|dog, dog, Cat",
    )


def test_a_table_may_be_json(tmp_path: Path) -> None:
    made(tmp_path, "images")
    lines = [json.dumps({"file_name": f"{index}.png", "label": index % 2}) for index in range(6)]
    assert read(tmp_path, "\n".join(lines), "metadata.jsonl").class_names == ("0", "1")


def test_numbers_that_were_measured_are_no_classes(tmp_path: Path) -> None:
    made(tmp_path, ".", number=20)
    (tmp_path / "labels.csv").write_text(
        "".join(["image,score\n", *(f"{n}.png,{n / 7:.3f}\n" for n in range(20))])
    )
    context = TrainingContext(
        data={"labels": str(tmp_path / "labels.csv")},
        data_seed=0,
        seed=0,
        cache_dir=tmp_path / "cache",
        resolution=4,
    )
    for call in (check_source, load_data):
        with pytest.raises(
            DataError, match="no class of the 3 validation images is among those of the 14 to train on"
        ):
            call(context)
