"""torchvision's data sets, with stand-ins that need no download."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from trainables.core.contract import DataError, TrainingContext
from trainables.engine.images import sources
from trainables.engine.images.data import load_data
from trainables.engine.images.data_check import check_source


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        torchvision.datasets, "__all__", [*torchvision.datasets.__all__, "InMemory", "OnDisk"]
    )
    monkeypatch.setenv("JOULETUNE_DATA", str(tmp_path / "datasets"))
    sources._load_source.cache_clear()


def context(tmp_path, data, resolution=None):
    return TrainingContext(
        data=data, data_seed=0, seed=0, cache_dir=tmp_path / "cache", resolution=resolution
    )


class InMemory:
    """Like CIFAR10: an array of pixels, a training and a test part."""

    classes = ("dark", "bright")
    downloads: list[bool]

    def __init__(self, root, train=True, download=False):
        self.downloads.append(download)
        count = 40 if train else 10
        self.targets = [index % 2 for index in range(count)]
        self.data = np.full((count, 6, 6, 3), 10 if train else 20, np.uint8)

    def __len__(self):
        return len(self.targets)


class OnDisk(torch.utils.data.Dataset):
    """Like Flowers102: images of many sizes, and splits by name."""

    def __init__(self, root, split="train", download=False):
        if split not in ("train", "val", "test"):
            raise ValueError(split)
        self.count = {"train": 20, "val": 8, "test": 6}[split]

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Image.new("L", (6 + index, 9), 7), index % 2


def test_an_official_test_part_is_kept_and_validation_is_split_off_train(tmp_path, monkeypatch):
    monkeypatch.setattr(InMemory, "downloads", [], raising=False)
    monkeypatch.setattr(torchvision.datasets, "InMemory", InMemory, raising=False)
    splits = load_data(context(tmp_path, "torchvision:InMemory"))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [34, 6, 10]
    assert splits.test.images(torch.arange(10), 6).unique().tolist() == [20]
    assert splits.train.images(torch.arange(34), 6).shape == (34, 3, 6, 6)
    assert splits.class_names == ("dark", "bright")
    assert InMemory.downloads == [False, False]


def test_a_download_happens_only_when_the_source_asks(tmp_path, monkeypatch):
    monkeypatch.setattr(InMemory, "downloads", [], raising=False)
    monkeypatch.setattr(torchvision.datasets, "InMemory", InMemory, raising=False)
    load_data(context(tmp_path, {"torchvision": "InMemory", "download": True}))
    assert InMemory.downloads == [True, True]


def test_a_mistyped_name_is_refused_before_its_download(tmp_path):
    with pytest.raises(DataError, match="torchvision has no data set 'CIFAR1O'; near are CIFAR10"):
        check_source(context(tmp_path, {"torchvision": "CIFAR1O", "download": True}))


def test_labels_of_several_numbers_are_asked_for_one_by_one(tmp_path, monkeypatch):
    class Qmnist(InMemory):
        """Like QMNIST: of the numbers of an image the first is its class."""

        def __init__(self, root, train=True, download=False):
            super().__init__(root, train, download)
            self.targets = torch.tensor([[index % 2, 7, 7] for index in range(len(self.targets))])

        def __getitem__(self, index):
            return Image.fromarray(self.data[index]), int(self.targets[index][0])

    monkeypatch.setattr(InMemory, "downloads", [], raising=False)
    monkeypatch.setattr(torchvision.datasets, "InMemory", Qmnist, raising=False)
    splits = load_data(context(tmp_path, "torchvision:InMemory", resolution=6))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [34, 6, 10]
    assert splits.test.labels.tolist() == [0, 1] * 5
    (line, *_) = check_source(context(tmp_path, "torchvision:InMemory", resolution=6))
    assert line == "50 images"


def test_paths_are_not_taken_for_pixels(tmp_path, monkeypatch):
    class LfwPeople(OnDisk):
        """Like LFWPeople: its data are the paths of its images."""

        data, targets = ("a.jpg",), (0,)

    monkeypatch.setattr(torchvision.datasets, "OnDisk", LfwPeople, raising=False)
    splits = load_data(context(tmp_path, "torchvision:OnDisk", resolution=8))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [20, 8, 6]


def test_images_of_many_sizes_are_decoded_to_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "OnDisk", OnDisk, raising=False)
    splits = load_data(context(tmp_path, "torchvision:OnDisk", resolution=8))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [20, 8, 6]
    assert splits.val.images(torch.arange(8), 8).shape == (8, 3, 8, 8)
    assert splits.val.labels.tolist() == [0, 1] * 4


def test_a_data_set_that_is_not_on_disk_says_how_to_get_it(tmp_path):
    with pytest.raises(
        DataError, match=r"torchvision:CIFAR10 is not in .*write data: {torchvision: CIFAR10, download: true}"
    ):
        load_data(context(tmp_path, "torchvision:CIFAR10"))


def test_the_source_may_say_how_many_images_are_for_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(InMemory, "downloads", [], raising=False)
    monkeypatch.setattr(torchvision.datasets, "InMemory", InMemory, raising=False)
    splits = load_data(context(tmp_path, {"torchvision": "InMemory", "val_examples": 10}))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [30, 10, 10]
