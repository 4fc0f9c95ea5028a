"""The epochs of a search, one a line, and the hyperparameters it would have named at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch of a trial, when it was reported.

    Attributes:
        at: Seconds since 1970.
        value: Validation accuracy.
        level: Compared before the value: for ours and for full trainings, how far the trial has come. Ray
            Tune and Optuna compare the values of all epochs, so theirs is 0.
    """

    at: float
    trial: str
    hparams: Mapping[str, float]
    value: float
    level: int = 0


class Recorder:
    """Appends epochs to a file, from any process."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, trial: str, hparams: Mapping[str, float], value: float, level: int = 0) -> None:
        epoch = Epoch(at=time.time(), trial=trial, hparams=dict(hparams), value=value, level=level)
        with self._file.open("a") as stream:
            stream.write(json.dumps(asdict(epoch)) + "\n")


def write_epochs(file: Path, epochs: Sequence[Epoch]) -> None:
    file.write_text("".join(json.dumps(asdict(epoch)) + "\n" for epoch in epochs))


def read_epochs(file: Path) -> list[Epoch]:
    return [Epoch(**json.loads(line)) for line in file.read_text().splitlines()]


def named_after(epochs: Sequence[Epoch]) -> Epoch:
    """The epoch whose trial a user would choose so far: the best of the trials' last on the highest level."""
    last = {epoch.trial: epoch for epoch in epochs}
    return max(last.values(), key=lambda epoch: (epoch.level, epoch.value))


def changes(epochs: Sequence[Epoch]) -> list[tuple[int, Mapping[str, float]]]:
    """The epoch counts at which the named hyperparameters changed, with the new ones."""
    named: list[tuple[int, Mapping[str, float]]] = []
    for count in range(1, len(epochs) + 1):
        hparams = named_after(epochs[:count]).hparams
        if not named or named[-1][1] != hparams:
            named.append((count, hparams))
    return named
