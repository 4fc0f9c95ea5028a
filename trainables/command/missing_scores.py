"""Detects within a few epochs that a metric will not come: its name is wrong, or its file is elsewhere.

Only what comes in its place proves it. A script may score every few epochs, so rows without the metric alone
prove nothing. Three validated epochs with a name close to the metric's do, and so does a file of the right
name that counts three epochs outside the trial's folder.
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
_NEAR = 0.7  # difflib's ratio: val_acc is at least this close to val/acc and val_accuracy, not to val_loss
_MAX_FOLDERS = 2_000
_MAX_DEPTH = 5
_FIRST_S, _LONGEST_S = 2.0, 60.0  # seconds between two searches for a file


class Validations:
    """Counts validated epochs from rows.

    Rows with an epoch are counted by it. Without one, an epoch ends where a validation row follows a training
    row, or with each row that has both.
    """

    def __init__(self) -> None:
        self._epochs: set[int | float] = set()
        self._num_rounds = 0
        self._is_within = True  # a validation before any training checks that the script runs

    @property
    def num_epochs(self) -> int:
        return max(len(self._epochs), self._num_rounds)

    def see(self, row: Mapping[str, Any]) -> None:
        """Count a row, whose epoch is named `epoch`."""
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
    """Whether one of the names may be the metric in another spelling."""
    return any(metric in name for name in names) or bool(
        difflib.get_close_matches(metric, list(names), n=1, cutoff=_NEAR)
    )


class Strays:
    """Searches for files named like a script's scores outside its trial's folder.

    Args:
        pattern: Pattern of the files that are read. If its last part has wildcards, nothing is searched for,
            as a script may well write other tables.
        folder: The folder in which the script runs.
        num_epochs: Returns the number of epochs counted in a file.
    """

    def __init__(self, pattern: str, folder: Path, num_epochs: Callable[[Path], int]) -> None:
        self._name = Path(pattern).name
        self._folder, self._num_epochs = folder, num_epochs
        self._is_searched = not re.search(r"[*?\[]", self._name)
        self._before = set(self._present()) if self._is_searched else set()
        self._next_s, self._wait_s = _FIRST_S, _FIRST_S

    def seen(self, running_s: float) -> Path | None:
        """Return a file that counts enough epochs, searching less and less often.

        Args:
            running_s: Seconds since the script was started.
        """
        if not self._is_searched or running_s < self._next_s:
            return None
        self._wait_s = min(2 * self._wait_s, _LONGEST_S)
        self._next_s = running_s + self._wait_s
        return self.now(ENOUGH)

    def now(self, num_epochs: int = 1) -> Path | None:
        """Return a file with at least this many epochs that did not exist when the script started."""
        if not self._is_searched:
            return None
        new = (path for path in self._present() if path not in self._before)
        return next((path for path in new if self._num_epochs(path) >= num_epochs), None)

    def _present(self) -> Iterator[Path]:
        """The files of this name below the folder, except in trials' folders: other scripts write those."""
        for number, (at, folders, names) in enumerate(os.walk(self._folder)):
            is_deep = len(Path(at).relative_to(self._folder).parts) >= _MAX_DEPTH
            if number >= _MAX_FOLDERS or "script.lock" in names or is_deep:
                folders.clear()
                continue
            folders[:] = [each for each in folders if not each.startswith((".", "__"))]
            if self._name in names:
                yield Path(at) / self._name


def num_counted(rows: Sequence[Mapping[str, Any]]) -> int:
    """Number of different epochs in rows, whose epoch is named `epoch`."""
    epochs = {row.get("epoch") for row in rows}
    return sum(isinstance(each, int | float) and float(each).is_integer() for each in epochs)
