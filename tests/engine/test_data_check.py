"""What is reported about image data before a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.report.preflight import print_data
from tests.support.recorded_console import console, shown
from trainables.core.contract import DataError, TrainingContext
from trainables.core.data_summary import DataSummary, LeftOut
from trainables.engine.images import data_check, sources
from trainables.engine.images.data import load_data
from trainables.engine.images.data_check import check_source


@pytest.fixture(autouse=True)
def fresh_process_cache():
    sources._load_source.cache_clear()


def context(data: object, tmp_path: Path) -> TrainingContext:
    return TrainingContext(data=str(data), data_seed=0, seed=0, cache_dir=tmp_path / "cache", resolution=8)


def write(folder: Path, count: int, *, seed: int) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(0, 255, (12 + number % 3, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg")


@pytest.fixture
def insects(tmp_path: Path) -> Path:
    for seed, name in enumerate(("ants", "bees")):
        write(tmp_path / "insects" / name, 120, seed=seed)
    return tmp_path / "insects"


def test_of_ants_and_bees_the_summary_is_reported(insects: Path, tmp_path: Path) -> None:
    (insects / "bees" / "notes.txt").write_text("")
    (insects / "bees" / "119.jpg").write_bytes(b"cut short")
    found = check_source(context(f"imagefolder:{insects}", tmp_path))
    assert found == DataSummary(
        num_examples=239,
        classes={"ants": 120, "bees": 119},
        parts={"train": 167, "val": 36, "test": 36},
        split_off=("val", "test"),
        sizes_px=((16, 12), (16, 13), (16, 14)),
        left_out=(
            LeftOut(reason="unreadable file", count=1, names=("bees/119.jpg",)),
            LeftOut(reason="file ending in .txt", count=1, names=("bees/notes.txt",)),
        ),
    )
    data = load_data(context(f"imagefolder:{insects}", tmp_path))
    assert [len(part) for part in (data.train, data.val, data.test)] == [167, 36, 36]
    assert data.notes() == {
        "left_out": "file ending in .txt: 1 (bees/notes.txt)",
        "data": "1 images cannot be read and are left out; the log lists them",
    }


def test_digits_are_summed_up_like_a_folder(tmp_path: Path) -> None:
    found = check_source(TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path))
    assert list(found) == [
        "1797 images of 10 classes: 174 (8) to 183 (3)",
        "1257 train, 270 val, 270 test; val and test split off train",
        "all 8 x 8 px",
    ]


def copied(root: Path, *copies: tuple[str, str]) -> None:
    for source, target in copies:
        (root / target).write_bytes((root / source).read_bytes())


def test_images_that_are_in_two_parts_are_named(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/a", "train/b", "val/a", "val/b", "test/a", "test/b")):
        write(tmp_path / "d" / name, 3, seed=seed)
    copied(tmp_path / "d", ("train/a/000.jpg", "val/a/copy.jpg"), ("val/b/001.jpg", "test/b/other.jpg"))
    note = (
        "images in two parts: 2 (train/a/000.jpg (train) = val/a/copy.jpg (val), test/b/other.jpg (test) = "
        "val/b/001.jpg (val)); scores on them validate nothing"
    )
    wanted = context(f"imagefolder:{tmp_path / 'd'}", tmp_path)
    assert note in check_source(wanted)
    assert load_data(wanted).notes()["identical"] == note


def test_images_with_two_labels_or_twice_in_one_class_are_named(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/a", "train/b", "val/a", "val/b", "test/a", "test/b")):
        write(tmp_path / "d" / name, 3, seed=seed)
    wanted = context(f"imagefolder:{tmp_path / 'd'}", tmp_path)
    copied(tmp_path / "d", ("train/a/000.jpg", "train/a/copy.jpg"))
    once_more = "images that are copies of others: 1 (train/a/000.jpg = train/a/copy.jpg)"
    assert once_more in check_source(wanted)
    assert "identical" not in load_data(wanted).notes()
    copied(tmp_path / "d", ("train/a/001.jpg", "train/b/copy.jpg"))
    assert "images in two classes: 1 (train/a/001.jpg = train/b/copy.jpg)" in check_source(wanted)


def test_a_link_to_another_part_is_found_by_its_content(tmp_path: Path) -> None:
    for seed, name in enumerate(("train/a", "train/b")):
        write(tmp_path / "d" / name, 3, seed=seed)
    (tmp_path / "d" / "val").symlink_to("train")
    found = check_source(context(f"imagefolder:{tmp_path / 'd'}", tmp_path))
    assert [line[:24] for line in found if "two parts" in line] == ["images in two parts: 6 ("]


def test_a_check_without_time_reports_how_much_it_saw(
    insects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_check, "_MAX_SURVEY_S", 0.0)
    monkeypatch.setattr("trainables.engine.images.survey._AT_ONCE", 50)
    found = check_source(context(f"imagefolder:{insects}", tmp_path))
    assert isinstance(found, DataSummary)
    assert (found.num_examples, found.num_sized) == (240, 50)
    assert found.notes[-1].startswith("50 of 240 files were read within 0 s")
    again = check_source(context(f"imagefolder:{insects}", tmp_path))
    assert again.num_sized == 100  # it resumes where the last one ended


def test_too_few_images_for_three_parts_are_refused_before_the_run(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        write(tmp_path / "d" / name, 1, seed=seed)
    with pytest.raises(DataError, match="too few"):
        check_source(context(f"imagefolder:{tmp_path / 'd'}", tmp_path))


def test_a_summary_is_printed_with_what_is_left_out_below(tmp_path: Path) -> None:
    output = console()
    print_data(
        DataSummary(
            num_examples=2, classes={"a": 1, "b": 1}, left_out=(LeftOut(reason="dead link", count=1),)
        ),
        output,
    )
    print_data(["[x] is a note"], output)
    assert shown(output).splitlines() == [
        "data: 2 images of 2 classes, 1 of each",
        "note: data: left out, dead link: 1",
        "note: data: [x] is a note",
    ]
