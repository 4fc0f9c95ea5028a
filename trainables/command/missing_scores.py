"""Notices within the first epochs that a metric will not come: its name is wrong, or its file lies elsewhere.

Both are certain only by what comes instead. A script may score every few epochs, so rows without the metric
say nothing by themselves; three validated epochs with a name that is nearly the metric's do, and so does a
file of the right name that counts three epochs in a folder that is not the trial's.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ENOUGH = 3  # epochs
_VALIDATION = re.compile(r"(^|[^a-z])(val|valid|validation|eval|test|dev|metrics)([^a-z]|$)", re.IGNORECASE)
_TRAINING = re.compile(r"(^|[^a-z])(train|training|loss)([^a-z]|$)", re.IGNORECASE)
_NEAR = 0.7  # of difflib's ratio: val_acc is this near to val/acc and to val_accuracy, val_loss to neither
_MAX_FOLDERS = 2_000
_MAX_DEPTH = 5
_FIRST_S, _LONGEST_S = 2.0, 60.0  # between two searches for a file


class Validations:
    """Counts the epochs that rows validate.

    Rows that say their epoch are counted by it. Of others an epoch ends where a row of validation follows one
    of training, or with each row that has both.
    """

    def __init__(self) -> None:
        self._epochs: set[int | float] = set()
        self._num_rounds = 0
        self._is_within = True  # a validation before any training checks that the script runs

    @property
    def num_epochs(self) -> int:
        return max(len(self._epochs), self._num_rounds)

    def see(self, row: Mapping[str, Any]) -> None:
        """Count a row, its epoch as `epoch`."""
        names = [name for name in row if name != "epoch"]
        validation = [name for name in names if _VALIDATION.search(name)]
        epoch = row.get("epoch")
        if isinstance(epoch, int | float) and not isinstance(epoch, bool):
            if validation and float(epoch).is_integer():
                self._epochs.add(epoch)
            return
        has_training = any(_TRAINING.search(name) for name in names if name not in validation)
        self._num_rounds += bool(validation) and (has_training or not self._is_within)
        self._is_within = bool(validation)


def is_near(metric: str, names: Iterable[str]) -> bool:
    """Whether one of the names may be the metric, spelled otherwise."""
    return any(metric in name for name in names) or bool(
        difflib.get_close_matches(metric, list(names), n=1, cutoff=_NEAR)
    )


class Strays:
    """Files with the name of a script's scores that are not in its trial's folder.

    Args:
        pattern: Of the files that are read. Nothing is searched for where its last part is a pattern too:
            a script may well write other tables.
        folder: Where the script runs.
        num_epochs: How many epochs a file counts.
    """

    def __init__(self, pattern: str, folder: Path, num_epochs: Callable[[Path], int]) -> None:
        self._name = Path(pattern).name
        self._folder, self._num_epochs = folder, num_epochs
        self._is_searched = not re.search(r"[*?\[]", self._name)
        self._before = set(self._present()) if self._is_searched else set()
        self._next_s, self._wait_s = _FIRST_S, _FIRST_S

    def seen(self, running_s: float) -> Path | None:
        """A file that counts enough epochs; searched for ever more rarely.

        Args:
            running_s: Since the script was started.
        """
        if not self._is_searched or running_s < self._next_s:
            return None
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)
        self._next_s = running_s + self._wait_s
        return self.now(ENOUGH)

    def now(self, num_epochs: int = 1) -> Path | None:
        """A file with this number of epochs, and was not there when the script started."""
        if not self._is_searched:
            return None
        new = (path for path in self._present() if path not in self._before)
        return next((path for path in new if self._num_epochs(path) >= num_epochs), None)

    def _present(self) -> Iterator[Path]:
        """The files below the folder, those of trials left out: they belong to other scripts."""
        for number, (at, folders, names) in enumerate(os.walk(self._folder)):
            is_deep = len(Path(at).relative_to(self._folder).parts) >= _MAX_DEPTH
            if number >= _MAX_FOLDERS or "script.lock" in names or is_deep:
                folders.clear()
                continue
            folders[:] = [each for each in folders if not each.startswith((".", "__"))]
            if self._name in names:
                yield Path(at) / self._name


def num_counted(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many epochs rows count, their epoch as `epoch`."""
    epochs = {row.get("epoch") for row in rows}
    return sum(isinstance(each, int | float) and float(each).is_integer() for each in epochs)
