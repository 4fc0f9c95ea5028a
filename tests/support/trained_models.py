"""Models saved by trainings of a few seconds, and the images that they were tested on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from search.trial.final_outputs import keep_model
from trainables.core.contract import Budget, Training, TrainingContext
from trainables.core.load import load_trainable
from trainables.core.optional import Table, tables_of_test


@dataclass(frozen=True)
class Trained:
    """A tested training, and the folder of the model that it saved."""

    training: Training
    model: Path
    tables: dict[str, Table]

    def table(self, name: str) -> list[dict[str, Any]]:
        """A table of its test, as a mapping per row."""
        found = self.tables[name]
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def trained_model(
    folder: Path,
    trainable: str,
    hparams: dict[str, Any],
    data: Any,
    *,
    epochs: int = 1,
    train_px: int | None = None,
    **settings: Any,
) -> Trained:
    """Train at `train_px`, test at `resolution`, and save the model in `folder`/model."""
    family = load_trainable(trainable)
    if isinstance(data, dict):
        data = {name: str(value) if isinstance(value, Path) else value for name, value in data.items()}
    context = TrainingContext(
        **{
            "data": data,
            "data_seed": 0,
            "seed": 0,
            "cache_dir": folder / "cache",
            "precision": "fp32",
            **settings,
        }
    )
    budget = Budget(epochs=epochs, resolution=train_px)
    training = family.start(family.hparams(**hparams), budget, context)
    for _ in range(epochs):
        scores = training.run_epoch(budget)
    test = training.test()
    notes = keep_model(
        folder / "model",
        training,
        {
            "trainable": trainable,
            "run": "r",
            "trial": "trial-0003",
            "seed": 0,
            "hparams": hparams,
            "data": str(data),
        },
        epoch=epochs,
        metric=family.metric,
        value=scores[family.metric],
        test=test,
    )
    assert notes == {}
    return Trained(training, folder / "model", dict(tables_of_test(training)))


def photo_folder(root: Path, *, per_class: int = 12, classes: tuple[str, ...] = ("dark", "light")) -> Path:
    """Write PNGs and JPEGs of noise, darker or lighter by class, of many sizes, some rotated by EXIF."""
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            height, width = 60 + 7 * index, 90 + 5 * (index % 4)
            level = 70 + 110 * number / max(1, len(classes) - 1)
            pixels = random.normal(level, 40, (height, width, 3)).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(pixels)
            if index % 3 == 0:
                image.save(root / name / f"{index:02}.png")
                continue
            exif = Image.Exif()
            exif[274] = 6 if index % 3 == 1 else 1
            image.resize((3 * width, 3 * height)).save(root / name / f"{index:02}.jpg", quality=92, exif=exif)
    return root
