"""Images in Parquet and Arrow files, as the Hugging Face hub and the library `datasets` lay them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.support.shard_files import IMAGE, NAMES, hub_table, images, png, tar_file, write
from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_source import resolve_data
from trainables.core.data_summary import DataSummary, LeftOut
from trainables.engine.images import sources
from trainables.engine.images.data import load_data
from trainables.engine.images.data_check import check_source
from trainables.engine.images.data_sources import IMAGE_SOURCES, Shards
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.labelled_shards import read_labelled_shards
from trainables.engine.images.labelled_table import read_labelled_table


@pytest.fixture(autouse=True)
def fresh_process_cache() -> None:
    sources._load_source.cache_clear()


def read(path: Path, **options: str) -> ImageFiles:
    return read_labelled_shards(Shards(shards=path, **options))


def named(files: ImageFiles) -> list[str]:
    return [files.class_names[label] for label in files.labels]


def context(path: Path, tmp_path: Path) -> TrainingContext:
    data, problems = resolve_data(str(path), IMAGE_SOURCES, lambda key: tmp_path, must_exist=True)
    assert not problems
    return TrainingContext(data=data, data_seed=0, seed=0, cache_dir=tmp_path / "cache", resolution=4)


LAYOUTS = {
    "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet": "data/validation-0-of-1.parquet",
    "train-00-of-02-3f8e3dfd7d7e7b4f.parquet train-01-of-02-0123456789abcdef.parquet": "valid.parquet",
    "default/train/0000.parquet default/train/0001.parquet": "default/validation/0000.parquet",
    "train/data-00000-of-00002.arrow train/data-00001-of-00002.arrow": "val/data-00000-of-00001.arrow",
    "shapes-train-00000-of-00002.arrow shapes-train-00001-of-00002.arrow": "shapes-dev.arrow",
    "Training/part_9.parquet Training/part_10.parquet": "Validation/x.parquet",
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.split()[0])
def test_a_folder_as_a_hub_or_its_library_writes_it_is_read_with_its_parts(
    tmp_path: Path, layout: str
) -> None:
    first, second = layout.split()
    write(tmp_path / "hub" / first, hub_table([0, 1, 2] * 3))
    write(tmp_path / "hub" / second, hub_table([2, 1, 0]))
    write(tmp_path / "hub" / LAYOUTS[layout], hub_table([1, 2]))
    (tmp_path / "hub/README.md").write_text("---")
    assert context(tmp_path / "hub", tmp_path).data == {"shards": str(tmp_path / "hub")}
    files = read(tmp_path / "hub")
    assert files.class_names == NAMES
    assert (files.labels, files.left_out) == ((*(0, 1, 2) * 3, 2, 1, 0, 1, 2), ())
    assert files.parts == ("train",) * 12 + ("val",) * 2
    assert [files.name(row) for row in (8, 9, 13)] == [
        f"{first} row 8",
        f"{second} row 0",
        f"{LAYOUTS[layout]} row 1",
    ]


def test_rows_without_an_image_or_a_class_or_with_broken_bytes_are_left_out_and_named(tmp_path: Path) -> None:
    labels = [0, 1, 2] * 70
    made = images(labels)
    made[4] = None
    made[5]["bytes"] = None
    made[7]["bytes"] = b"\x89PNG and no more"
    table = hub_table([*labels[:10], -1, *labels[11:]])
    table = table.set_column(0, "image", pa.array(made))
    write(tmp_path / "hub/data/train-00000-of-00001.parquet", table)
    write(tmp_path / "hub/data/test-00000-of-00001.parquet", hub_table([-1] * 4))
    assert check_source(context(tmp_path / "hub", tmp_path)) == DataSummary(
        num_examples=206,
        classes={"red": 70, "green": 67, "blue": 69},
        parts={"train": 144, "val": 31, "test": 31},
        split_off=("val", "test"),
        sizes_px=((5, 4),) * 3,
        left_out=(
            LeftOut(reason="unreadable file", count=1, names=("data/train-00000-of-00001.parquet row 7",)),
            LeftOut(
                reason="row without an image",
                count=2,
                names=("data/train-00000-of-00001.parquet row 4", "data/train-00000-of-00001.parquet row 5"),
            ),
            LeftOut(
                reason="row without a class",
                count=5,
                names=(
                    "data/train-00000-of-00001.parquet row 10",
                    "data/test-00000-of-00001.parquet row 0",
                    "data/test-00000-of-00001.parquet row 1",
                ),
            ),
        ),
        notes=("images are in the column image, classes in label, named by the file's schema",),
    )
    data = load_data(context(tmp_path / "hub", tmp_path))
    assert (len(data.train), len(data.val), len(data.test), data.num_unreadable) == (144, 31, 31, 1)
    for part in (data.train, data.val, data.test):
        pixels = part.images(part.subset(None), 4)
        assert (pixels[:, :, 0, 0].max(1).indices == part.labels[part.subset(None)]).all()


def test_over_1_percent_of_broken_images_are_refused_by_their_rows(tmp_path: Path) -> None:
    table = hub_table([0, 1] * 9).set_column(0, "image", pa.array([b"GIF89a cut", *[png(0, 1)] * 17]))
    write(tmp_path / "a.parquet", table)
    with pytest.raises(DataError, match=r"1 of 18 .* as .*/a\.parquet row 0: its 10 bytes are no image"):
        check_source(context(tmp_path / "a.parquet", tmp_path))


COLUMNS: list[tuple[str, Mapping[str, Any], Sequence[str]]] = [
    ("pandas", {"img": [png(0, 0), png(1, 1)], "target": ["b", "a"], "__index_level_0__": [7, 9]}, "ba"),
    ("floats", {"image": [png(0, 0), png(1, 1), png(1, 2)], "label": [1.0, 0.0, None]}, "10"),
    ("categories", {"image": [png(0, 0), png(1, 1)], "kind": pa.array(["b", "a"]).dictionary_encode()}, "ba"),
    ("large", {"jpg": pa.array([png(0, 0), png(1, 1)], pa.large_binary()), "cls": [10, 9]}, ("10", "9")),
    ("numbers below 0", {"image": [png(0, 0), png(1, 1)], "label": [-1, 1]}, ("-1", "1")),
    ("yes and no", {"image": [png(0, 0), png(1, 1)], "label": [True, False]}, ("True", "False")),
    ("webdataset", {"jpg": [png(0, 0), png(1, 1)], "__key__": ["x", "y"], "cls": [7, 5]}, "75"),
    ("dictionary", {"x": pa.array([png(0, 0), png(1, 1)]).dictionary_encode(), "class": ["b", "a"]}, "ba"),
    ("named", {"image": [png(0, 0), png(1, 1)], "Class Name": ["b", "a"], "caption": ["x", "y"]}, "ba"),
]


@pytest.mark.parametrize(("columns", "expected"), [made[1:] for made in COLUMNS], ids=[m[0] for m in COLUMNS])
def test_columns_are_known_by_their_types_and_names(
    tmp_path: Path, columns: Mapping[str, Any], expected: Sequence[str]
) -> None:
    order = int if all(map(str.isdecimal, expected)) else str
    files = read(write(tmp_path / "a.parquet", pa.table(dict(columns))))
    assert named(files) == list(expected)
    assert files.class_names == tuple(sorted(expected, key=order))


def test_classes_are_matched_by_name_where_files_number_them_differently(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", hub_table([0, 1, 2], names=["red", "blue", "green", "none"]))
    write(tmp_path / "train-1.parquet", hub_table([0, 1], names=NAMES))
    write(tmp_path / "test.parquet", pa.table({"image": images([1]), "label": ["green"]}))
    files = read(tmp_path)
    assert named(files) == ["red", "blue", "green", "red", "green", "green"]
    assert files.class_names == ("red", "blue", "green")
    assert files.left_out == (LeftOut(reason="class without an image", count=1, names=("none",)),)


def test_a_column_of_parts_splits_a_single_file(tmp_path: Path) -> None:
    table = hub_table([0, 1, 0, 1], split=["train", "train", "dev", "test"])
    assert read(write(tmp_path / "all.parquet", table)).parts == ("train", "train", "val", "test")


def test_an_option_chooses_among_several_columns(tmp_path: Path) -> None:
    table = hub_table([0, 1, 2], classes="fine_label", coarse_label=["warm", "cold", "cold"])
    table = table.append_column("mask", pa.array(images([0, 0, 0])))
    path = write(tmp_path / "train.parquet", table)
    assert named(read(path)) == list(NAMES)
    assert named(read(path, label="coarse_label")) == ["warm", "cold", "cold"]
    with pytest.raises(
        DataError, match=r"no column coarse_labels with a class .*; did you mean coarse_label\?"
    ):
        read(path, label="coarse_labels")


REFUSED: dict[str, tuple[Mapping[str, Any], str]] = {
    "several classes": (
        {"image": images([0, 1]), "fine": [0, 1], "coarse": [0, 1]},
        r"has fine and coarse, each of which may be the label; write \{shards: .*, label: fine\}",
    ),
    "several images": (
        {"left": images([0, 1]), "right": images([0, 1]), "label": [0, 1]},
        r"has left and right, each of which may be the image; write \{shards: .*, image: left\}",
    ),
    "lists": (
        {"image": images([0, 1]), "labels": [[0, 1], [1]]},
        r"has no column with a class for each image.*labels \(list<.*; an image can have only one class",
    ),
    "boxes": (
        {
            "image": images([0, 1]),
            "image_id": [1, 2],
            "objects": [{"bbox": [[0, 0, 1, 1]], "category": [0]}] * 2,
        },
        r"boxes are read by detection, from COCO's, Pascal VOC's or YOLO's files",
    ),
    "paths alone": (
        {"image": pa.array([{"path": "a.png"}] * 2, IMAGE), "label": [0, 1]},
        r"has no row with an image and a class: left out, row without an image: 2 \(a\.",
    ),
    "ratings": (
        {"image": images([0, 1]), "label": [0.5, 1.0]},
        r"class that is no word, and no number that the schema has a name for: a\.parquet row 0 \(0\.5\)",
    ),
    "one class": (
        {"image": images([0, 1]), "label": [1, 1]},
        r"1 classes have images to train on; at least 2",
    ),
}


@pytest.mark.parametrize(("columns", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_classified_is_refused_with_the_reason(
    tmp_path: Path, columns: Mapping[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read(write(tmp_path / "a.parquet", pa.table(dict(columns))))


def test_an_image_that_a_row_only_names_is_read_from_its_file(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png(number % 2, number))
    named_only = [
        {"bytes": None, "path": f"{tmp_path if number else '/home/me'}/{number}.png"} for number in range(3)
    ]
    rows = [*named_only, {"bytes": None, "path": "gone.png"}, {"bytes": png(1, 9), "path": "9.png"}]
    table = pa.table({"image": pa.array(rows, IMAGE), "label": [0, 1, 0, 1, 1]})
    files = read(write(tmp_path / "a.parquet", table))
    assert [files.name(row) for row in range(4)] == ["0.png", "1.png", "2.png", "a.parquet row 4"]
    assert [image.read_bytes() for image in files.paths] == [png(0, 0), png(1, 1), png(0, 2), png(1, 9)]
    assert files.left_out[0] == LeftOut(reason="row without an image", count=1, names=("a.parquet row 3",))


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", hub_table([0, 1]))
    for columns, problem in (
        (
            {"img": images([0, 1]), "label": [0, 1]},
            r"test\.parquet has no bytes in a column image\.b",
        ),
        (
            {"image": images([0, 1]), "label": [[0], [1]]},
            r"test\.parquet has list<.* in its column label,",
        ),
    ):
        write(tmp_path / "test.parquet", pa.table(columns))
        with pytest.raises(DataError, match=problem):
            read(tmp_path)


def test_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", hub_table([0, 1, 3]))
    with pytest.raises(DataError, match=r"that the schema has a name for: a\.parquet row 2 \(3\)"):
        read(tmp_path / "a.parquet")


FOLDERS: dict[str, tuple[str, str]] = {
    "variants": (
        "cropped/train-00000-of-00001.parquet full/train-00000-of-00001.parquet",
        r"has several data sets, in cropped and in full; give one of them: shards:.*/full",
    ),
    "two": (
        "dev.parquet train.parquet validation.parquet",
        "dev and validation are all named like the val part",
    ),
    "no train": ("validation.parquet test.parquet", "has test and validation, but no training part"),
    "none": ("notes.md", r"has no files ending in \.parquet or \.arrow or \.tar"),
}


@pytest.mark.parametrize(("names", "problem"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_whose_parts_are_unclear_is_refused(tmp_path: Path, names: str, problem: str) -> None:
    for name in names.split():
        write(tmp_path / name, hub_table([0, 1]))
    with pytest.raises(DataError, match=problem):
        read(tmp_path)


def test_other_splits_what_was_derived_and_missing_files_are_named(tmp_path: Path) -> None:
    for name in ("train-00001-of-00003", "train_small-00000-of-00001", "extra-00000-of-00001"):
        write(tmp_path / f"data/{name}.parquet", hub_table([0, 1]))
    write(tmp_path / "data/cache-0123456789abcdef.arrow", hub_table([0, 1]))
    files = read(tmp_path)
    assert len(files.labels) == 2
    assert {left.reason: left.names for left in files.left_out} == {
        "class without an image": ("blue",),
        "file that `datasets` derived": ("data/cache-0123456789abcdef.arrow",),
        "file of no part": ("data/extra-00000-of-00001.parquet",),
        "file of train_small, as train is the train part": ("data/train_small-00000-of-00001.parquet",),
    }
    assert files.remarks[1] == (
        "file that is not here, though others are numbered with it (2): "
        "train-00000-of-00003, train-00002-of-00003"
    )


def test_a_table_of_paths_is_read_like_a_csv(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    for number in range(4):
        (tmp_path / f"pics/{number}.png").write_bytes(png(number % 3, number))
    table = pa.table({"image": [f"{number}.png" for number in range(4)], "label": pa.array([0, 1, 2, -1])})
    features = {"label": {"names": list(NAMES), "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = write(tmp_path / "labels.parquet", table)
    for files in (read(path), read_labelled_table(path, tmp_path / "pics")):
        assert named(files) == list(NAMES)
        assert files.left_out[0] == LeftOut(reason="row without a class", count=1, names=("row 3 (3.png)",))


def test_a_folder_of_classes_with_a_table_beside_them_stays_one(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "a.png").write_bytes(png(0, 0))
    write(tmp_path / "photos/embeddings.parquet", pa.table({"x": [0.5]}))
    assert context(tmp_path / "photos", tmp_path).data == {"imagefolder": str(tmp_path / "photos")}
    tar_file(tmp_path / "photos/red/red.tar", {"a.png": png(0, 0)})
    assert context(tmp_path / "photos/red", tmp_path).data == {"imagefolder": str(tmp_path / "photos/red")}


def test_a_folder_given_as_one_of_classes_is_named_for_what_it_is(tmp_path: Path) -> None:
    write(tmp_path / "data/train.parquet", hub_table([0, 1]))
    with pytest.raises(
        DataError, match=rf"has images in Parquet, Arrow or tar files; write shards:{tmp_path}"
    ):
        check_source(TrainingContext(data=f"imagefolder:{tmp_path}", data_seed=0, seed=0, cache_dir=tmp_path))
