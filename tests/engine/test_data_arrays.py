"""Images and labels from one NumPy file."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.space import SpaceError, load_space
from search.space.load import SPACES
from trainables.core.contract import DataError, TrainingContext
from trainables.engine.images.data import load_data
from trainables.engine.images.data_check import check_source
from trainables.engine.images.sources import load_source

LABELS = np.arange(60) % 3 + 5


def written(path: Path, **arrays: Any) -> TrainingContext:
    np.savez(path, **arrays)
    return TrainingContext(data={"npz": str(path)}, data_seed=0, seed=0, cache_dir=path.parent)


@pytest.mark.parametrize(("shape", "channels"), [((60, 4, 4), 1), ((60, 4, 4, 1), 1), ((60, 4, 4, 3), 3)])
def test_each_image_keeps_its_label_and_classes_are_named_by_them(
    shape: tuple[int, ...], channels: int, tmp_path: Path
) -> None:
    images = np.broadcast_to(LABELS.reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.uint8)
    given = written(tmp_path / "a.npz", images=images, labels=LABELS)
    data = load_data(given)
    assert (data.class_names, data.channels) == (("5", "6", "7"), channels)
    assert sum(len(part) for part in (data.train, data.val, data.test)) == 60
    pixels = data.train.images(torch.arange(len(data.train)), 4, torch.device("cpu"))
    assert pixels[:, 0, 0, 0].long().tolist() == (data.train.labels + 5).tolist()
    summary = check_source(given)
    assert summary.num_examples == 60  # type: ignore[attr-defined]
    assert summary.classes == {"5": 20, "6": 20, "7": 20}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((4, 2, 2), np.uint8)}, "has images; it must have images and labels, or such a"),
        (
            {"arr_0": np.zeros((4, 2, 2), np.uint8)},
            "has arr_0; it must have images and labels, or such a pair",
        ),
        ({"images": np.zeros((4, 2, 2), np.uint8), "labels": np.zeros((4, 9))}, "got (4, 9) of float64"),
        ({"images": np.zeros((4, 2, 2)), "labels": np.arange(4)}, "got (4, 2, 2) of float64"),
        ({"images": np.zeros((4, 2), np.uint8), "labels": np.arange(4)}, "got (4, 2) of uint8"),
        ({"images": np.zeros((4, 2, 2), np.uint8), "labels": np.arange(3)}, "must be 4 whole numbers"),
        ({"images": np.zeros((4, 2, 2), np.uint8), "labels": np.arange(4) / 2}, "got (4,) of float64"),
        ({"images": np.zeros((0, 2, 2), np.uint8), "labels": np.arange(0)}, "must be 0 whole numbers"),
        (
            {"images": np.zeros((1, 2, 2), np.uint8), "labels": np.array([{}])},
            "read: Object arrays",
        ),
        (
            {
                "images": np.zeros((4, 2, 2), np.uint8),
                "fine_label": np.arange(4),
                "coarse_label": np.arange(4),
            },
            "fine_label and coarse_label may each be the labels of the train part; keep one",
        ),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        load_data(written(tmp_path / "a.npz", **arrays))
    assert message in str(caught.value)


def test_names_of_classes_beside_the_labels_are_not_taken_for_them(tmp_path: Path) -> None:
    arrays = {"images": np.zeros((60, 2, 2), np.uint8), "image_ids": np.arange(60), "labels": LABELS}
    given = written(tmp_path / "a.npz", **arrays, label_names=np.array(["cat", "cow", "dog"]))
    assert load_source(given).labels.tolist() == (LABELS - 5).tolist()


def test_a_compressed_file_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((60, 9, 9), np.uint8), labels=LABELS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    start = 30 + sum(struct.unpack("<HH", content[26:30]))  # of the first array's stream, after its header
    content[start] = 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    context = TrainingContext(data=f"npz:{tmp_path}/a.npz", data_seed=0, seed=0, cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"a\.npz cannot be read: .* invalid block type; it must be \.npz"):
        load_data(context)


def test_a_file_that_is_none_of_numpys_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"images", b"PK\x03\x04 broken"):
        (tmp_path / "a.npz").write_bytes(content)
        context = TrainingContext(data=f"npz:{tmp_path}/a.npz", data_seed=0, seed=0, cache_dir=tmp_path)
        with pytest.raises(DataError, match=r"a\.npz cannot be read: "):
            load_data(context)


def test_a_space_finds_it_and_suggests_a_file_of_a_similar_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "cells.npz", images=np.zeros((9, 2, 2), np.uint8), labels=np.arange(9) % 3)
    space = load_space("lr_bs", overrides=["search.data=npz:cells.npz"], spaces_dir=SPACES)
    assert space.data == {"npz": f"{tmp_path}/cells.npz"}
    with pytest.raises(SpaceError, match=r"cell\.npz does not exist; did you mean .*cells\.npz\?"):
        load_space("lr_bs", overrides=["search.data=npz:cell.npz"], spaces_dir=SPACES)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ("x_train y_train x_test y_test", {"train": 40, "test": 10}),  # Keras
        (
            "train_images train_labels val_images val_labels test_images test_labels",
            {"train": 40, "val": 10, "test": 10},
        ),
    ],
)
def test_parts_may_be_arrays_of_their_own(names: str, parts: dict[str, int], tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for (images, labels), count in zip(
        zip(*[iter(names.split())] * 2, strict=True), parts.values(), strict=True
    ):
        arrays[images] = np.full((count, 4, 4, 3), count, np.uint8)
        arrays[labels] = np.array(["cat", "dog"] * (count // 2))[:, None]  # MedMNIST has a column of labels
    source = load_source(written(tmp_path / "a.npz", **arrays))
    assert Counter(source.parts.tolist()) == parts
    assert (source.class_names, source.labels[:4].tolist()) == (("cat", "dog"), [0, 1, 0, 1])
    assert source.pixels(4).pick(torch.tensor([0, 45]))[:, 0, 0, 0].tolist() == [40, 10]
    arrays[names.split()[-1]][0] = "cow"
    with pytest.raises(DataError, match="the training part has no image of cow"):
        load_source(written(tmp_path / "b.npz", **arrays))
