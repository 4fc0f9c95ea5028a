"""Images are framed as the images were that a model's weights come from: its crop and interpolation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
import torchvision
from PIL import Image

from tests.support.weight_files import fill_hub_cache
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import load_trainable
from trainables.engine.classifiers.models import framing_of
from trainables.engine.images.data import load_data
from trainables.engine.images.resolution import WHOLE_MIDDLE, Framing, squared_image


def photo(width: int, height: int) -> Image.Image:
    """Gradients and waves of 157 px: what any way of resizing keeps near."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = 255 * columns / width, 255 * rows / height
    blue = 127 + 127 * np.sin((rows + columns) / 25)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("model", "framing"),
    [
        ("resnet18", Framing(0.95, "bicubic")),
        ("mobilenetv3_large_100", Framing(0.875, "bicubic")),
        ("vit_small_patch16_224", Framing(0.9, "bicubic")),
        ("dm_nfnet_f0", Framing(0.9, "bicubic", is_squashed=True)),
        ("torchvision/mobilenet_v3_small", Framing(224 / 256, "bilinear")),
        ("resnet20", WHOLE_MIDDLE),
    ],
)
def test_a_models_framing_is_its_librarys(model: str, framing: Framing) -> None:
    assert framing_of(model, "file:/anywhere") == framing
    assert framing_of(model, "none") == WHOLE_MIDDLE


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (256, 256), (1000, 333)])
@pytest.mark.parametrize("model", ["mobilenetv3_large_100", "resnet18", "dm_nfnet_f0"])
def test_images_are_those_of_timms_own_transform(model: str, size: tuple[int, int]) -> None:
    cfg = timm.get_pretrained_cfg(model)
    assert cfg is not None
    config = timm.data.resolve_data_config(pretrained_cfg=cfg.to_dict())
    wanted = timm.data.create_transform(**{**config, "mean": (0, 0, 0), "std": (1, 1, 1)})(photo(*size))
    found = np.asarray(
        squared_image(photo(*size), wanted.shape[-1], framing_of(model, "hub")), dtype=np.float32
    )
    difference = np.abs(found / 255 - wanted.permute(1, 2, 0).numpy())
    # timm rounds the side to be resized to and the crop's corner to pixels: half a pixel apart.
    assert difference[..., :2].max() < 0.01
    assert difference[..., 2].mean() < 0.05


def test_torchvisions_own_transform_gives_the_same_images() -> None:
    weights = torchvision.models.get_model_weights("mobilenet_v3_small").DEFAULT
    seen = weights.transforms()
    plain = torchvision.transforms.v2.functional.pil_to_tensor(photo(400, 300))
    wanted = seen(plain) * torch.tensor(seen.std)[:, None, None] + torch.tensor(seen.mean)[:, None, None]
    framing = framing_of("torchvision/mobilenet_v3_small", "hub")
    found = np.asarray(squared_image(photo(400, 300), 224, framing), dtype=np.float32) / 255
    assert np.abs(found - wanted.permute(1, 2, 0).numpy())[..., :2].max() < 0.01


def test_without_a_framing_the_whole_middle_is_kept() -> None:
    given = photo(400, 300)
    middle = given.resize((64, 64), Image.Resampling.BILINEAR, box=(50, 0, 350, 300))
    assert np.array_equal(np.asarray(squared_image(given, 64)), np.asarray(middle))


def test_the_interpolation_is_the_named_one() -> None:
    given = photo(60, 60)
    cubic = given.resize((90, 90), Image.Resampling.BICUBIC)
    found = np.asarray(squared_image(given, 90, Framing(1.0, "bicubic")))
    assert np.array_equal(found, np.asarray(cubic))
    assert not np.array_equal(found, np.asarray(squared_image(given, 90)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, shift in (("a", 0), ("b", 90)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            shifted = photo(90 + number, 80).point(lambda value, shift=shift: min(255, value + shift))
            shifted.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def context(tmp_path: Path, photos: Path) -> TrainingContext:
    return TrainingContext(
        data={"imagefolder": str(photos)}, data_seed=0, seed=0, cache_dir=tmp_path / "cache", resolution=64
    )


def test_two_framings_of_one_folder_are_two_files_of_the_cache(tmp_path: Path, photos: Path) -> None:
    given = context(tmp_path, photos)
    rows = torch.arange(4)
    whole = load_data(given).train.images(rows, 64)
    cropped = load_data(given, Framing(0.875, "bicubic")).train.images(rows, 64)
    assert not torch.equal(whole, cropped)
    assert torch.equal(load_data(given).train.images(rows, 64), whole)
    names = sorted(path.stem.split("-", 2)[2] for path in (tmp_path / "cache").glob("*.pixels"))
    assert names == ["64px", "bicubic-0.875-64px"]


def test_a_training_of_weights_says_how_its_images_are_framed(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    fill_hub_cache(tmp_path / "hf")
    hparams = load_trainable("classification").hparams(model="resnet10t", weights="hub", batch_size=8)
    given = context(tmp_path, photos)
    notes = start(hparams, Budget(epochs=1), given).notes()
    assert notes["framing"] == (
        "the middle square, 87.5% of its side, bicubic: as the weights' own images were"
    )
    assert "framing" not in start(replace(hparams, weights="none"), Budget(epochs=1), given).notes()
