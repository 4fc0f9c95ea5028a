"""Exclusive slots: one trial works alone on a shared device for seconds, so that its watts can be learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

SLOT_S = 5.0  # time alone counts after 3 s, and the first second shows no utilisation yet
GATHER_S = 60.0  # trials can only wait between two epochs: if these last longer, the slot is given up


class SlotMeter(Protocol):
    """The part of a node's meter that slots need."""

    def wanting_slots(self) -> dict[str, list[str]]:
        """Return, by shared device, the windows whose watts at full use this run has not learnt."""
        ...

    def sharing(self, window: str) -> Sequence[str]:
        """Return the other open windows on its devices."""
        ...

    def set_exclusive_slot(self, window: str, *, is_on: bool) -> None:
        """Begin or end the window's time alone."""
        ...


@dataclass
class CalibrationSlots:
    """Makes trials wait between two epochs while one of them works alone for some seconds.

    Each window gets at most one slot. A slot begins when every other window on its devices is waiting, and
    lasts `SLOT_S`. No trial waits longer than `GATHER_S` plus a slot.

    Args:
        clock: Monotonic seconds.
    """

    meter: SlotMeter
    clock: Callable[[], float]
    _slot: str = ""
    _called_s: float = 0.0
    _began_s: float | None = None
    _waiting: set[str] = field(default_factory=set)
    _had: set[str] = field(default_factory=set)

    def may_start_epoch(self, window: str) -> bool:
        """Return whether the trial may start its next epoch now; if not, it must ask again soon."""
        self._end_if_over()
        if not self._slot:
            self._call_next()
        if not self._slot or window == self._slot or window not in self.meter.sharing(self._slot):
            self._waiting.discard(window)
            return True
        self._waiting.add(window)
        self._begin_if_alone()
        return False

    def leave(self, window: str) -> None:
        """Forget a window that ended; its slot ends with it."""
        self._waiting.discard(window)
        if window == self._slot:
            self._end()

    def _call_next(self) -> None:
        wanting = [window for windows in self.meter.wanting_slots().values() for window in windows]
        self._slot = next((window for window in wanting if window not in self._had), "")
        if self._slot:
            self._had.add(self._slot)
            self._called_s, self._began_s = self.clock(), None

    def _begin_if_alone(self) -> None:
        if self._began_s is None and self._waiting >= set(self.meter.sharing(self._slot)):
            self._began_s = self.clock()
            self.meter.set_exclusive_slot(self._slot, is_on=True)

    def _end_if_over(self) -> None:
        if not self._slot:
            return
        since_s, longest_s = (self._called_s, GATHER_S) if self._began_s is None else (self._began_s, SLOT_S)
        if self.clock() - since_s >= longest_s:
            self._end()

    def _end(self) -> None:
        if self._began_s is not None:
            self.meter.set_exclusive_slot(self._slot, is_on=False)
        self._slot, self._began_s = "", None
