"""Images on disk: decoded once, and what happens when they cannot be."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, DataError, TrainingContext
from trainables.engine.images import decoding, sources
from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Batches
from trainables.engine.images.class_folders import find_image_files
from trainables.engine.images.data import load_data
from trainables.engine.images.pixels import StoredPixels


@pytest.fixture(autouse=True)
def fresh_process_cache():
    sources._load_source.cache_clear()


def write_jpegs(folder: Path, count: int, *, size=(32, 24)) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(256, size=(4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size).save(folder / f"{index:03}.jpg")


@pytest.fixture
def pets(tmp_path) -> Path:
    for name in ("cat", "dog"):
        write_jpegs(tmp_path / "pets" / name, 20)
    return tmp_path / "pets"


def context(folder: Path, cache: Path, **settings) -> TrainingContext:
    settings = {"resolution": 16, **settings}
    return TrainingContext(data=f"imagefolder:{folder}", data_seed=0, seed=0, cache_dir=cache, **settings)


def loaded_anew(wanted: TrainingContext):
    sources._load_source.cache_clear()
    return load_data(wanted)


def forbid_decoding(monkeypatch) -> None:
    monkeypatch.setattr(decoding.ImageReader, "resized", lambda *_: pytest.fail("decoded again"))


def arrays_in(cache: Path) -> list[str]:
    return sorted(path.name.split("-", 2)[2] for path in cache.glob("*.pixels*"))


def test_a_process_that_comes_later_decodes_nothing(pets, tmp_path, monkeypatch):
    first = load_data(context(pets, tmp_path / "cache")).train.source.pixels(16).images
    forbid_decoding(monkeypatch)
    again = loaded_anew(context(pets, tmp_path / "cache")).train.source.pixels(16).images
    assert torch.equal(first, again)


def test_a_smaller_resolution_is_made_from_the_top_one_and_kept(pets, tmp_path, monkeypatch):
    splits = load_data(context(pets, tmp_path / "cache"))
    forbid_decoding(monkeypatch)
    assert splits.train.images(torch.arange(3), 8).shape == (3, 3, 8, 8)
    assert arrays_in(tmp_path / "cache") == ["16px.pixels", "8px-of-16px.pixels"]


def test_a_folder_that_moved_is_not_decoded_again(pets, tmp_path, monkeypatch):
    load_data(context(pets, tmp_path / "cache"))
    shutil.copytree(pets, tmp_path / "elsewhere", copy_function=shutil.copyfile)  # new times
    forbid_decoding(monkeypatch)
    loaded_anew(context(tmp_path / "elsewhere", tmp_path / "cache"))
    assert arrays_in(tmp_path / "cache") == ["16px.pixels"]


def test_a_changed_image_is_decoded_again(pets, tmp_path):
    before = load_data(context(pets, tmp_path / "cache")).train.source.pixels(16).images
    shutil.copyfile(pets / "dog" / "003.jpg", pets / "cat" / "000.jpg")
    after = loaded_anew(context(pets, tmp_path / "cache")).train.source.pixels(16).images
    assert (before != after).flatten(1).any(1).nonzero().flatten().tolist() == [0]


def test_decoding_that_was_killed_resumes_where_it_was(pets, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_AT_ONCE", 8)
    whole = load_data(context(pets, tmp_path / "undisturbed")).train.source.pixels(16).images
    decode, decoded = decoding.ImageReader.resized, []

    def interrupted(reader, index, side):
        if index == 20:
            raise KeyboardInterrupt
        return decode(reader, index, side)

    def counted(reader, index, side):
        decoded.append(index)
        return decode(reader, index, side)

    monkeypatch.setattr(decoding.ImageReader, "resized", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loaded_anew(context(pets, tmp_path / "cache"))
    monkeypatch.setattr(decoding.ImageReader, "resized", counted)
    resumed = loaded_anew(context(pets, tmp_path / "cache")).train.source.pixels(16).images
    assert sorted(decoded) == list(range(16, 40))
    assert torch.equal(resumed, whole)


def broken(pets: Path, count: int) -> Path:
    """Some of the files cut off in the middle."""
    for path in sorted(pets.rglob("*.jpg"))[:count]:
        path.write_bytes(path.read_bytes()[:300])
    return pets


@pytest.fixture
def many_pets(tmp_path) -> Path:
    for name in ("cat", "dog"):
        write_jpegs(tmp_path / "many" / name, 200)
    return tmp_path / "many"


def test_3_broken_files_of_400_are_named_once_and_left_out(many_pets, tmp_path, caplog):
    wanted = context(broken(many_pets, 3), tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        trainings = [start(Hparams(), Budget(epochs=1, resolution=16), wanted) for _ in range(2)]
    assert [trainings[0].run_epoch(Budget(epochs=1, resolution=16))["num_examples"]] == [
        277
    ]  # 397 less twice 15 %
    assert len(caplog.messages) == 1
    assert all(caplog.messages[0].count(f"cat/00{number}.jpg") == 1 for number in range(3))
    note = "3 images cannot be read and are left out; the log lists them"
    assert [training.notes()["data"] for training in trainings] == [note, note]


def test_40_broken_files_of_400_are_refused(many_pets, tmp_path):
    with pytest.raises(DataError, match=r"40 of 400 images cannot be read, over 1 %.*cat/000\.jpg"):
        load_data(context(broken(many_pets, 40), tmp_path / "cache"))


def test_a_large_photograph_is_read_at_the_least_size_that_leaves_twice_the_side(tmp_path):
    for name in ("cat", "dog"):
        write_jpegs(tmp_path / "large" / name, 1, size=(1200, 800))
    files = find_image_files(tmp_path / "large")
    assert [files.opened(0, side).size for side in (40, 90, 110, 300)] == [
        (150, 100),
        (300, 200),
        (600, 400),
        (1200, 800),
    ]


def epoch_of(batches: Batches, resolution: int) -> list[torch.Tensor]:
    examples = batches.epoch(Budget(epochs=1, resolution=resolution), 0)
    return [examples.batch(step).images for step in examples.steps(8, drop_single=False)]


@pytest.mark.parametrize("resolution", [16, 8])
def test_without_room_in_the_cache_every_batch_is_the_same_to_the_bit(pets, tmp_path, resolution):
    def batches(cache: str, **settings) -> Batches:
        wanted = context(pets, tmp_path / cache, num_workers=2, **settings)
        data = loaded_anew(wanted)
        augment = Augment.named("strong", flip=True)
        return Batches(data, wanted, augment=augment, statistics=data.train.statistics(16))

    cached, streamed = batches("cached"), batches("streamed", cache_gib=1e-6)
    reason = "images are decoded again each epoch: 2.86e-05 GiB are needed and 9.99e-07 GiB of limits"
    assert streamed.data.notes()["cache"].startswith(reason)
    assert arrays_in(tmp_path / "streamed") == ["16px-checked.pixels"]
    pairs = list(zip(epoch_of(cached, resolution), epoch_of(streamed, resolution), strict=True))
    assert len(pairs) == 4
    assert all(torch.equal(first, second) for first, second in pairs)
    budget = Budget(epochs=1, resolution=resolution)
    scored = zip(cached.validation(budget), streamed.validation(budget), strict=True)
    assert all(torch.equal(first.images, second.images) for first, second in scored)


def test_a_smaller_resolution_without_room_is_resized_batch_by_batch(pets, tmp_path):
    gib = 40 * (16 * 16 * 3 + 1) / 2**30
    small = load_data(context(pets, tmp_path / "cache")).train.images(torch.arange(20), 8)
    tight = loaded_anew(context(pets, tmp_path / "tight", cache_gib=1.01 * gib))
    assert torch.equal(tight.train.images(torch.arange(20), 8), small)
    assert arrays_in(tmp_path / "tight") == ["16px.pixels"]


def test_a_resize_schedule_trains_at_its_sizes_and_scores_at_the_last(pets, tmp_path):
    wanted = context(pets, tmp_path / "cache", resolution=28, num_workers=2)
    training = start(Hparams(), Budget(epochs=6, resolution=28), wanted)
    sizes: dict[bool, set[int]] = {}
    training.model.register_forward_pre_hook(
        lambda model, inputs: sizes.setdefault(model.training, set()).add(inputs[0].shape[-1])
    )
    seen = []
    for side in (14, 14, 20, 20, 28, 28):
        sizes.clear()
        training.run_epoch(Budget(epochs=6, resolution=side))
        seen.append((sizes[True], sizes[False]))
    assert seen == [({side}, {28}) for side in (14, 14, 20, 20, 28, 28)]


class OnGpu(StoredPixels):
    """Says that it would be copied, in place of a copy."""

    def _copy(self, device: torch.device) -> StoredPixels:
        return StoredPixels(self.images)


def test_images_go_to_the_device_if_they_take_a_quarter_of_its_free_memory_at_most(monkeypatch):
    pixels = OnGpu(torch.zeros(10, 3, 4, 4, dtype=torch.uint8))  # 480 bytes
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (480 * 4 - 1, 10**9))
    assert pixels.on(gpu) is pixels
    pixels = OnGpu(pixels.images)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (480 * 4, 10**9))
    assert pixels.on(gpu) is not pixels
    assert pixels.on(gpu) is pixels.on(gpu)


@pytest.mark.gpu
def test_batches_from_the_gpus_memory_equal_those_of_the_cpu(pets, tmp_path):
    wanted = context(pets, tmp_path / "cache")
    on_cpu = load_data(wanted)
    on_gpu = load_data(dataclasses.replace(wanted, device="cuda"))
    chosen = torch.tensor([3, 0, 7])
    there = on_gpu.train.images(chosen, 16, torch.device("cuda"))
    assert there.is_cuda
    assert torch.equal(there.cpu(), on_cpu.train.images(chosen, 16))
    assert on_gpu.notes()["images"] == "2.86e-05 GiB in the memory of cuda:0"


def test_the_second_trial_of_a_process_neither_lists_files_nor_splits_nor_counts_again(
    pets, tmp_path, monkeypatch
):
    wanted = context(pets, tmp_path / "cache")
    budget = Budget(epochs=1, resolution=16, subset=0.5)
    start(Hparams(), budget, wanted).run_epoch(budget)
    for name in ("sources.find_image_files", "data.balanced_order", "data._statistics_of"):
        monkeypatch.setattr(f"trainables.engine.images.{name}", lambda *_, **__: pytest.fail("done again"))
    second = start(Hparams(lr=0.01), budget, dataclasses.replace(wanted, seed=1))
    assert second.run_epoch(budget)["num_examples"] == 14
