"""A small trainable for tests, and space files written beside it."""

from __future__ import annotations

import textwrap
from pathlib import Path

from search.space import Space, load_space

MODEL = """
from dataclasses import dataclass
from typing import Literal
from trainables.core.contract import Trainable

@dataclass(frozen=True)
class Hparams:
    model: Literal["small", "large"] = "small"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    batch_size: int = 64
    weight_decay: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = False
    sizes: tuple[int, ...] = (8, 16)
    warmup_epochs: int | None = None

    def __post_init__(self) -> None:
        if self.lr > 10:
            raise ValueError(f"lr must be at most 10, got {self.lr}")
        if self.momentum > 0.95 and self.optimizer == "adamw":
            raise ValueError("adamw takes no momentum above 0.95")

def start(hparams, budget, env):
    raise NotImplementedError

TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max", start=start)
"""


def write_space(folder: Path, text: str, name: str = "toy.yaml") -> Path:
    (folder / "model.py").write_text(MODEL)
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def load(folder: Path, text: str, *overrides: str) -> Space:
    return load_space(str(write_space(folder, text)), overrides=overrides, spaces_dir=folder)
