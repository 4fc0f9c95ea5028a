"""Turns in which one trial of a shared device works alone, so that its intensity can be learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

SLICE_S = 5.0  # a solo stretch counts from 3 s on; the first second shows no utilisation yet
GATHER_S = 60.0  # the others hold between two epochs: where those last longer, the turn is given up


class SoloMeter(Protocol):
    """The part of a node's meter that turns need."""

    def wanting_solo(self) -> dict[str, list[str]]:
        """By device, the windows whose intensity is unknown beside others."""
        ...

    def sharing(self, window: str) -> Sequence[str]:
        """The other open windows on its devices."""
        ...

    def solo_slice(self, window: str, *, is_on: bool) -> None:
        """The window works alone from now on, or no longer."""
        ...


@dataclass
class CalibrationSlots:
    """Lets trials hold between two epochs while one of them works alone for some seconds.

    Each window has one turn at most. A turn waits until every other window on its devices holds, then
    lasts `SLICE_S`. Nobody holds for longer than `GATHER_S` and a slice.

    Args:
        clock: Monotonic seconds.
    """

    meter: SoloMeter
    clock: Callable[[], float]
    _turn: str = ""
    _called_s: float = 0.0
    _began_s: float | None = None
    _holding: set[str] = field(default_factory=set)
    _had: set[str] = field(default_factory=set)

    def may_start_epoch(self, window: str) -> bool:
        """Whether the trial may start its next epoch now; if not, it asks again soon."""
        self._end_if_over()
        if not self._turn:
            self._call_next()
        if not self._turn or window == self._turn or window not in self.meter.sharing(self._turn):
            self._holding.discard(window)
            return True
        self._holding.add(window)
        self._begin_if_alone()
        return False

    def leave(self, window: str) -> None:
        """Forget a window that ended; its turn ends with it."""
        self._holding.discard(window)
        if window == self._turn:
            self._end()

    def _call_next(self) -> None:
        wanting = [window for windows in self.meter.wanting_solo().values() for window in windows]
        self._turn = next((window for window in wanting if window not in self._had), "")
        if self._turn:
            self._had.add(self._turn)
            self._called_s, self._began_s = self.clock(), None

    def _begin_if_alone(self) -> None:
        if self._began_s is None and self._holding >= set(self.meter.sharing(self._turn)):
            self._began_s = self.clock()
            self.meter.solo_slice(self._turn, is_on=True)

    def _end_if_over(self) -> None:
        if not self._turn:
            return
        since_s, longest_s = (self._called_s, GATHER_S) if self._began_s is None else (self._began_s, SLICE_S)
        if self.clock() - since_s >= longest_s:
            self._end()

    def _end(self) -> None:
        if self._began_s is not None:
            self.meter.solo_slice(self._turn, is_on=False)
        self._turn, self._began_s = "", None
