"""The progress of a long epoch, or of decoding its data, in a small file that the search reads.

A worker answers nothing until its epoch ends, and may be on another node: a file in the trial's folder, which
all nodes share, is visible to both sides. It exists only while something takes long; no decision depends on
it, and it is in no journal and no saved state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Doing = Literal["decoding", "epoch"]

# A shorter epoch shows no progress, as its line appears soon enough. Decoding precedes any line at all.
SHOWN_AFTER_S = {"decoding": 1.0, "epoch": 20.0}
_WRITE_EVERY_S = 2.0


@dataclass(frozen=True)
class Progress:
    """Progress of a training within an epoch, or in decoding its data.

    Attributes:
        epoch: Number of the epoch, from 1; 0 while decoding.
        done: Batches trained, or images decoded, so far.
        total: Number of batches or images.
    """

    doing: Doing
    epoch: int
    done: int
    total: int

    def __str__(self) -> str:
        if self.doing == "decoding":
            return f"decoding: {self.done} of {self.total} images"
        return f"epoch {self.epoch}: {self.done} of {self.total} batches"


def read_progress(file: Path) -> Progress | None:
    """Read the training's progress; None if it has written nothing, or nothing readable."""
    try:
        doing, *numbers = file.read_text(encoding="ascii").split()
        epoch, done, total = map(int, numbers)
    except (OSError, ValueError):  # none yet, or being written right now
        return None
    return Progress("decoding" if doing == "decoding" else "epoch", epoch, done, total)


class ProgressWriter:
    """Writes a training's progress every two seconds, once an epoch or decoding takes long enough.

    A step costs one reading of the clock. Failing to write the file never ends a training.

    Args:
        file: Where to write; None writes nothing.
        clock: Monotonic seconds.
    """

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._doing: Doing = "epoch"
        self._epoch = self._total = 0
        self._write_at_s = float("inf")
        self._is_there = True  # possibly: a killed attempt leaves its file behind

    def begin(self, doing: Doing, total: int, *, epoch: int = 0) -> None:
        """Begin something of `total` steps, which `step` and `end` then refer to."""
        self.end()
        self._doing, self._total, self._epoch = doing, total, epoch
        if self._file:
            self._write_at_s = self._clock() + SHOWN_AFTER_S[doing]

    def step(self, done: int) -> None:
        """Record that `done` of the steps are done."""
        now_s = self._clock()
        if now_s < self._write_at_s or self._file is None:
            return
        self._write_at_s, self._is_there = now_s + _WRITE_EVERY_S, True
        with suppress(OSError):
            self._file.write_text(f"{self._doing} {self._epoch} {done} {self._total}\n", encoding="ascii")

    def end(self) -> None:
        """Record that it has ended or failed, by removing the file."""
        self._write_at_s = float("inf")
        if self._file and self._is_there:
            self._is_there = False
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
