"""Recorded learning curves instead of training: for trying out schedulers and samplers in microseconds.

A table holds the validation score after each epoch of trainings that were run once. The hparam `row` picks
one of them, so only points that were really trained can be proposed. Data sources:

    curves:FILE.csv   a row per training: columns acc_0, acc_1, ..., before them its hyperparameters
                      (MetaQNN and ResNet curves of Baker et al. 2018)
    curves:FILE.npz   hparam_names, hparams, epochs, val_accuracy and seconds (LCBench, Zimmer et al. 2021)
    formula           81 curves that come with the program

Expected result at full budget: the table's own; val_accuracy 0.90 at row 40 of `formula`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.core.contract import Budget, DataError, Diverged, Example, Trainable, TrainingContext
from trainables.core.data_source import DataSource, FilePath, read_source

Numbers = NDArray[np.float64]

_EXAMPLES = 1000  # a table does not say how many there were; fractions of them must still add up


@dataclass(frozen=True, kw_only=True)
class Formula(DataSource):
    """81 curves of 27 epochs that come with the program."""

    name: Literal["formula"] = "formula"


@dataclass(frozen=True, kw_only=True)
class CurveTable(DataSource):
    """A table of recorded learning curves, .csv or .npz."""

    curves: FilePath


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """Hyperparameters to set or to search.

    Attributes:
        row: Row of the curve in the table, from 0.
    """

    row: int = 0

    def __post_init__(self) -> None:
        if self.row < 0:
            raise ValueError(f"row must be at least 0, got {self.row}")


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A table of recorded trainings.

    Attributes:
        names: The numeric hyperparameters; text and constants are left out.
        hparams: (rows, names).
        val_accuracy: (rows, epochs), in the table's own unit. NaN marks a training that diverged.
        seconds: Duration of each epoch, (rows, epochs), or None where the table has no times.
    """

    names: tuple[str, ...]
    hparams: Numbers
    val_accuracy: Numbers
    seconds: Numbers | None = None


_SOURCES = (Formula, CurveTable)


class RecordedTraining:
    """A `Training` that reads its next score from a table. Its state is its epoch.

    A table knows one training set: `subset` changes what is counted, not what is scored.
    """

    def __init__(self, curve: Numbers, row: int) -> None:
        self._curve, self._row = curve, row
        self.epochs_done = 0

    def run_epoch(self, budget: Budget) -> Mapping[str, float]:
        self.epochs_done += 1
        return {"val_accuracy": self._accuracy(), "num_examples": float(_num_examples(budget))}

    def test(self) -> Mapping[str, float]:
        return {"test_accuracy": self._accuracy()}

    def notes(self) -> Mapping[str, str]:
        return {"test": "the table's validation score: a recorded curve has no test set"}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_done": self.epochs_done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs_done = state["epochs_done"]

    def _accuracy(self) -> float:
        """The score of the current epoch, in the table's unit.

        Raises:
            Diverged: It is not finite in the table.
        """
        accuracy = float(self._curve[max(self.epochs_done, 1) - 1])
        if not math.isfinite(accuracy):
            raise Diverged(f"row {self._row} of the table diverged in epoch {self.epochs_done}")
        return accuracy


def start(hparams: Hparams, budget: Budget, context: TrainingContext) -> RecordedTraining:
    """The recorded training of `hparams.row`.

    Raises:
        DataError: The table has no such row, or fewer epochs than the budget.
    """
    source = read_source(context.data, _SOURCES)
    accuracy = _curves_of(source).val_accuracy
    num_rows, num_epochs = accuracy.shape
    if hparams.row >= num_rows:
        raise DataError(f"{source} has rows 0 to {num_rows - 1}, got row {hparams.row}; set max of row")
    if budget.epochs > num_epochs:
        raise DataError(f"{source} has {num_epochs} epochs, the ladder asks for {budget.epochs}; lower it")
    return RecordedTraining(accuracy[hparams.row], hparams.row)


def check_data(context: TrainingContext) -> Sequence[str]:
    """Read the table, which is small."""
    _curves_of(read_source(context.data, _SOURCES))
    return ()


def load_curves(path: Path) -> Curves:
    """The table in `path`.

    Raises:
        DataError: The file is missing, or holds neither kind of table.
    """
    readers = {".csv": _from_csv, ".npz": _from_npz}
    if path.suffix not in readers:
        raise DataError(f"a table of curves ends in .csv or .npz, got {path}")
    if not path.is_file():
        raise DataError(f"the table {path} does not exist; name another in search.data")
    try:
        curves = readers[path.suffix](path)
    except (KeyError, ValueError, OSError) as error:
        raise DataError(f"{path} is not a table of learning curves: {error}") from error
    if curves.val_accuracy.size == 0:
        raise DataError(f"{path} is not a table of learning curves: it has no epoch (acc_ column) or no row")
    return curves


@lru_cache(maxsize=1)
def _curves_of(source: DataSource) -> Curves:
    return load_curves(source.curves) if isinstance(source, CurveTable) else formula_curves()


def formula_curves() -> Curves:
    """81 curves of 27 epochs: 9 learning rates x 9 widths, the best in the middle (row 40)."""
    lr_decades_off, width_octaves_off = np.meshgrid(np.arange(-4, 5) / 2, np.arange(-4, 5))
    off = np.column_stack([lr_decades_off.ravel(), width_octaves_off.ravel()])
    ceiling = 0.9 * np.exp(-0.3 * off[:, 0] ** 2 - 0.01 * off[:, 1] ** 2)
    pace = 0.7 + 0.05 * off[:, 0]  # small rates learn slowly, so early ranks mislead a little
    accuracy = ceiling[:, None] * (1 - (1 - pace[:, None]) ** np.arange(1, 28))
    hparams = np.column_stack([0.1 * 10 ** off[:, 0], 64 * 2.0 ** off[:, 1]])
    return Curves(names=("lr", "width"), hparams=hparams, val_accuracy=accuracy)


def _from_csv(path: Path) -> Curves:
    """Columns acc_0, acc_1, ... are the curve; other columns of differing numbers are hyperparameters."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    for number, line in enumerate(lines, start=1):
        if len(line) != len(lines[0]):
            raise ValueError(f"line {number} has {len(line)} values, the header {len(lines[0])}")
    if len(lines) < 2:
        raise ValueError("it has no row under a header")
    header, *rows = lines
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    epochs = [np.array(values, float) for name, values in columns.items() if name.startswith("acc_")]
    numeric = {name: values for name, values in columns.items() if _is_hparam(name, values)}
    return Curves(
        names=tuple(numeric),
        hparams=np.array(list(numeric.values()), float).reshape(len(numeric), len(rows)).T,
        val_accuracy=np.array(epochs).reshape(len(epochs), len(rows)).T,
    )


def _is_hparam(name: str, values: tuple[str, ...]) -> bool:
    return not name.startswith("acc_") and len(set(values)) > 1 and all(map(_is_number, values))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _from_npz(path: Path) -> Curves:
    """The arrays of LCBench, whose seconds are cumulative."""
    with np.load(path) as table:  # seconds are cumulative, and a smooth model's may fall a little
        seconds = np.diff(table["seconds"].astype(float), axis=1, prepend=0.0).clip(min=0.0)
        return Curves(
            names=tuple(str(name) for name in table["hparam_names"]),
            hparams=table["hparams"].astype(float),
            val_accuracy=table["val_accuracy"].astype(float),
            seconds=seconds,
        )


def _num_examples(budget: Budget) -> int:
    """Examples of an epoch: all 1,000, a fraction of them, or a count."""
    if budget.subset is None:
        return _EXAMPLES
    return round(budget.subset * _EXAMPLES) if isinstance(budget.subset, float) else budget.subset


TRAINABLE = Trainable(
    hparams=Hparams,
    metric="val_accuracy",
    mode="max",
    start=start,
    data_sources=_SOURCES,
    check_data=check_data,
    example=Example(data="formula"),
)
