"""How far a long epoch is, or the decoding of its data: in a small file that the search reads.

A worker that trains answers nothing until its epoch ends, and may be on another node: a file in the trial's
folder, which all nodes share, is what both sides see. It is there only while something takes its time;
nothing decides by it, and it is in no journal and no saved state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Doing = Literal["decoding", "epoch"]

# An epoch that is shorter shows nothing: its line comes soon enough. Decoding is a silence before any line.
SHOWN_AFTER_S = {"decoding": 1.0, "epoch": 20.0}
_WRITE_EVERY_S = 2.0


@dataclass(frozen=True)
class Progress:
    """How far a training is with what it is doing.

    Attributes:
        epoch: The number of the epoch, from 1; 0 of decoding.
        done: Batches that it has trained, or images that it has decoded.
        total: How many there are.
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
    """What the training has written; None if it has written nothing, or nothing that can be read."""
    try:
        doing, *numbers = file.read_text(encoding="ascii").split()
        epoch, done, total = map(int, numbers)
    except (OSError, ValueError):  # none yet, or it is being written just now
        return None
    return Progress("decoding" if doing == "decoding" else "epoch", epoch, done, total)


class ProgressWriter:
    """Writes how far a training is, every two seconds once what it is doing takes long enough.

    A step costs a look at the clock. A file that cannot be written is no reason to end a training.

    Args:
        file: Where to write; None writes nothing.
        clock: Monotonic seconds.
    """

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._file, self._clock = file, clock
        self._doing: Doing = "epoch"
        self._epoch = self._total = 0
        self._write_at_s = float("inf")
        self._is_there = True  # as far as is known: an attempt that was killed leaves its own

    def begin(self, doing: Doing, total: int, *, epoch: int = 0) -> None:
        """Something of `total` steps begins; `step` and `end` are of it."""
        self.end()
        self._doing, self._total, self._epoch = doing, total, epoch
        if self._file:
            self._write_at_s = self._clock() + SHOWN_AFTER_S[doing]

    def step(self, done: int) -> None:
        """`done` of the steps are done."""
        now_s = self._clock()
        if now_s < self._write_at_s or self._file is None:
            return
        self._write_at_s, self._is_there = now_s + _WRITE_EVERY_S, True
        with suppress(OSError):
            self._file.write_text(f"{self._doing} {self._epoch} {done} {self._total}\n", encoding="ascii")

    def end(self) -> None:
        """It has ended, or failed: the file goes."""
        self._write_at_s = float("inf")
        if self._file and self._is_there:
            self._is_there = False
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
