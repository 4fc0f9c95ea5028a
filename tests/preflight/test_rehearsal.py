"""Preflight starts every kind of point of a space without training, and names all that keeps one from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from search.preflight import Report, request_for
from search.preflight.node_checks import examine
from search.preflight.points import points_of, rehearsed_points
from tests.support.toy_runs import defaults_of, made_space
from trainables.classification import TRAINABLE, Hparams
from trainables.core.contract import Budget, DataError, TrainingContext

IMAGES_PX = 24


def looked_at(folder: Path, text: str) -> Report:
    space = made_space(folder, text)
    return examine(request_for(space, source="models.yaml", folder=folder / "results" / "run"))


def problems(folder: Path, text: str) -> list[str]:
    return [problem.what for problem in looked_at(folder, text).problems]


def images(folder: Path, classes: tuple[str, ...] = ("ants", "bees")) -> Path:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            image = Image.new("RGB", (IMAGES_PX, IMAGES_PX), (index * 9, number * 99, 7))
            image.save(folder / name / f"{index}.png")
    return folder


def test_faults_of_five_kinds_are_named_at_once(tmp_path: Path) -> None:
    images(tmp_path / "photos", ("ants",))
    found = problems(
        tmp_path,
        f"""
parameters:
  model: {{values: [resnet20, resnet_18, test_vit]}}
  weights: {{values: [none, "file:{tmp_path}/mine.pt"]}}
  optimizer: {{values: [sgd, sdg]}}
  layer_decay: {{values: [1.0, 0.5]}}
search:
  data: imagefolder:{tmp_path}/photos
  ladder: {{epochs: [1, 2], resolution: [16, 32]}}
  when: {{layer_decay: {{model: [test_vit]}}}}
""",
    )
    assert len([text for text in found if "no model is named 'resnet_18'" in text]) == 1
    assert len([text for text in found if "mine.pt is not in" in text]) == 1
    assert len([text for text in found if text.startswith("data: ")]) == 1
    assert len([text for text in found if "no optimiser is named 'sdg'" in text]) == 1
    assert len(found) == 4


def test_what_all_numbers_at_an_end_come_to_is_found(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
parameters: {batch_size: {values: [1, 16]}, model: {value: test_resnet}}
search: {data: digits, ladder: {epochs: [1], subset: [0.2]}}
""",
    )
    (text,) = found
    assert text.startswith("trial: batch_size 1 does not start: Expected more than 1 value per channel")


@pytest.mark.parametrize(
    ("subset", "words"),
    [("[5, 500]", "a subset of 5 examples was asked for"), ("[20, 5000]", "a subset of 5000 examples")],
)
def test_a_rung_that_the_data_cannot_fill_is_found(tmp_path: Path, subset: str, words: str) -> None:
    text = f"parameters: {{lr: {{min: 0.1, max: 0.2}}}}\nsearch: {{data: digits, ladder: {{epochs: [1, 2], subset: {subset}}}}}"  # noqa: E501
    (found,) = problems(tmp_path, text)
    assert words in found


def test_sides_that_a_model_does_not_take_are_noted_for_every_rung(tmp_path: Path) -> None:
    report = looked_at(
        tmp_path,
        """
parameters: {model: {values: [resnet20, test_vit]}}
search: {data: digits, ladder: {epochs: [1, 2], resolution: [20, 40]}}
""",
    )
    assert report.problems == ()
    text = "16 px instead of 20 px, 32 px instead of 40 px: the nearest size that this model takes"
    assert f"model test_vit: {text}" in report.notes


OWN = """
from dataclasses import dataclass
from trainables.core.contract import Trainable
from trainables.toy import ToyTraining
@dataclass(frozen=True, kw_only=True)
class Hparams:
    lr: float = 0.1
    batch_size: int = 8
    noise: float = 0.0
def start(hparams, budget, context):
    if hparams.lr > 1:
        raise RuntimeError("it explodes")
    return ToyTraining(hparams, context)
TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max", start=start)
"""


def test_a_trainable_of_ones_own_is_started_too(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    text = "parameters: {lr: {min: 0.1, max: HIGH}}\nsearch: {trainable: ./own.py, data: none}\n"
    assert problems(tmp_path, text.replace("HIGH", "0.9")) == []
    assert problems(tmp_path, text.replace("HIGH", "1.5")) == [
        "trial: lr 1.5 does not start: RuntimeError: it explodes"
    ]


def test_images_are_split_and_read_without_being_decoded_ahead(tmp_path: Path) -> None:
    context = TrainingContext(
        data=f"imagefolder:{images(tmp_path / 'photos')}",
        data_seed=0,
        seed=0,
        cache_dir=tmp_path / "cache",
        resolution=16,
    )
    assert TRAINABLE.rehearse is not None
    assert TRAINABLE.rehearse(Hparams(), [Budget(epochs=1, resolution=16)], context) == []
    assert list((tmp_path / "cache").glob("*.pixels")) == []
    few = images(tmp_path / "few", ("ants", "bees"))
    for path in [*few.rglob("1*.png"), *few.rglob("[2-9].png")]:
        path.unlink()
    with pytest.raises(DataError, match="too few"):
        TRAINABLE.rehearse(Hparams(), [Budget(epochs=1)], replace(context, data=f"imagefolder:{few}"))


def test_each_pair_of_names_and_each_end_of_the_numbers_is_started(tmp_path: Path) -> None:
    space = made_space(
        tmp_path,
        """
parameters:
  model: {values: [resnet20, test_vit, test_resnet]}
  optimizer: {values: [sgd, adamw, lion]}
  schedule: {values: [cosine, step, none]}
  lr: {min: 0.01, max: 0.1}
  batch_size: {values: [8, 16, 32]}
search: {data: digits}
""",
    )
    defaults = defaults_of(space)
    points = rehearsed_points(points_of(space, defaults), space, defaults)
    for first, second in (("model", "optimizer"), ("model", "schedule"), ("optimizer", "schedule")):
        assert len({(point[first], point[second]) for point in points}) == 9
    ends = {(point["model"], point["lr"], point["batch_size"]) for point in points}
    for model in ("resnet20", "test_vit", "test_resnet"):
        assert {(model, 0.01, 8), (model, 0.1, 32)} <= ends
    assert len(points) < 27  # every combination
    assert points[0] == defaults
