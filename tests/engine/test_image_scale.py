"""Image size as a hyperparameter: a share of the resolution, in training, scores and the model left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from search.space import load_space
from trainables.classification import Hparams
from trainables.classification.training import start
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.images.batches import Batch
from trainables.engine.images.data import load_data
from trainables.engine.supervised import SupervisedTraining

SPACES = Path(__file__).parents[2] / "spaces"


def started(folder: Path, data: str, *, top: int | None, **hparams: object) -> SupervisedTraining[Batch]:
    context = TrainingContext(
        data=data, data_seed=0, seed=0, cache_dir=folder / "cache", resolution=top, num_workers=1
    )
    return start(Hparams(**hparams), Budget(epochs=1), context)  # type: ignore[arg-type]


def photos(folder: Path) -> str:
    for name, (width, height) in {"wide": (90, 60), "tall": (60, 90)}.items():
        (folder / name).mkdir()
        for number in range(20):
            Image.new("RGB", (width, height), (number, 10 * number, 100)).save(
                folder / name / f"{number}.png"
            )
    return f"imagefolder:{folder}"


def sides(training: SupervisedTraining[Batch], resolution: int | None) -> dict[str, int]:
    """Sides of the images of each part, for a rung of this resolution."""
    budget = Budget(epochs=1, resolution=resolution)
    steps = training.batches.epoch(budget, 0)
    trained = steps.batch(steps.steps(4, drop_single=False)[0])
    scored, tested = next(iter(training.batches.validation(budget))), next(iter(training.batches.test()))
    return {"train": side(trained), "val": side(scored), "test": side(tested)}


def side(batch: Batch) -> int:
    assert batch.images.shape[2] == batch.images.shape[3]
    return batch.images.shape[3]


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        (1.0, {"train": 32, "val": 64, "test": 64}),
        (0.75, {"train": 24, "val": 48, "test": 48}),
        (0.5, {"train": 16, "val": 32, "test": 32}),
        (0.001, {"train": 1, "val": 1, "test": 1}),
    ],
)
def test_images_of_all_parts_are_a_share_of_the_rungs(
    tmp_path: Path, scale: float, wanted: dict[str, int]
) -> None:
    training = started(tmp_path, photos(tmp_path), top=64, model="resnet20", image_scale=scale)
    assert sides(training, 32) == wanted
    assert training.notes().get("resolution") is None


def test_images_of_one_size_of_their_own_are_scaled_too(tmp_path: Path) -> None:
    training = started(tmp_path, "digits", top=None, model="resnet20", image_scale=0.5)
    assert sides(training, None) == {"train": 4, "val": 4, "test": 4}  # they have 8 px


def test_a_model_that_takes_some_sizes_gets_the_nearest_to_the_share(tmp_path: Path) -> None:
    training = started(tmp_path, photos(tmp_path), top=96, model="test_vit", image_scale=0.6)
    assert sides(training, 64) == {"train": 32, "val": 48, "test": 48}  # patches of 16, of 38 and 58 px
    assert training.notes()["resolution"] == (
        "32 px instead of 38 px, 48 px instead of 58 px: the nearest size that this model takes"
    )


def test_the_model_that_is_left_takes_images_of_that_size(tmp_path: Path) -> None:
    training = started(tmp_path, photos(tmp_path), top=64, model="test_vit", image_scale=0.5)
    model = training.portable_model()
    assert model is not None
    assert (model.images.height, model.images.decoded_px, model.build["resolution"]) == (32, 64, 32)


@pytest.mark.parametrize("scale", [0, -0.5, 1.5])
def test_a_share_is_above_0_and_at_most_1(scale: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"image_scale must be in (0, 1], got {scale}")):
        Hparams(image_scale=scale)


def test_image_size_is_an_ablation() -> None:
    space = load_space("ablations", overrides=["search.chosen_ablations=image_size"], spaces_dir=SPACES)
    assert space.ablations["image_size"] == ({"image_scale": (0.5, 0.75)},)


def test_a_picture_for_people_is_the_whole_image_from_its_file(tmp_path: Path) -> None:
    """Not the square of 32 px that the model sees."""
    (tmp_path / "large").mkdir()
    context = TrainingContext(
        data=photos(tmp_path / "large"),
        data_seed=0,
        seed=0,
        cache_dir=tmp_path / "cache",
        resolution=32,
        num_workers=1,
    )
    data = load_data(context)
    wide = data.class_names.index("wide")
    for index, label in enumerate(data.test.labels.tolist()):
        picture = data.test_picture(index, 80)
        assert picture is not None
        assert picture.size == ((80, 53) if label == wide else (53, 80))


def test_a_picture_of_images_that_are_not_in_files_is_as_they_are(tmp_path: Path) -> None:
    context = TrainingContext(
        data="digits", data_seed=0, seed=0, cache_dir=tmp_path, resolution=32, num_workers=1
    )
    picture = load_data(context).test_picture(0, 160)
    assert picture is not None
    assert (picture.mode, picture.size) == ("L", (8, 8))
