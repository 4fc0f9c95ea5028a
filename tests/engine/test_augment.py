"""Augmentation of batches."""

from __future__ import annotations

import pytest
import torch

from trainables.engine.images.augment import Augment
from trainables.engine.images.batches import Scaling
from trainables.engine.images.data import Statistics
from trainables.engine.images.shifting import _by_pixel_numbers, _through_windows

IMAGES = torch.arange(4 * 2 * 16 * 16, dtype=torch.int64).view(4, 2, 16, 16).remainder(256).to(torch.uint8)

AS_THEY_ARE = Scaling(Statistics(mean=(0.0, 0.0), std=(1.0, 1.0)), torch.device("cpu"))  # from 0 to 1


def augmented(augment, images, draws):
    images = augment.moved(images, draws).float()
    return AS_THEY_ARE.scaled(images, augment.light(images, draws))


def test_no_augmentation_changes_nothing():
    augment = Augment.named("none", flip=False)
    draws = augment.draws(4, seed=0, epoch=0)
    torch.testing.assert_close(augmented(augment, IMAGES, draws), IMAGES.float() / 255)


@pytest.mark.parametrize("strength", ["light", "strong", 0.3])
def test_an_example_is_augmented_the_same_alone_and_in_any_batch(strength):
    augment = Augment.named(strength, flip=True)
    draws = augment.draws(4, seed=1, epoch=2)
    together = augmented(augment, IMAGES, draws)
    alone = [augmented(augment, IMAGES[i : i + 1], draws[i : i + 1]) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.allclose(together, IMAGES.float() / 255)


def test_draws_depend_on_seed_and_epoch():
    augment = Augment(0.5)
    first = augment.draws(10, seed=0, epoch=0)
    assert torch.equal(first, augment.draws(10, seed=0, epoch=0))
    assert not torch.equal(first, augment.draws(10, seed=0, epoch=1))
    assert not torch.equal(first, augment.draws(10, seed=1, epoch=0))


def test_a_shift_moves_the_image_and_reflects_its_border():
    row = torch.arange(8, dtype=torch.uint8).expand(1, 1, 8, 8)  # strength 1 reaches 2 of 8 px
    draws = torch.tensor([[0.5, 0.0, 0.9, 0.5, 0.5], [0.5, 0.99, 0.9, 0.5, 0.5]])
    moved = Augment(1.0).moved(row.expand(2, 1, 8, 8), draws)
    assert moved[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 3, 4, 5]
    assert moved[1, 0, 0].tolist() == [2, 3, 4, 5, 6, 7, 6, 5]


def test_flip_mirrors_those_whose_draw_is_below_one_half():
    row = torch.arange(8, dtype=torch.uint8).expand(2, 1, 8, 8)
    draws = torch.full((2, 5), 0.5)
    draws[0, 2] = 0.49
    moved = Augment(0.0, flip=True).moved(row, draws)
    assert moved[0, 0, 0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert moved[1, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_brightness_and_contrast_keep_within_four_tenths():
    grey = torch.full((2, 1, 4, 4), 0.5)
    draws = torch.tensor([[0.5, 0.5, 0.9, 0.0, 0.5], [0.5, 0.5, 0.9, 1.0, 0.0]])
    light = Augment(1.0).light(grey, draws)
    assert light.factor.flatten().tolist() == pytest.approx([0.6, 1.4 * 0.6])
    assert (light.factor * 0.5 + light.offset).flatten().tolist() == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("sides", [(5, 7), (16, 16), (40, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_windows_on_a_cpu_show_what_a_gpu_picks_pixel_by_pixel(sides, channels):
    height, width = sides
    chance = torch.Generator().manual_seed(height)
    images = torch.randint(0, 256, (9, height, width, channels), dtype=torch.uint8, generator=chance)
    down = torch.randint(-height + 1, height, (9,), generator=chance)
    right = torch.randint(-width + 1, width, (9,), generator=chance)
    args = images.permute(0, 3, 1, 2), down, right, torch.arange(9) % 2 == 0
    assert torch.equal(_through_windows(*args), _by_pixel_numbers(*args))
    nowhere = torch.zeros(9, dtype=torch.long)
    assert torch.equal(_through_windows(args[0], nowhere, nowhere, torch.zeros(9, dtype=torch.bool)), args[0])


def test_a_crop_pads_with_black_and_moves_no_further_than_the_padding():
    row = torch.arange(1, 9, dtype=torch.uint8).expand(3, 1, 8, 8)  # an eighth of 8 px: one pixel
    draws = torch.tensor([[0.5, 0.0, 0.9, 0.5, 0.5], [0.5, 0.99, 0.9, 0.5, 0.5], [0.0, 0.99, 0.1, 0.5, 0.5]])
    moved = Augment.named("crop", flip=True).moved(row, draws)
    assert moved[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert moved[1, 0, 0].tolist() == [2, 3, 4, 5, 6, 7, 8, 0]
    assert moved[2, 0, 0].tolist() == [0] * 8  # moved up: the first row is black
    assert moved[2, 0, 1].tolist() == [0, 8, 7, 6, 5, 4, 3, 2]  # mirrored after the crop


def test_a_crop_of_a_tall_picture_pads_both_sides_alike():
    tall = torch.full((1, 1, 16, 8), 7, dtype=torch.uint8)  # 2 px of 16
    moved = Augment.named("crop", flip=False).moved(tall, torch.zeros(1, 5))
    assert (moved == 7).sum() == 14 * 6
    assert Augment.named("crop", flip=False, padding=10 / 256).padding == 10 / 256


def test_a_crop_leaves_the_light_as_it_is():
    augment = Augment.named("crop", flip=False)
    draws = augment.draws(4, seed=0, epoch=0)
    assert torch.equal(augment.light(IMAGES.float(), draws).factor, torch.ones(1, 1))
