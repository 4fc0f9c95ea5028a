"""The sizes in which a detector sees images, and where boxes are then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.core.contract import Budget, TrainingContext
from trainables.detection import Hparams
from trainables.detection.augment import BoxAugment
from trainables.detection.models import build_detector
from trainables.detection.scaling import drawn_side
from trainables.detection.training import start
from trainables.engine.images.canvas import on_canvas, own_shape


@pytest.mark.parametrize(
    ("size", "resolution", "shape"),
    [
        ((640, 480), 1333, (800, 1067)),  # the shorter side is at its most
        ((1920, 480), 1333, (333, 1333)),  # the longer side is
        ((480, 640), 1333, (1067, 800)),
        ((64, 64), 100, (60, 60)),
        ((1000, 1), 64, (1, 64)),
    ],
)
def test_an_image_keeps_its_proportions_within_800_and_1333_pixels(size, resolution, shape) -> None:
    assert own_shape(size, resolution) == shape


def test_training_sides_are_those_of_rt_detr_and_the_same_for_one_batch() -> None:
    sides = {
        drawn_side(640, keep_aspect=False, seed=0, epoch=e, number=n) for e in range(9) for n in range(40)
    }
    assert sides == set(range(480, 801, 32))
    twice = [drawn_side(640, keep_aspect=False, seed=3, epoch=1, number=7) for _ in range(2)]
    assert twice[0] == twice[1]
    assert {drawn_side(64, keep_aspect=False, seed=0, epoch=0, number=n) for n in range(20)} == {64}
    assert {drawn_side(16, keep_aspect=False, seed=0, epoch=0, number=n) for n in range(20)} == {16}
    shrunk = {
        drawn_side(1333, keep_aspect=True, seed=0, epoch=e, number=n) for e in range(9) for n in range(60)
    }
    assert (min(shrunk), max(shrunk)) == (800, 1312)


def test_images_lie_in_the_upper_left_of_a_canvas_of_multiples_of_32() -> None:
    canvas, extents = on_canvas([torch.ones(3, 33, 20), torch.ones(3, 16, 40)])
    assert canvas.shape == (2, 3, 64, 64)
    assert extents.tolist() == [[33 / 64, 20 / 64], [16 / 64, 40 / 64]]
    assert float(canvas[0].sum()) == 3 * 33 * 20
    assert bool((canvas[1, :, :16, :40] == 1).all())


@pytest.mark.parametrize(
    "name", ["detr_tiny", "rt_detr_tiny", "d_fine_tiny", "torchvision/ssdlite320_mobilenet_v3_large"]
)
def test_boxes_of_an_image_that_fills_its_canvas_are_the_same_with_and_without_extents(name: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(name, num_classes=3).model.eval()
    images = torch.rand(1, 3, 64, 64)
    targets = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}]
    plain, with_extents = (detector(images, targets, extents) for extents in (None, torch.ones(1, 2)))
    torch.testing.assert_close(plain["loss"], with_extents["loss"])
    torch.testing.assert_close(
        plain["detections"][0]["boxes"].clamp(0, 1), with_extents["detections"][0]["boxes"].clamp(0, 1)
    )


def test_what_is_filled_up_beside_an_image_changes_nothing_that_detr_finds() -> None:
    torch.manual_seed(0)
    detector = build_detector("detr_tiny", num_classes=3).model.eval()
    image = torch.rand(3, 64, 64)
    targets = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]]), "class_labels": torch.tensor([1])}]
    wide = torch.zeros(1, 3, 64, 128)
    wide[0, :, :, :64] = image
    filled = wide.clone()
    filled[0, :, :, 64:] = 9.0
    extents = torch.tensor([[1.0, 0.5]])
    found = [detector(each, targets, extents)["detections"][0]["boxes"] for each in (wide, filled)]
    # Convolutions at the border see a pixel of it; attention sees none.
    assert float((found[0] - found[1]).detach().abs().max()) < 0.2


@pytest.mark.parametrize("name", ["rt_detr_tiny", "torchvision/ssdlite320_mobilenet_v3_large"])
def test_boxes_are_learnt_on_the_canvas_and_given_in_the_image(name: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(name, num_classes=3).model.eval()
    images = torch.rand(1, 3, 64, 128)
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    in_image = [{"boxes": boxes, "class_labels": torch.tensor([1])}]
    on_whole = [{"boxes": boxes * torch.tensor([0.5, 1.0, 0.5, 1.0]), "class_labels": torch.tensor([1])}]
    half = detector(images, in_image, torch.tensor([[1.0, 0.5]]))
    whole = detector(images, on_whole)
    torch.testing.assert_close(half["loss"], whole["loss"])
    expected = (whole["detections"][0]["boxes"] * torch.tensor([2.0, 1.0, 2.0, 1.0])).clamp(0, 1)
    torch.testing.assert_close(half["detections"][0]["boxes"], expected)


def test_detrs_crop_keeps_a_random_part_and_the_boxes_in_it() -> None:
    augment = BoxAugment("crop", flip=False, seed=0)
    image = torch.arange(100, dtype=torch.uint8).expand(3, 100, 100).contiguous()
    boxes, labels = torch.tensor([[0.4, 0.4, 0.6, 0.6]]), torch.tensor([2])
    shapes = set()
    for number in range(40):
        part, inside, kept = augment(image, boxes, labels, epoch=0, number=number)
        height, width = part.shape[1:]
        shapes.add((height, width))
        assert 64 <= height <= 100
        assert 64 <= width <= 100
        left = int(part[0, 0, 0])
        if len(kept):
            expected = (40 - left) / width, (60 - left) / width
            assert inside[0, [0, 2]].tolist() == pytest.approx([max(0, expected[0]), min(1, expected[1])])
    assert (100, 100) in shapes
    assert len(shapes) > 10


@pytest.mark.parametrize("model", ["detr_tiny", "rt_detr_tiny"])
def test_a_detector_trains_on_images_in_their_own_proportions(tmp_path: Path, model: str) -> None:
    hparams = Hparams(model=model, resize="keep_aspect", augment="crop", batch_size=8, ema_decay=None)
    context = TrainingContext(data="shapes", data_seed=0, seed=0, cache_dir=tmp_path, validation_subset=16)
    training = start(hparams, budget := Budget(epochs=1, subset=16), context)
    epoch = training.batches.epoch(budget, 0)
    batch = epoch.batch(epoch.order[:4])
    assert batch.extents is not None
    assert batch.images.shape[2] % 32 == batch.images.shape[3] % 32 == 0
    assert batch.split(2)[1].extents.shape == (2, 2)
    assert 0 < training.run_epoch(budget)["val_loss"] < 1000
    assert training.portable_model().images.keeps_aspect


def test_a_crop_that_stretches_is_refused_where_proportions_are_kept() -> None:
    with pytest.raises(ValueError, match="augment strong stretches what it crops"):
        Hparams(resize="keep_aspect")
