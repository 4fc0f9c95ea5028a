"""A model without its training says of an image what it said in its test, and reading it runs nothing."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch.nn import functional

import jouletune
from search.cli import run as command
from search.trial.final_outputs import keep_model
from tests.support.box_annotations import annotation, coco_file
from tests.support.market_folders import market_folder
from tests.support.trained_models import Trained, photo_folder, trained_model
from trainables.core.model_folder import (
    ImageInput,
    ModelCard,
    PortableModel,
    UnusableModel,
    read_card,
    write_model,
)
from trainables.engine.inference.files import NoImages, find_images
from trainables.engine.inference.preprocess import Preprocess
from trainables.engine.inference.weights import read_weights, write_weights
from trainables.image_quality.photographs import photographs

ROOT = Path(__file__).parents[2]
SAME = 1e-6


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos") / "photos")


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A ResNet-20 that was trained at 24 px and tested at 32."""
    folder = tmp_path_factory.mktemp("trained")
    return trained_model(
        folder, "classification", {"batch_size": 4}, {"imagefolder": photos}, train_px=24, resolution=32
    )


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """A copy of its folder, to be spoilt."""
    return shutil.copytree(trained.model, tmp_path / "model")


def change_card(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def by_image(said: Any) -> dict[str, dict[str, Any]]:
    return {row["image"]: row for row in said.rows}


@pytest.mark.parametrize(
    ("hparams", "settings"),
    [
        ({"model": "resnet20"}, {"resolution": 32, "train_px": 24}),
        ({"model": "resnet20", "ema_decay": 0.9}, {"resolution": 24}),
        ({"model": "mnist_cnn", "drop_rate": 0.5}, {"resolution": 28}),
        ({"model": "test_vit"}, {"resolution": 40}),  # which takes 32 px of them
        ({"model": "test_efficientnet"}, {"resolution": 32}),
        ({"model": "torchvision/squeezenet1_1"}, {"resolution": 48}),
    ],
    ids=["cnn", "averaged", "dropout", "vit", "efficientnet", "torchvision"],
)
def test_probabilities_are_those_of_the_test(
    photos: Path, tmp_path: Path, hparams: dict[str, Any], settings: dict[str, Any]
) -> None:
    done = trained_model(
        tmp_path, "classification", {"batch_size": 4, **hparams}, {"imagefolder": photos}, **settings
    )
    said = by_image(jouletune.predict(done.model, photos))
    assert len(said) == 24
    tested = done.table("predictions")
    assert len(tested) == 4
    for row in tested:
        found = said[str(photos / row["image"])]
        assert found["predicted"] == row["predicted"]
        assert found["score"] == pytest.approx(row["score"], abs=SAME)
        assert found[f"p_{row['label']}"] == pytest.approx(row["label_score"], abs=SAME)
        assert found["p_dark"] + found["p_light"] == pytest.approx(1, abs=SAME)


def test_images_are_framed_as_the_weights_own_were(photos: Path, tmp_path: Path) -> None:
    """Bicubic, and 90 % of the middle: decoded at 40 px and shrunk to 32 for the patches."""
    network = timm.create_model("test_vit", num_classes=2, img_size=32)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    hparams = {"model": "test_vit", "weights": f"file:{tmp_path / 'weights.pt'}", "batch_size": 4}
    data = {"imagefolder": photos}
    done = trained_model(tmp_path, "classification", hparams, data, resolution=40)
    images = read_card(done.model).images
    cfg = timm.get_pretrained_cfg("test_vit")
    assert (images.crop, images.interpolation) == (cfg.crop_pct, cfg.interpolation)
    assert images.mean == cfg.mean
    tested = done.table("predictions")
    said = jouletune.predict(done.model, [photos / row["image"] for row in tested])
    assert [row["score"] for row in said.rows] == pytest.approx([row["score"] for row in tested], abs=SAME)
    assert read_card(done.model).initial_weights == {"weights": "file:weights.pt", "licence": None}


def test_images_that_a_model_takes_smaller_are_decoded_once_and_shrunk_as_in_training(
    photos: Path, tmp_path: Path
) -> None:
    hparams = {"model": "test_vit", "batch_size": 4}
    done = trained_model(tmp_path, "classification", hparams, {"imagefolder": photos}, resolution=40)
    images = read_card(done.model).images
    assert (images.decoded_px, images.height, images.width) == (40, 32, 32)


def test_half_precision_of_the_test_is_repeated_by_the_same_batch(photos: Path, tmp_path: Path) -> None:
    hparams = {"batch_size": 4}
    done = trained_model(
        tmp_path, "classification", hparams, {"imagefolder": photos}, resolution=32, precision="bf16"
    )
    tested = done.table("predictions")
    said = jouletune.predict(done.model, [photos / row["image"] for row in tested])
    assert [row["score"] for row in said.rows] == pytest.approx([row["score"] for row in tested], abs=SAME)
    assert read_card(done.model).precision == "bf16"


def test_grey_digits_are_recognised_from_files_as_from_the_array(tmp_path: Path) -> None:
    done = trained_model(tmp_path, "classification", {"model": "mnist_cnn", "lr": 0.05}, "digits", epochs=2)
    images = done.training.batches.data.test
    pixels = images.images(torch.arange(20), 8)
    for number, image in enumerate(pixels):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number:02}.png")
    said = jouletune.predict(done.model, f"{tmp_path}/*.png")
    expected = [row["score"] for row in done.table("predictions")[:20]]
    assert [row["score"] for row in said.rows] == pytest.approx(expected, abs=1e-5)
    assert said.columns == ("image", "predicted", "score", *(f"p_{digit}" for digit in "0123456789"))


@pytest.mark.parametrize(
    ("model", "resize"),
    [
        ("rt_detr_tiny", "stretch"),
        ("detr_tiny", "stretch"),
        ("d_fine_tiny", "stretch"),
        ("rt_detr_tiny", "keep_aspect"),
        pytest.param("detr_tiny", "keep_aspect", marks=pytest.mark.slow),
        pytest.param("d_fine_tiny", "keep_aspect", marks=pytest.mark.slow),
    ],
)
def test_boxes_are_those_of_the_test_in_the_pixels_of_the_file(
    model: str, resize: str, tmp_path: Path
) -> None:
    boxes = [annotation(10 + number, 3, (10 + number, 5, 40, 30)) for number in range(20)]
    file = coco_file(tmp_path / "data" / "boxes.json", boxes, num_images=20)
    hparams = {"model": model, "batch_size": 4, "lr": 1e-3, "resize": resize, "augment": "crop"}
    done = trained_model(tmp_path, "detection", hparams, {"coco": file}, resolution=64)
    names = {3: "dog", 7: "cat", 90: "cow"}
    detections = done.table("detections")
    tested = sorted({row["image"] for row in detections})
    said = jouletune.predict(done.model, [file.parent / name for name in tested], threshold=0.05)
    found = [tuple(row.values()) for row in said.rows]
    columns = ("score", "left_px", "top_px", "width_px", "height_px")
    expected = [
        (str(file.parent / row["image"]), names[row["category_id"]], *(row[name] for name in columns))
        for row in sorted(detections, key=lambda row: (row["image"], -row["score"]))
    ]
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one[:2] == other[:2]
        assert one[2:] == pytest.approx(other[2:], abs=1e-3)


def test_an_image_without_boxes_has_a_row_with_empty_cells(tmp_path: Path) -> None:
    file = coco_file(
        tmp_path / "data" / "boxes.json",
        [annotation(10 + n, 3, (10, 5, 40, 30)) for n in range(12)],
        num_images=12,
    )
    done = trained_model(
        tmp_path, "detection", {"model": "rt_detr_tiny", "batch_size": 4}, {"coco": file}, resolution=64
    )
    said = jouletune.predict(done.model, file.parent / "10.png", threshold=0.999)
    assert said.rows == [{"image": str(file.parent / "10.png"), **dict.fromkeys(said.columns[1:])}]


def test_qualities_are_those_of_the_test(tmp_path: Path) -> None:
    pixels, ratings = photographs()
    folder = tmp_path / "rated"
    folder.mkdir()
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "score", "reference"])
        for row in range(0, 440, 5):
            name = f"{row:03}.png"
            Image.fromarray(pixels[row].permute(1, 2, 0).numpy()).save(folder / name)
            writer.writerow([name, ratings.scores[row], ratings.references[row]])
    hparams = {"model": "test_resnet", "width": 56, "train_patches": 1, "score_grid": 2, "batch_size": 16}
    data = {"quality": folder / "scores.csv", "side": 64}
    done = trained_model(tmp_path, "image_quality", hparams, data, resolution=48)
    said = by_image(jouletune.predict(done.model, folder))
    tested = done.table("predicted_scores")
    assert len(tested) > 8
    for row in tested:
        assert said[str(folder / row["image"])]["score"] == pytest.approx(row["predicted"], abs=1e-5)


def test_features_of_persons_are_those_of_the_test(tmp_path: Path) -> None:
    root = market_folder(tmp_path / "market")
    hparams = {"model": "test_resnet", "batch_size": 16}
    done = trained_model(tmp_path, "person_reid", hparams, {"market": root}, resolution=64)
    training, data = done.training, done.training.batches._data
    batch = next(iter(training.batches.test()))
    with torch.inference_mode():
        expected = functional.normalize(training.model.eval()(batch.images)["features"], dim=1)
    paths = [root / data.splits.test.name(number) for number in range(len(batch))]
    said = jouletune.predict(done.model, paths)
    found = torch.tensor([[row[f"f{number}"] for number in range(expected.shape[1])] for row in said.rows])
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_card_says_what_the_model_is_and_where_it_comes_from(trained: Trained, photos: Path) -> None:
    card = read_card(trained.model)
    assert (card.trainable, card.kind, card.model) == ("classification", "classification", "resnet20")
    assert card.classes == ("dark", "light")
    assert (card.metric, card.precision) == ("val_accuracy", "fp32")
    assert card.test["test_accuracy"] == trained.training.test()["test_accuracy"]
    assert card.training == {
        "run": "r",
        "trial": "trial-0003",
        "seed": 0,
        "hparams": {"batch_size": 4},
        "epoch": 1,
        "trainable": "classification",
    }
    assert card.initial_weights == {"weights": "none", "licence": None}
    assert card.num_values == sum(value.numel() for value in trained.training.model.state_dict().values())
    assert str(photos) not in (trained.model / "model.json").read_text()  # a path of this machine


def test_a_module_and_its_transform_need_no_more_than_torch(trained: Trained, photos: Path) -> None:
    model = jouletune.load_model(trained.model.parent)  # the folder that model/ is in
    path = photos / "dark" / "01.jpg"
    image = model.transform(path)
    assert image.shape == (3, 32, 32)
    with Image.open(path) as opened:  # without the reduced decoding of a file the pixels are near
        assert float((model.transform(opened) - image).abs().mean()) < 0.1
    logits = model.module(image[None])
    assert logits.shape == (1, 2)
    assert not model.module.training


def test_weights_in_fp16_are_half_as_large_and_keep_what_fp16_has_no_number_for(tmp_path: Path) -> None:
    weights = {
        "a": torch.linspace(-1, 1, 1000),
        "variance": torch.tensor([1.0, 70_000.0]),
        "n": torch.tensor(3),
    }
    full = tmp_path / "full.safetensors"
    half = tmp_path / "half.safetensors"
    assert write_weights(full, weights, "fp32")[1] == write_weights(half, weights, "fp16")[1] == 1003
    assert half.stat().st_size < 0.56 * full.stat().st_size
    digest = write_weights(half, weights, "fp16")[0]
    found = read_weights(half, digest)
    assert load_file(half)["a"].dtype == torch.float16
    assert torch.equal(found["variance"], weights["variance"])
    assert torch.equal(found["n"], weights["n"])
    assert found["a"].dtype == torch.float32
    assert torch.allclose(found["a"], weights["a"], atol=5e-4)


def test_weights_that_share_memory_or_lie_channels_last_come_back(tmp_path: Path) -> None:
    one = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    digest, _ = write_weights(tmp_path / "w", {"a": one, "b": one, "c": one[1:]}, "fp32")
    found = read_weights(tmp_path / "w", digest)
    assert torch.equal(found["a"], one)
    assert torch.equal(found["b"], one)
    assert torch.equal(found["c"], one[1:])


# Folders that hold no model, or one that was spoilt.


def test_a_folder_without_a_model_names_those_below_it(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(UnusableModel, match=r"has no model.json; a model is the folder model/"):
        jouletune.load_model(tmp_path)
    shutil.copytree(trained.model, tmp_path / "promotion" / "trials" / "trial-0001" / "model")
    with pytest.raises(UnusableModel, match=r"models below it: .*trial-0001/model$"):
        jouletune.load_model(tmp_path)
    with pytest.raises(UnusableModel, match=r"there is no .*promotoin; did you mean .*promotion\?"):
        jouletune.load_model(tmp_path / "promotoin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[1, 2]", "is of format 'list', this version reads 1"),
        ('{"format": 2}', "is of format 2, this version reads 1"),
        ('{"format": 1}', "incomplete or has other fields"),
        ("[" * 200_000, "cannot be read"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "cannot be read"),
    ],
)
def test_a_card_that_is_none_is_refused(copied: Path, text: str, message: str) -> None:
    (copied / "model.json").write_text(text)
    with pytest.raises(UnusableModel, match=message):
        jouletune.load_model(copied)


def test_every_problem_of_a_card_comes_in_one_message(copied: Path) -> None:
    images = {"channels": 2, "height": 0, "width": 32, "mean": [0.1], "std": [0.0, 1.0], "decoded_px": 32}
    change_card(copied, images={**images, "crop": 1.5, "interpolation": "cubic"}, kind="poem", classes=[])
    with pytest.raises(UnusableModel) as caught:
        jouletune.load_model(copied)
    for part in (
        "height must be",
        "channels must be 1 or 3",
        "mean must be 2 numbers",
        "std must be above 0",
    ):
        assert part in str(caught.value)
    for part in ("crop must be above 0", "interpolation must be one of bilinear", "kind must be one of"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["os", "../evil", "search.api", "/tmp/evil", "core", "engine", "template"])
def test_a_card_cannot_name_code(copied: Path, name: str) -> None:
    change_card(copied, trainable=name)
    with pytest.raises(UnusableModel, match="which is not here"):
        jouletune.load_model(copied)


def test_a_trainable_of_the_users_own_is_run_only_if_it_is_named(copied: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    own = copied / "my_model.py"
    own.write_text(
        f"open({str(mark)!r}, 'w').close()\n"
        "from dataclasses import dataclass, replace\n"
        "from trainables.core.load import load_trainable\n"
        "TRAINABLE = replace(load_trainable('classification'))\n"
    )
    change_card(copied, trainable="my_model.py")
    with pytest.raises(UnusableModel, match="name its file with --trainable"):
        jouletune.load_model(copied)
    assert not mark.exists()
    assert jouletune.load_model(copied, trainable=own).card.classes == ("dark", "light")
    assert mark.exists()


def test_nothing_in_the_folder_is_executed(copied: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("__init__.py", "sitecustomize.py", "model.py", "torch.py", "classification.py"):
        (copied / name).write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n")
    assert jouletune.predict(copied, photos / "dark").rows
    assert not (tmp_path / "mark").exists()


def test_a_flipped_bit_of_the_weights_is_found(copied: Path) -> None:
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (copied / "model.safetensors").write_bytes(content)
    with pytest.raises(UnusableModel, match=r"is not the file that model\.json was written for"):
        jouletune.load_model(copied)


def test_a_pickle_in_place_of_the_weights_is_not_loaded(copied: Path) -> None:
    import hashlib

    path = copied / "model.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    change_card(copied, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(UnusableModel, match=r"is not a safetensors file"):
        jouletune.load_model(copied)
    path.unlink()
    with pytest.raises(UnusableModel, match="cannot be read: No such file"):
        jouletune.load_model(copied)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["dark"]}, r"head.*is \(2, 64\), the model has \(1, 64\)"),
        ({"model": "resnet21"}, "no model is named 'resnet21'"),
        ({"model": "hf-hub:somebody/something"}, "no model is named"),
        ({"model": "mnist_cnn"}, r"is missing"),
        ({"build": {}}, "cannot be built from model.json: KeyError: 'resolution'"),
        ({"build": 7}, "build must be a mapping, got 7"),
    ],
)
def test_weights_of_another_model_are_refused(copied: Path, changes: dict[str, Any], message: str) -> None:
    change_card(copied, **changes)
    with pytest.raises(UnusableModel, match=message):
        jouletune.load_model(copied)


@pytest.mark.slow  # 12 s
def test_a_detector_is_built_of_its_configuration_and_fetches_nothing(tmp_path: Path) -> None:
    done = trained_model(tmp_path, "detection", {"model": "detr_tiny", "batch_size": 16}, "shapes")
    config = json.loads((done.model / "model.json").read_text())["build"]["config"]
    evil = {**config, "auto_map": {"AutoModelForObjectDetection": "evil--evil.Model"}}
    change_card(done.model, build={"config": evil})
    classes = jouletune.load_model(done.model).card.classes
    change_card(done.model, classes=["one"])
    with pytest.raises(UnusableModel, match=f"it finds {len(classes)} classes, and 1 are named"):
        jouletune.load_model(done.model)
    change_card(done.model, classes=classes, build={"config": {**config, "model_type": "yolos"}})
    with pytest.raises(UnusableModel, match="it is of the kind 'yolos'; supported are"):
        jouletune.load_model(done.model)


def test_weights_that_are_no_numbers_are_said_so(copied: Path, photos: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["head.bias"] = torch.tensor([math.nan, 0.0])
    import hashlib

    content = save(weights)
    (copied / "model.safetensors").write_bytes(content)
    change_card(copied, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(UnusableModel, match="its weights have diverged"):
        jouletune.predict(copied, photos / "dark")


def test_a_trainable_without_a_model_of_its_own_leaves_no_folder(tmp_path: Path) -> None:
    note = keep_model(
        tmp_path / "model", object(), {"trainable": "toy"}, epoch=1, metric="m", value=1.0, test=None
    )  # type: ignore[arg-type]
    assert note == {}
    assert not (tmp_path / "model").exists()


def test_a_disk_that_is_full_is_a_note_and_the_training_goes_on(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("in the way")
    note = keep_model(
        tmp_path / "model",
        trained.training,
        {"trainable": "classification"},
        epoch=1,
        metric="m",
        value=1.0,
        test=None,
    )
    assert "not written (" in note["model"]


def test_a_model_without_model_json_is_not_whole(tmp_path: Path, trained: Trained) -> None:
    """Weights come first: a kill between the two files leaves none that is read."""
    portable = trained.training.portable_model()
    assert isinstance(portable, PortableModel)

    def killed(path: Path, weights: Any, fmt: str) -> tuple[str, int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_model(tmp_path / "model", portable, killed, trainable="classification")
    assert list((tmp_path / "model").iterdir()) == []
    card = write_model(tmp_path / "model", portable, write_weights, trainable="classification")
    assert isinstance(card, ModelCard)
    assert read_card(tmp_path / "model") == card


# Files that are named, and those that cannot be read.


def test_folders_files_and_patterns_name_each_image_once(tmp_path: Path) -> None:
    for name in ("a.png", "b/c.JPG", "b/.hidden.png", "b/notes.txt", "@eaDir/x.png", "d[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_images([tmp_path / "a.png", tmp_path, f"{tmp_path}/*/*.JPG", f"{tmp_path}/d[1].png"])
    assert [path.name for path in found.paths] == ["a.png", "c.JPG", "d[1].png"]
    assert found.num_others == 1


def test_links_are_followed_as_in_training_and_dead_ones_are_images_that_cannot_be_read(
    trained: Trained, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "linked").symlink_to(photos / "dark")
    (tmp_path / "linked-again").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "unmounted" / "gone.jpg")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "unmounted" / "gone.txt")
    number = len(list((photos / "dark").iterdir()))
    said = jouletune.predict(trained.model, tmp_path)
    assert {Path(row["image"]).parent for row in said.rows} == {tmp_path / "linked"}
    assert len(said.rows) == number
    assert list(said.unreadable) == [str(tmp_path / "gone.jpg")]
    assert said.num_images == number + 1
    assert [path.name for path in find_images([f"{tmp_path}/*.jpg"]).paths] == ["gone.jpg"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["nothing.png"], "there is no .*nothing.png"),
        (["*.gif", "nothing.png"], r"\*.gif matches no image; there is no .*nothing.png"),
        (["texts", "empty"], "no images among 1 files in .*/texts, .*/empty; known endings: "),
        (["empty"], "there are no images in .*/empty, and no other files"),
    ],
)
def test_names_without_images_are_refused(tmp_path: Path, named: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(NoImages, match=message):
        find_images([f"{tmp_path}/{name}" for name in named])


def test_images_that_cannot_be_read_are_counted_and_named(
    trained: Trained, photos: Path, tmp_path: Path
) -> None:
    good = photos / "dark" / "01.jpg"
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((40, 40), 30_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    shutil.copy(good, tmp_path / "good.jpg")
    said = jouletune.predict(trained.model, tmp_path)
    assert [Path(row["image"]).name for row in said.rows] == ["good.jpg"]
    assert {Path(path).name for path in said.unreadable} == {"cut.jpg", "text.png", "empty.png", "deep.png"}
    reason = said.unreadable[str(tmp_path / "deep.png")]
    assert "16-bit values, and the training data had none" in reason
    assert said.num_images == 5


def test_an_opened_image_of_16_bits_is_scaled_as_its_file_is(tmp_path: Path) -> None:
    images = ImageInput(
        channels=1,
        height=8,
        width=8,
        mean=(0.0,),
        std=(1.0,),
        decoded_px=8,
        deep_ranges={"16-bit": (0.0, 4095.0)},
    )
    transform = Preprocess(images)
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 2048, dtype=np.uint16)).save(path)
    with Image.open(path) as opened:
        assert transform(opened).mean().item() == pytest.approx(128 / 255, abs=1e-6)
        assert torch.equal(transform(opened), transform(path))  # loaded by now
        with pytest.raises(OSError, match="16-bit values, and the training data had none"):
            Preprocess(replace(images, deep_ranges={}))(opened)


def test_a_place_that_cannot_take_the_table_is_refused_before_any_image_is_read(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert command("predict", [str(copied), "photos", "--out", str(tmp_path / "out")]) == 2
    assert "out is a folder; name a file in it, such as" in capsys.readouterr().err
    with pytest.raises(UnusableModel, match="is a folder: name a file in it"):
        jouletune.export_model(copied, onnx=tmp_path / "out")


@pytest.mark.parametrize("kind", ["detection", "quality"])
def test_outputs_of_another_kind_than_the_card_says_are_refused(
    copied: Path, photos: Path, kind: str
) -> None:
    change_card(copied, kind=kind)
    with pytest.raises(UnusableModel, match=f"resnet20 does not give the outputs of {kind}"):
        jouletune.predict(copied, photos / "dark")


def test_a_pointer_of_git_lfs_in_place_of_the_weights_is_named(copied: Path) -> None:
    (copied / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UnusableModel, match="is a pointer of Git LFS; fetch the weights with `git lfs pull`"):
        jouletune.load_model(copied)


def test_a_card_that_an_editor_saved_with_a_byte_order_mark_is_read(copied: Path) -> None:
    before = read_card(copied)
    path = copied / "model.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_card(copied) == before


def test_a_device_that_is_not_there_is_refused(trained: Trained, photos: Path) -> None:
    for device in ("cuda:99", "warp"):
        with pytest.raises(UnusableModel, match=f"device {device}: "):
            jouletune.predict(trained.model, photos, device=device)


# A fresh process.

_SCRIPT = """
import sys, jouletune
said = jouletune.predict(sys.argv[1], sys.argv[2])
print(len(said.rows), *sorted(sys.modules))
"""


def test_predicting_imports_nothing_of_the_search(trained: Trained, photos: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(trained.model), str(photos)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    count, *modules = done.stdout.split()
    assert count == "24"
    roots = {name.partition(".")[0] for name in modules}
    assert roots & {"search", "ray", "optuna", "plotly", "pydantic", "rich"} == set()


@pytest.mark.slow  # 8 s: three processes
def test_the_command_answers_as_csv_and_imports_of_the_search_its_printing_alone(
    trained: Trained, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_text("no image")
    (tmp_path / "=cmd.png").write_bytes((photos / "dark" / "00.png").read_bytes())
    script = (
        "import sys\nfrom search.cli import main\nstatus = main(sys.argv[1:])\n"
        "print(*sorted(sys.modules), file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "predict", str(trained.model), str(photos), "=cmd.png", "broken.png"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 25
    assert rows[-1]["image"] == "'=cmd.png"  # no cell is a formula
    tested = {row["image"]: row for row in trained.table("predictions")}
    found = {row["image"]: row for row in rows}
    for name, row in tested.items():
        assert float(found[str(photos / name)]["score"]) == pytest.approx(row["score"], abs=SAME)
    *said, modules = done.stderr.splitlines()
    assert "warning: 1 of 26 images cannot be read, and have no row:" in said
    assert any(line.startswith("  broken.png: ") for line in said)
    ours = {name for name in modules.split() if name.partition(".")[0] in ("search", "ray", "optuna")}
    assert ours == {"search", "search.cli", "search.cli.parser", "search.cli.predict", "search.printable"}
