"""Reading Parquet, Arrow and tar files: few rows at a time, in any order, and none that is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.shard_files import hub_table, png, tar_file, write
from trainables.core.contract import DataError
from trainables.engine.images.data_sources import Shards
from trainables.engine.images.files import ImageFiles
from trainables.engine.images.labelled_shards import read_labelled_shards
from trainables.engine.shards import ParquetShard, ReadWindow


def read(path: Path) -> ImageFiles:
    return read_labelled_shards(Shards(shards=path))


@pytest.mark.parametrize(
    ("name", "keep", "problem"),
    [
        ("a.parquet", 600, "cannot be read: "),
        ("a.arrow", -8, "its end is missing, so it was not written or copied completely"),
        ("a.arrow", 400, "cannot be read: "),
        ("a.parquet", 0, "is empty"),
    ],
)
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, name: str, keep: int, problem: str) -> None:
    path = write(tmp_path / name, hub_table([0, 1] * 9))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=problem):
        read(path)


def test_a_file_of_another_kind_is_named_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("image,label\na.png,cat\n")
    with pytest.raises(DataError, match=r"is neither Parquet nor Arrow, as it begins with b'image,label"):
        read(tmp_path / "a.parquet")


def test_a_pointer_of_git_lfs_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "train-00000-of-00001.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(
        DataError, match=r"parquet is a pointer of Git LFS; fetch the files with `git lfs pull`"
    ):
        read(tmp_path)


def test_rows_are_read_in_any_order_from_few_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.engine.shards._BATCH_BYTES", 1)
    monkeypatch.setattr("trainables.engine.shards._MIN_BATCH_ROWS", 4)
    contents = [b"%d" % number for number in range(50)]
    path = write(tmp_path / "a.parquet", pa.table({"x": contents}), rows_per_group=20)
    window = ReadWindow()
    shard = ParquetShard(path, window)
    assert shard.block_starts == [0, 20, 40]
    reads: list[int] = []
    batches = ParquetShard.batches

    def counted(self: ParquetShard, column: str, group: int) -> Any:
        reads.append(group)
        return batches(self, column, group)

    monkeypatch.setattr(ParquetShard, "batches", counted)
    assert [shard.value("x", row) for row in range(50)] == contents
    assert reads == [0, 1, 2]
    order = np.random.default_rng(0).permutation(50).tolist()
    assert [shard.value("x", row) for row in order] == [contents[row] for row in order]
    assert len(window._kept) == 3
    assert len(window._reads) <= 2


def test_samples_of_webdataset_are_read_from_their_tar_files(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(4):
        members |= {f"{number:04}.jpg": png(number % 2, number), f"{number:04}.cls": b"%d\n" % (number % 2)}
        members[f"{number:04}.seg.png"] = png(2, number)
    tar_file(
        tmp_path / "hub/train-000000.tar", {"._0000.jpg": b"", **members, "0004.cls": b"1", "0005.jpg": b""}
    )
    tar_file(
        tmp_path / "hub/val-000000.tar",
        {"b/9.json": json.dumps({"cls": 1, "size": [5, 4]}).encode(), "b/9.png": png(1, 99)},
    )
    assert Shards.may_read(tmp_path / "hub")
    files = read(tmp_path / "hub")
    assert (files.class_names, files.labels) == (("0", "1"), (0, 1, 0, 1, 1))
    assert files.parts == (*("train",) * 4, "val")
    assert [files.name(row) for row in (3, 4)] == ["train-000000.tar 0003", "val-000000.tar b/9"]
    assert [files.paths[row].read_bytes() for row in (3, 4)] == [png(1, 3), png(1, 99)]
    assert {left.reason: left.names for left in files.left_out} == {
        "row without an image": ("train-000000.tar 0004",),
        "row without a class": ("train-000000.tar 0005",),
    }


def test_of_two_images_of_a_sample_none_is_guessed(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(4):
        members |= {
            f"{number}.jpg": png(0, number),
            f"{number}.png": png(1, number),
            f"{number}.cls": b"%d" % (number % 2),
        }
    path = tar_file(tmp_path / "a.tar", members)
    with pytest.raises(
        DataError, match=r"jpg and png, each of which may be the image; write {shards: .*, image: jpg}"
    ):
        read(path)
    files = read_labelled_shards(Shards(shards=path, image="png"))
    assert [files.paths[row].read_bytes() for row in range(4)] == [png(1, number) for number in range(4)]


def test_a_tar_file_of_class_folders_or_one_cut_short_is_refused(tmp_path: Path) -> None:
    path = tar_file(tmp_path / "a.tar", {"cat/1.png": png(0, 1), "dog/1.png": png(1, 2)})
    with pytest.raises(DataError, match="; if the folders in it are the classes, unpack it"):
        read(path)
    path.write_bytes(path.read_bytes()[:2048])
    with pytest.raises(DataError, match="its end is missing, so it was not written or copied completely"):
        read(path)
    path.write_bytes(b"\x1f\x8b\x08" * 300)
    with pytest.raises(DataError, match=r"a\.tar cannot be read: .*; if it is compressed, decompress it"):
        read(path)
