"""Pascal VOC's XML as people have it: lists in any spelling, files that name others, layouts of tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.box_annotations import write_image
from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_summary import DataSummary
from trainables.detection.sources import check_detection_data, load_detection_data

OBJECT = (
    "<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
    "<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
)
SIZE = "<size><width>100</width><height>50</height><depth>3</depth></size>"
STEMS = [f"{number:06d}" for number in range(8)]


def xml(
    filename: str, *, size: str = SIZE, objects: str = OBJECT.format(name="dog", box=(5, 5, 45, 25))
) -> str:
    return f"<annotation><filename>{filename}</filename>{size}{objects}</annotation>"


def folder_of(
    root: Path,
    lists: Mapping[str, str] | None = None,
    *,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    sets: str = "ImageSets/Main",
) -> str:
    """Eight images, 000000 to 000007."""
    (root / annotations).mkdir(parents=True, exist_ok=True)
    for number, stem in enumerate(STEMS):
        write_image(root / images / f"{stem}.png", number)
        (root / annotations / f"{stem}.xml").write_text(xml(f"{stem}.png"))
    for name, text in (lists or {}).items():
        (root / sets).mkdir(parents=True, exist_ok=True)
        (root / sets / f"{name}.txt").write_bytes(text.encode("utf-8"))
    return f"voc:{root}"


def context(data: str, folder: Path) -> TrainingContext:
    return TrainingContext(
        data=data, data_seed=0, seed=0, cache_dir=folder / "cache", resolution=32, num_workers=1
    )


def found(data: str, folder: Path) -> DataSummary:
    """What preflight finds, which is what a trial has."""
    summary = check_detection_data(context(data, folder))
    splits = load_detection_data(context(data, folder)).splits
    assert summary.parts == {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}
    return summary


def error(data: str, folder: Path) -> str:
    with pytest.raises(DataError) as raised:
        check_detection_data(context(data, folder))
    with pytest.raises(DataError) as in_trial:
        load_detection_data(context(data, folder))
    assert str(in_trial.value) == str(raised.value)
    return str(raised.value)


def listing(*numbers: int, form: str = "{}\n") -> str:
    return "".join(form.format(STEMS[number]) for number in numbers)


@pytest.mark.parametrize(
    ("lists", "parts", "split_off"),
    [
        ({"trainval": listing(*range(6)), "test": listing(6, 7)}, (5, 1, 2), ("val",)),
        ({"trainval": listing(*range(8)), "train": listing(*range(6))}, (5, 2, 1), ("test",)),
        ({"trainval": listing(*range(8)), "val": listing(6, 7)}, (5, 2, 1), ("test",)),
        (
            {"train": listing(*range(6)), "val": listing(6, 7), "trainval": listing(*range(8))},
            (5, 2, 1),
            ("test",),
        ),
        (
            {"Training": listing(*range(4)), "Validation": listing(4, 5), "Testing": listing(6, 7)},
            (4, 2, 2),
            (),
        ),
        ({"train_set": listing(*range(4)), "dev": listing(4, 5), "test_set": listing(6, 7)}, (4, 2, 2), ()),
    ],
)
def test_lists_have_any_usual_name(
    tmp_path: Path, lists: dict[str, str], parts: tuple[int, int, int], split_off: tuple[str, ...]
) -> None:
    summary = found(folder_of(tmp_path / "voc", lists), tmp_path)
    assert tuple(summary.parts.values()) == parts
    assert summary.split_off == split_off


@pytest.mark.parametrize(
    "form",
    [
        "{}.png\n",
        "{}.jpg\r\n",
        "{}.xml\n",
        "JPEGImages/{}.png\n",
        "data\\obj\\{}.JPG\r\n",
        "{}  1\n",
        "{} -1\r\n",
        "  {}\n\n",
    ],
)
def test_names_in_lists_have_endings_folders_columns_and_windows_line_ends(tmp_path: Path, form: str) -> None:
    lists = {
        "train": listing(*range(4), form=form),
        "val": listing(4, 5, form=form),
        "test": listing(6, 7, form=form),
    }
    assert tuple(found(folder_of(tmp_path / "voc", lists), tmp_path).parts.values()) == (4, 2, 2)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    data = folder_of(tmp_path / "voc", {"train": listing(*range(6)), "val": listing(6, 7)})
    path = tmp_path / "voc/ImageSets/Main/train.txt"
    path.write_bytes(path.read_text().encode(encoding))
    assert found(data, tmp_path).parts["val"] == 2


def test_names_with_spaces_dots_and_a_number_behind_them_are_names(tmp_path: Path) -> None:
    root = tmp_path / "voc"
    data = folder_of(root, {"train": listing(*range(4)) + "my photo 1\nimg.v1\n", "val": listing(6, 7)})
    for stem in ("my photo 1", "img.v1"):
        write_image(root / "JPEGImages" / f"{stem}.png")
        (root / "Annotations" / f"{stem}.xml").write_text(xml(f"{stem}.png"))
    summary = found(data, tmp_path)
    assert summary.parts["train"] + summary.parts["test"] == 6


def test_lists_of_classes_count_where_there_are_no_others(tmp_path: Path) -> None:
    lists = {
        "dog_train": "000000  1\n000001 -1\n000002  1\n000003  0\n",
        "cat_train": "000000 -1\n000001  1\n000002 -1\n000003 -1\n",
        "dog_val": "000004  1\n000005 -1\n",
        "dog_trainval": listing(*range(6), form="{} 1\n"),
        "dog_test": "000006  1\n000007 -1\n",
    }
    assert tuple(found(folder_of(tmp_path / "voc", lists), tmp_path).parts.values()) == (4, 2, 2)
    more = {"train": listing(0, 1, 2, 3, 4), "val": listing(5)}
    assert found(folder_of(tmp_path / "both", {**lists, **more}), tmp_path).parts["val"] == 1


def test_the_lists_of_a_class_named_train_are_no_parts(tmp_path: Path) -> None:
    """Pascal VOC has one: train_val.txt says in which images of val a train is."""
    lists = {
        "train": listing(*range(4)),
        "val": listing(4, 5),
        "test": listing(6, 7),
        "trainval": listing(*range(6)),
        "train_train": listing(*range(4), form="{} -1\n"),
        "train_val": listing(4, 5, form="{} -1\n"),
        "train_trainval": listing(*range(6), form="{} -1\n"),
    }
    assert tuple(found(folder_of(tmp_path / "all", lists), tmp_path).parts.values()) == (4, 2, 2)
    of_classes = {name: text for name, text in lists.items() if name.startswith("train_")}
    summary = found(folder_of(tmp_path / "class", of_classes), tmp_path)
    assert (summary.parts["val"], summary.parts["train"] + summary.parts["test"]) == (2, 4)


def test_a_name_that_a_list_has_twice_is_read_once_and_reported(tmp_path: Path) -> None:
    lists = {"train": listing(*range(6)) + "000003.jpg\n000004\n", "val": listing(6, 7)}
    summary = found(folder_of(tmp_path / "voc", lists), tmp_path)
    assert "left out, name that a list has twice: 2 (train.txt 000003, train.txt 000004)" in list(summary)
    assert summary.parts["train"] + summary.parts["test"] == 6


def test_lists_may_lie_in_imagesets_itself_and_in_any_case(tmp_path: Path) -> None:
    lists = {"train": listing(*range(6)), "val": listing(6, 7)}
    for sets in ("ImageSets", "imagesets/main"):
        root = tmp_path / sets.replace("/", "-")
        assert found(folder_of(root, lists, sets=sets), tmp_path).parts["val"] == 2


def test_lists_that_name_no_part_are_reported_and_the_program_splits(tmp_path: Path) -> None:
    summary = found(folder_of(tmp_path / "voc", {"default": listing(*range(8))}), tmp_path)
    assert summary.split_off == ("val", "test")
    assert "left out, list that names no part: 1 (default.txt)" in list(summary)


def test_names_that_do_not_exist_are_named_with_their_list(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc", {"train": "img_a\nimg_b\n" + listing(0), "val": "img_c\n"})
    assert error(data, tmp_path) == (
        f"{data} has 3 problems: name in a list without an XML file of that name (3): train.txt img_a, "
        "train.txt img_b, val.txt img_c"
    )


def test_a_test_list_of_images_without_annotations_is_left_out(tmp_path: Path) -> None:
    summary = found(folder_of(tmp_path / "voc", {"trainval": listing(*range(8)), "test": "a\nb\n"}), tmp_path)
    assert summary.split_off == ("val", "test")
    assert (
        "test.txt lists 2 images without XML files; they are left out, and a test part is split off"
        in list(summary)
    )


def test_lists_without_training_images_are_refused(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc", {"test": listing(*range(8))})
    assert "has no list of training images, such as train.txt; it has test.txt" in error(data, tmp_path)


def test_files_in_no_list_and_images_without_files_are_counted(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc", {"train": listing(*range(5)), "val": listing(5)})
    write_image(tmp_path / "voc/JPEGImages/new.png")
    summary = found(data, tmp_path)
    assert [(one.reason, one.count) for one in summary.left_out] == [
        ("XML file that is in no list", 2),
        ("image without annotations", 3),
    ]


def test_an_image_in_two_lists_is_named(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc", {"train": listing(*range(6)), "val": listing(5, 6, 7)})
    same = "000005.png (train) = 000005.png (val)"
    notes = list(found(data, tmp_path))
    assert f"images in two parts: 1 ({same}); scores on them validate nothing" in notes


@pytest.mark.parametrize(
    "given", ["IMG_0042.JPG", "000003", "000003.jpg", "C:\\old\\x.png", "", "/home/pi/000003.png"]
)
def test_a_filename_that_leads_nowhere_gives_way_to_the_files_own_name(tmp_path: Path, given: str) -> None:
    data = folder_of(tmp_path / "voc")
    (tmp_path / "voc/Annotations/000003.xml").write_text(xml(given))
    assert found(data, tmp_path).num_examples == 8


@pytest.mark.parametrize("given", ["photo.png", "photo", "C:\\old\\photo.png", "photo.jpg"])
def test_a_file_of_another_name_than_its_image_has_it_by_filename(tmp_path: Path, given: str) -> None:
    data = folder_of(tmp_path / "voc")
    (tmp_path / "voc/Annotations/000003.xml").rename(tmp_path / "voc/Annotations/labels.xml")
    (tmp_path / "voc/JPEGImages/000003.png").rename(tmp_path / "voc/JPEGImages/photo.png")
    (tmp_path / "voc/Annotations/labels.xml").write_text(xml(given))
    loaded = load_detection_data(context(data, tmp_path))
    assert "photo.png" in {path.name for path in loaded.annotations.paths}


def test_a_filename_of_another_image_is_reported(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc")
    (tmp_path / "voc/Annotations/000003.xml").write_text(xml("000004.png"))
    what = "XML files whose <filename> is another image; the one of the file's own name is taken"
    assert f"{what}: 000003.xml (000004.png)" in list(found(data, tmp_path))


def test_two_files_for_one_image_are_refused(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc")
    (tmp_path / "voc/Annotations/copy.xml").write_text(xml("000004.png"))
    text = error(data, tmp_path)
    assert "image that is listed more than once: 000004.xml and copy.xml (000004.png)" in text


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size><width>0</width><height>0</height></size>",
        "<size><width></width></size>",
        "<size><width>nan</width><height>50</height></size>",
        "<size><width>unknown</width><height>50</height></size>",
    ],
)
def test_a_size_that_is_not_recorded_is_the_files(tmp_path: Path, size: str) -> None:
    data = folder_of(tmp_path / "voc")
    (tmp_path / "voc/Annotations/000003.xml").write_text(xml("000003.png", size=size))
    summary = found(data, tmp_path)
    assert summary.sizes_px == ((100, 50),) * 3
    assert "images without a recorded size; their files' counts: 000003.xml" in list(summary)


def test_boxes_may_be_floats_and_names_have_spaces_around_them(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc")
    text = OBJECT.format(name=" dog\n", box=("5.25", " 5.5 ", "4.5e1", "25.75"))
    (tmp_path / "voc/Annotations/000000.xml").write_text(xml("000000.png", objects=text))
    loaded = load_detection_data(context(data, tmp_path))
    assert loaded.annotations.class_names == ("dog",)
    assert loaded.annotations.objects[0].boxes_px.tolist() == [[5.25, 5.5, 45, 25.75]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("<annotation>", "XML file that cannot be read: 000003.xml (no element found"),
        ("", "XML file that cannot be read: 000003.xml (no element found"),
        (
            "<annotations><image/></annotations>",
            "whose root is not <annotation>, so not Pascal VOC's: 000003.xml",
        ),
        (
            xml("000003.png", objects=OBJECT.format(name="", box=(1, 1, 2, 2))),
            "object without a name: 000003.xml object 1",
        ),
        (
            xml("000003.png", objects="<object><name>dog</name></object>"),
            "object without a bndbox: 000003.xml object 1 (dog)",
        ),
        (
            xml("000003.png", objects=OBJECT.format(name="dog", box=(1, "nan", 3, 4))),
            "bndbox that is not four finite numbers: 000003.xml object 1 (1, nan, 3, 4)",
        ),
        (
            xml("000003.png", objects=OBJECT.format(name="dog", box=(1, "1e999", 3, "x"))),
            "bndbox that is not four finite numbers: 000003.xml object 1 (1, 1e999, 3, x)",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, content: str, problem: str) -> None:
    data = folder_of(tmp_path / "voc")
    (tmp_path / "voc/Annotations/000003.xml").write_text(content)
    text = error(data, tmp_path)
    assert text.startswith(f"{data} has a problem: ")
    assert problem in text


def test_files_in_utf_16_and_with_a_byte_order_mark_are_read_and_those_of_a_mac_are_not(
    tmp_path: Path,
) -> None:
    data = folder_of(tmp_path / "voc")
    for stem, encoding in (("000000", "utf-16"), ("000001", "utf-8-sig")):
        (tmp_path / f"voc/Annotations/{stem}.xml").write_bytes(xml(f"{stem}.png").encode(encoding))
    (tmp_path / "voc/Annotations/._000000.xml").write_bytes(b"\0\5")
    assert found(data, tmp_path).num_examples == 8


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("{}", "{}"),  # Roboflow
        ("{}/Annotations", "{}/JPEGImages"),
        ("{}/annotations", "{}/images"),
        ("Annotations/{}", "JPEGImages/{}"),
        ("labels/{}", "data/{}"),  # FiftyOne
    ],
)
def test_parts_may_be_folders(tmp_path: Path, annotations: str, images: str) -> None:
    for name in ("train", "valid"):
        folder_of(tmp_path / "voc", annotations=annotations.format(name), images=images.format(name))
    summary = found(f"voc:{tmp_path / 'voc'}", tmp_path)
    assert summary.parts == {"train": 7, "val": 8, "test": 1}


def test_images_may_lie_beside_the_files(tmp_path: Path) -> None:
    assert found(folder_of(tmp_path / "voc", annotations=".", images="."), tmp_path).num_examples == 8


def test_a_folder_above_or_a_misspelt_one_says_where_to_look(tmp_path: Path) -> None:
    folder_of(tmp_path / "VOCdevkit/VOC2007")
    assert f"; voc:{tmp_path}/VOCdevkit/VOC2007 has some" in error(f"voc:{tmp_path}/VOCdevkit", tmp_path)
    assert f"did you mean {tmp_path}/VOCdevkit?" in error(f"voc:{tmp_path}/VOCdevki", tmp_path)


def test_accents_may_be_written_in_two_ways(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "voc", {"val": listing(5, 6, 7)})
    (tmp_path / "voc/Annotations/000000.xml").rename(tmp_path / "voc/Annotations/caf\u00e9.xml")
    (tmp_path / "voc/JPEGImages/000000.png").rename(tmp_path / "voc/JPEGImages/cafe\u0301.png")
    (tmp_path / "voc/ImageSets/Main/train.txt").write_text(f"cafe\u0301\n{listing(1, 2, 3, 4)}")
    assert found(data, tmp_path).num_examples == 8
