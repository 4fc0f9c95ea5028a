"""What a full training leaves in its folder beside its checkpoint: weights, test scores and details."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from search.printable import csv_cell
from search.trial.checkpoints import Notes
from search.trial.row import json_numbers
from search.trial.trial_folder import TrialFolder
from trainables.core.contract import Mode, Training
from trainables.core.deferred import deferred
from trainables.core.files import is_safe_name, replacing
from trainables.core.model_folder import WeightsFormat, write_model
from trainables.core.optional import Table, images_of_test, portable_model_of, tables_of_test

_write_weights = deferred("trainables.engine.inference.weights:write_weights")
MISTAKE_IMAGES = "mistakes"  # the folder of what `images_of_test` returns


class FinalOutputs:
    """Tracks the best epoch of a training, and writes the test results at its end.

    Args:
        path: Path of the final state; the other files are beside it.
        from_rung: Epochs at lower rungs are not compared: a search keeps the best of its top rung only.
        best: The value of `best` when a resumed training was saved; None at the start.

    Attributes:
        path: Where the final state belongs.
        best_path: Where the state of the best epoch belongs.
        best: Rung and value of the best epoch. The rung decides first: where validation follows the rung's
            resolution, values of different rungs cannot be compared.
        is_of_search: Not a full training: only the best epoch is kept.
    """

    def __init__(
        self,
        path: Path,
        *,
        metric: str,
        mode: Mode,
        best: list[float] | None = None,
        from_rung: int = 0,
        is_of_search: bool = False,
    ) -> None:
        self._files = TrialFolder(path.parent)
        self.path, self.best_path = path, self._files.best
        self.best = best
        self._metric, self._sign = metric, 1 if mode == "max" else -1
        self._from_rung, self.is_of_search = from_rung, is_of_search

    def is_best(self, rung: int, metrics: Mapping[str, float]) -> bool:
        """Record an epoch and return whether it is better than all before."""
        value = metrics.get(self._metric)
        if value is None or math.isnan(value) or rung < self._from_rung or not self._is_better(rung, value):
            return False
        self.best = [rung, value]
        return True

    def keep_test(self, epoch: int, scores: Mapping[str, float], training: Training) -> Notes:
        """Write test.json and the test's tables and images; return a note for each file not written."""
        text = json.dumps({"epoch": epoch, **json_numbers(scores)}, indent=2) + "\n"
        texts = {self._files.test_scores.name: text}
        texts |= {f"{name}.csv": table_text(table) for name, table in tables_of_test(training).items()}
        notes: Notes = {}
        for name, text in texts.items():
            notes |= _write(self.path.parent, name, text.encode())
        for name, png in images_of_test(training).items():
            notes |= _write(self.path.with_name(MISTAKE_IMAGES), f"{name}.png", png)
        return notes

    def _is_better(self, rung: int, value: float) -> bool:
        if self.best is None:
            return True
        best_rung, best = self.best
        return (rung, self._sign * value) > (best_rung, self._sign * best)


def keep_model(
    folder: Path,
    training: Training,
    identity: Mapping[str, Any],
    *,
    epoch: int,
    metric: str,
    value: float | None,
    test: Mapping[str, float] | None,
    weights_format: WeightsFormat = "fp32",
) -> Notes:
    """Write the trained model, which is usable without the run; return a note if it cannot be written.

    Args:
        identity: The trial's identity: its run, trial and settings go into model.json. Data does not: its
            path is of this machine.
    """
    model = portable_model_of(training)
    if model is None:
        return {}
    try:
        write_model(
            folder,
            model,
            _write_weights,
            weights_format=weights_format,
            trainable=identity["trainable"],
            metric=metric,
            value=value,
            test=json_numbers(test or {}),
            training={**{name: each for name, each in identity.items() if name != "data"}, "epoch": epoch},
            versions=_versions(),
        )
    except OSError as error:
        return {"model": f"{folder} not written ({error.strerror or error})"}
    return {}


def _versions() -> dict[str, str]:
    """Versions of the packages whose code a model is rebuilt from."""
    found = {}
    for name in ("torch", "timm", "torchvision", "transformers"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def table_text(table: Table) -> str:
    """Format a table as CSV. None becomes an empty cell, and no text is read as a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, table.columns))
    writer.writerows(map(csv_cell, row) for row in table.rows)
    return text.getvalue()


def _write(folder: Path, name: str, content: bytes) -> Notes:
    if not is_safe_name(name):  # such as a table or image that a trainable named after a class
        return {"test": f"{name!r} not written: it cannot be the name of a file in {folder.name}/"}
    path = folder / name
    try:
        with replacing(path) as scratch:
            scratch.write_bytes(content)
    except OSError as error:
        return {"test": f"{path} not written ({error.strerror})"}
    return {}
