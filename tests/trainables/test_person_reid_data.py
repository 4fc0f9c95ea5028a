"""Persons come from the names of images, and no person is in two parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.support.market_folders import market_folder
from trainables.core.contract import DataError, TrainingContext
from trainables.person_reid.data import PersonData
from trainables.person_reid.sightings import JUNK, find_sightings, sightings_of
from trainables.person_reid.sources import check_person_data, load_person_data


def context(data: str, folder: Path, **settings) -> TrainingContext:
    return TrainingContext(data=data, data_seed=0, seed=0, cache_dir=folder / "cache", **settings)


def people(data: PersonData, part: str) -> set[int]:
    return set(getattr(data.splits, part).labels.tolist())


def test_names_say_who_is_seen_and_by_which_camera() -> None:
    names = ["0002_c1s1_000451_03.jpg", "-1_c3s2_000001_00.jpg", "query/0000_c6_f0046182.jpg"]
    found = sightings_of(names, ["train", "gallery", "query"])
    assert found.identities.tolist() == [2, -1, 0]
    assert found.cameras.tolist() == [1, 3, 6]
    assert found.is_person.tolist() == [True, False, False]


def test_all_names_that_say_nothing_are_refused_together() -> None:
    with pytest.raises(DataError, match=r"2 images are not named like .*: a\.jpg, b\.jpg$"):
        sightings_of(["a.jpg", "0001_c1s1_000151_00.jpg", "b.jpg"], ["train"] * 3)


def test_no_person_is_in_two_parts_and_the_test_part_is_the_datas_own(tmp_path: Path) -> None:
    data = load_person_data(context("persons", tmp_path))
    train, val, test = (people(data, part) for part in ("train", "val", "test"))
    assert train == set(range(68))
    assert len(val) == 12
    assert not train & val
    assert not (train | val) & test
    assert len(test) == 16 + 1 + 1  # persons, the distractors as one, junk
    rows = data.splits.test.rows
    assert int(data.is_query[rows].sum()) == 64
    assert not (data.is_query & data.is_gallery)[rows].any()
    assert int((data.splits.test.labels == JUNK).sum()) == 12


def test_validation_has_a_query_for_each_person_and_camera_in_all_its_images(tmp_path: Path) -> None:
    data = load_person_data(context("persons", tmp_path))
    val = data.splits.val
    assert len(val) == 144
    assert data.is_gallery[val.rows].all()
    asked = val.rows[data.is_query[val.rows]]
    pairs = zip(data.splits.train.source.labels[asked].tolist(), data.cameras[asked].tolist(), strict=True)
    assert len(set(pairs)) == len(asked) == 48


def test_another_seed_of_the_data_holds_others_out(tmp_path: Path) -> None:
    first, other = (
        load_person_data(TrainingContext(data="persons", data_seed=seed, seed=0, cache_dir=tmp_path))
        for seed in (0, 1)
    )
    assert set(first.splits.val.rows.tolist()) != set(other.splits.val.rows.tolist())


def test_a_subset_has_all_images_of_some_persons_and_smaller_ones_are_its_beginning(tmp_path: Path) -> None:
    train = load_person_data(context("persons", tmp_path)).splits.train
    chosen = train.subset(30)
    assert train.labels[chosen].unique(return_counts=True)[1].sort().values.tolist() == [6, 12, 12]
    assert torch.equal(train.subset(0.1)[:30], chosen)
    assert len(train.subset(0.1)) == 82  # of 816
    with pytest.raises(DataError, match="a subset of 900 images was asked for; ask for 2 to 816, or for"):
        train.subset(900)


def test_files_as_market_1501_has_them_are_what_was_made(tmp_path: Path) -> None:
    """Decoded at another height and stretched, by way of the cache, too."""
    data = load_person_data(context(f"market:{market_folder(tmp_path / 'market')}", tmp_path, resolution=64))
    made = load_person_data(context("persons", tmp_path))
    for part in ("train", "val", "test"):
        ours, theirs = getattr(data.splits, part), getattr(made.splits, part)
        assert len(ours) == len(theirs)
        names = {ours.name(index).split("/")[-1].removesuffix(".png"): index for index in range(len(ours))}
        picked = torch.tensor([names[theirs.name(index).removesuffix(".jpg")] for index in range(20)])
        assert torch.equal(ours.images(picked, 64), theirs.images(torch.arange(20), 64))
        assert torch.equal(ours.labels[picked], theirs.labels[:20])
        assert ours.images(picked[:3], 32).shape == (3, 3, 32, 16)
        assert ours.images(picked[:3], 96).shape == (3, 3, 96, 48)
    assert int(data.is_query[data.splits.test.rows].sum()) == 64


def test_the_cache_without_room_gives_the_same_images(tmp_path: Path) -> None:
    source = f"market:{market_folder(tmp_path / 'market')}"
    stored = load_person_data(context(source, tmp_path, resolution=64)).splits.val.images(torch.arange(5), 32)
    small = context(source, tmp_path / "small", resolution=64, cache_gib=1e-4)
    streamed = load_person_data(small).splits
    assert "cache" in streamed.notes()
    assert torch.equal(streamed.val.images(torch.arange(5), 32), stored)


def test_a_folder_without_queries_is_split_in_three(tmp_path: Path) -> None:
    folder = market_folder(tmp_path / "market") / "bounding_box_train"
    data = load_person_data(context(f"market:{folder}", tmp_path, resolution=32))
    counts = [len(people(data, part)) for part in ("train", "val", "test")]
    assert counts == [56, 12, 12]
    test = data.splits.test.rows
    assert int(data.is_query[test].sum()) == 48
    assert data.is_gallery[test].all()


def test_preflight_counts_and_opens_images(tmp_path: Path) -> None:
    counted = ["1204 images, 96 persons, 4 cameras, 52 distractors"]
    assert check_person_data(context("persons", tmp_path)) == counted
    folder = market_folder(tmp_path / "market")
    source = f"market:{folder}"
    left_out = "left out, hidden or system file: 1 (query/Thumbs.db)"
    assert check_person_data(context(source, tmp_path, resolution=64)) == [*counted, left_out]
    first = folder / find_sightings(folder).names[0]
    first.write_bytes(b"cut")
    with pytest.raises(DataError, match=f"{first.name} cannot be read"):
        check_person_data(context(source, tmp_path, resolution=64))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("people", "no data source is named 'people'; there are persons, market:FOLDER"),
        ("market:{folder}/none", "none does not exist; write market:FOLDER"),
        (
            "market:{folder}/empty",
            "there are no images in .*/empty itself, nor folders named bounding_box_train,",
        ),
        ("market:{folder}/above", r"there are no images in .*; did you mean market:.*/above/Market-1501\?"),
        ("market:{folder}/half", "has no query, bounding_box_test; either all of bounding_box_train,"),
        ("market:{folder}/one", "no person of its parts train, val, test is seen by two cameras"),
    ],
)
def test_data_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, data: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "above" / "Market-1501" / name).mkdir(parents=True)
    (tmp_path / "half" / "bounding_box_train").mkdir(parents=True)
    (tmp_path / "one").mkdir()
    for number in range(1, 5):
        Image.new("RGB", (8, 16)).save(tmp_path / "one" / f"{number:04d}_c1s1_000001_00.jpg")
    with pytest.raises(DataError, match=words):
        check_person_data(context(data.format(folder=tmp_path), tmp_path, resolution=64))
