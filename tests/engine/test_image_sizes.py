"""Recorded sizes are held against every image: turned, unturned, resized since, or another image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.box_annotations import annotation
from trainables.core.contract import DataError, TrainingContext
from trainables.detection.image_files import Fit, Header
from trainables.detection.sources import check_detection_data, load_detection_data

NUM = 120  # 1 % of them is one
UPRIGHT = Header(64, 48, 1)
ON_ITS_SIDE = Header(64, 48, 6)  # EXIF turns it to 48 x 64
UPSIDE_DOWN = Header(64, 48, 3)


def write_image(path: Path, *, width: int = 64, height: int = 48, orientation: int = 1) -> None:
    """Red on the left, blue on the right of what is stored."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 255, 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, quality=95)


def write_coco(folder: Path, recorded: dict[int, tuple[float, float] | None], ending: str = "jpg") -> str:
    """Images 0 to 119, of which some have another size than 64 x 48 recorded, or none."""
    images, boxes = [], []
    for number in range(NUM):
        path = folder / f"{number:03d}.{ending}"
        if not path.exists():
            write_image(path)
        size = recorded.get(number, (64, 48))
        sides = {} if size is None else {"width": size[0], "height": size[1]}
        images.append({"id": number, "file_name": path.name, **sides})
        boxes.append({"id": number, **annotation(number, 1, (2, 2, 20, 20))})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "boxes.json").write_text(json.dumps(content))
    return f"coco:{folder / 'boxes.json'}"


def context(data: str, folder: Path) -> TrainingContext:
    return TrainingContext(
        data=data, data_seed=0, seed=0, cache_dir=folder / "cache", resolution=32, num_workers=1
    )


def pixels(data: str, folder: Path, number: int) -> torch.Tensor:
    """(3, 32, 32) of an image as trials see it."""
    loaded = load_detection_data(context(data, folder))
    return loaded.splits.train.source.pixels(32).pick(torch.tensor([number]))[0].float()


@pytest.mark.parametrize(
    ("header", "recorded", "fit"),
    [
        (UPRIGHT, (64, 48), (Fit.UPRIGHT, False)),
        (UPRIGHT, (64.0, 48.0), (Fit.UPRIGHT, False)),
        (UPRIGHT, (48, 64), (Fit.CONTRADICTED, False)),
        (UPRIGHT, (640, 480), (Fit.UPRIGHT, True)),
        (UPRIGHT, (31, 23), (Fit.UPRIGHT, True)),  # half, rounded
        (UPRIGHT, (64, 50), (Fit.CONTRADICTED, False)),
        (ON_ITS_SIDE, (48, 64), (Fit.UPRIGHT, False)),
        (ON_ITS_SIDE, (64, 48), (Fit.STORED, False)),
        (ON_ITS_SIDE, (96, 128), (Fit.UPRIGHT, True)),
        (ON_ITS_SIDE, (128, 96), (Fit.STORED, True)),
        (ON_ITS_SIDE, (64, 64), (Fit.CONTRADICTED, False)),
        (UPSIDE_DOWN, (64, 48), (Fit.UNDECIDED, False)),
        (Header(48, 48, 8), (48, 48), (Fit.UNDECIDED, False)),
        (Header(), (64, 48), (Fit.UPRIGHT, False)),  # unreadable: decoding says so
    ],
)
def test_a_recorded_size_tells_how_an_image_is_meant(
    header: Header, recorded: tuple[float, float], fit: tuple[Fit, bool]
) -> None:
    assert header.fit(recorded) == fit


@pytest.mark.parametrize(("orientation", "red"), [(6, "top"), (8, "bottom"), (5, "top"), (7, "bottom")])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_photo_on_its_side_is_trained_on_as_its_boxes_are(
    tmp_path: Path, orientation: int, red: str, ending: str
) -> None:
    """Recorded as it is shown: upright pixels. Recorded as it is stored: red stays on the left."""
    for number in (3, 77):
        write_image(tmp_path / f"{number:03d}.{ending}", orientation=orientation)
    data = write_coco(tmp_path, {3: (48, 64)}, ending)
    shown, stored = pixels(data, tmp_path, 3), pixels(data, tmp_path, 77)
    first, second = shown[0, :16].mean() > shown[0, 16:].mean(), stored[0, :, :16].mean() > 200
    assert ("top" if first else "bottom") == red
    assert second
    notes = list(check_detection_data(context(data, tmp_path)))
    assert f"images that EXIF turns, but not their boxes; they are turned back: 077.{ending}" in notes


def test_a_size_that_fits_both_ways_is_reported(tmp_path: Path) -> None:
    write_image(tmp_path / "005.jpg", orientation=3)
    data = write_coco(tmp_path, {})
    what = "images that EXIF turns, whose size does not show whether their boxes are; taken as turned"
    assert load_detection_data(context(data, tmp_path)).notes()["sizes"] == f"{what}: 005.jpg"
    assert pixels(data, tmp_path, 5)[0, :, 16:].mean() > 200  # red is on the right now


def test_an_image_that_was_resized_keeps_its_boxes_as_shares(tmp_path: Path) -> None:
    write_image(tmp_path / "005.jpg", width=640, height=480)
    data = write_coco(tmp_path, {})
    loaded = load_detection_data(context(data, tmp_path))
    what = "images of another size than recorded, in its proportions; boxes are scaled with them"
    assert loaded.notes()["sizes"] == f"{what}: 005.jpg"
    assert (
        loaded.annotations.objects[5].trained()[0].tolist()
        == loaded.annotations.objects[6].trained()[0].tolist()
    )


@pytest.mark.parametrize("size", [None, (0, 0), (64, None), ("64", "48"), (float("nan"), 48)])
def test_a_size_that_is_not_recorded_is_the_upright_files(
    tmp_path: Path, size: tuple[float, float] | None
) -> None:
    write_image(tmp_path / "005.jpg", orientation=6)
    data = write_coco(tmp_path, {5: size})
    loaded = load_detection_data(context(data, tmp_path))
    assert loaded.annotations.objects[5].size_px == (48, 64)
    assert (
        loaded.notes()["sizes"] == "images without a recorded size; their files' counts: boxes.json image 5"
    )


@pytest.mark.parametrize("number", [1, 2, 65, 119])
def test_any_image_of_another_size_is_found_named_and_left_out(tmp_path: Path, number: int) -> None:
    """Of 120 images one is under 1 %; no sample would have all of these."""
    write_image(tmp_path / f"{number:03d}.jpg", width=60, height=60)
    data = write_coco(tmp_path, {})
    reason = f"{tmp_path}/{number:03d}.jpg is 60 x 60 px, its boxes are in 64 x 48"
    summary = check_detection_data(context(data, tmp_path))
    assert f"left out, image of another size than recorded: 1 ({reason})" in list(summary)
    loaded = load_detection_data(context(data, tmp_path))
    assert summary.num_examples == 119
    assert loaded.splits.num_unreadable == 1
    assert reason in loaded.notes()["left_out"]
    rows = [
        row
        for part in (loaded.splits.train, loaded.splits.val, loaded.splits.test)
        for row in part.rows.tolist()
    ]
    assert sorted(rows) == [row for row in range(NUM) if row != number]


def test_over_one_percent_of_another_size_is_refused_before_a_run_and_in_it(tmp_path: Path) -> None:
    data = write_coco(tmp_path, {7: (48, 64), 100: (640, 48)})
    for read in (check_detection_data, load_detection_data):
        with pytest.raises(
            DataError, match="image of another size than recorded, of which over 1 % "
        ) as raised:
            read(context(data, tmp_path))
        assert "007.jpg is 64 x 48 px, its boxes are in 48 x 64" in str(raised.value)
        assert "100.jpg is 64 x 48 px, its boxes are in 640 x 48" in str(raised.value)


def test_images_with_corrected_sizes_are_decoded_again(tmp_path: Path) -> None:
    """The cache of decoded images knows how they were read."""
    write_image(tmp_path / "005.jpg", orientation=6)
    data = write_coco(tmp_path, {})
    before = pixels(data, tmp_path, 5)
    write_coco(tmp_path, {5: (48, 64)})
    load_detection_data(context("shapes", tmp_path))  # a process keeps the last source
    after = pixels(data, tmp_path, 5)
    assert not torch.equal(before, after)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    data = write_coco(tmp_path, {})
    (tmp_path / "011.jpg").write_bytes(b"<html>404</html>")
    notes = "\n".join(check_detection_data(context(data, tmp_path)))
    assert f"left out, image that cannot be read: 1 ({tmp_path}/011.jpg" in notes
    assert load_detection_data(context(data, tmp_path)).splits.num_unreadable == 1
    (tmp_path / "012.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"image that cannot be read, of which over 1 % .* \(2\)"):
        check_detection_data(context(data, tmp_path))
