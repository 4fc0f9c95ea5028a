"""Watts per second of full use of each window: the difference of two trials that keep the GPU equally busy.

At equal utilisation one trial may draw 120 W and another 560 W. Split by utilisation alone, even a perfect
one, half of the trials are off by 24 % of their active energy or more; with the watts known, by 4.4 %
(simulated: benchmarks/attribution.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from search.energy.units import to_joules

ALONE_S = 3.0  # the counter lags by up to 0.1 s at both ends: 7 % of 3 s, and less of all that follow

# Each driver sample names one process, so a process with little work can go unnamed for seconds: of two
# trials, one with 15 % of the samples is missed for 3 s once in 100 times, for 10 s never
# (0.85 ** 100 = 1e-7).
_SILENT_S = 10.0

Origin = Literal["own", "earlier", "earlier_run", ""]
KnownWatts = Mapping[str, Mapping[str, float]]  # by model of GPU, then by kind of work


@dataclass
class _Alone:
    """A window's time alone on the device: the stretch that is running, and all that were long enough.

    Attributes:
        silent_s: Time since the window last used the device; infinite before it first did.
        running_mj: Active energy of the running stretch, which may yet be too short to count.
        active_mj: Active energy of the stretches that count, with `use_s` utilisation-seconds.
    """

    silent_s: float = math.inf
    running_mj: int = 0
    running_use_s: float = 0.0
    running_s: float = 0.0
    active_mj: int = 0
    use_s: float = 0.0

    def add(self, active_mj: int, use_s: float, duration_s: float) -> None:
        self.running_mj += active_mj
        self.running_use_s += use_s
        self.running_s += duration_s
        if self.running_s >= ALONE_S:
            self.active_mj += self.running_mj
            self.use_s += self.running_use_s
            self.running_mj, self.running_use_s = 0, 0.0  # the stretch continues: what follows counts at once

    def end(self) -> None:
        self.running_mj, self.running_use_s, self.running_s = 0, 0.0, 0.0

    @property
    def watts_per_utilisation(self) -> float | None:
        return to_joules(self.active_mj) / self.use_s if self.use_s > 0 and self.active_mj > 0 else None


class WattsPerUtilisation:
    """What is known of the watts of one device's windows, each in watts above idle at full use.

    They come, best first, from
    1. the window's own time alone: 3 s in which it alone used the device, while the others had not begun
       (ramping up gives these free) or had been silent for 10 s; a search may add an exclusive slot, in which
       it pauses all windows but one of those that `wanting` names for 3 to 5 s;
    2. an earlier window of this run with the same key (trainable, batch size, resolution: whatever makes the
       same kind of work);
    3. an earlier run's window with that key, on the same model of GPU.
    Else they are unknown.

    Args:
        before_w: By key, what earlier runs learnt on this model of GPU.

    Attributes:
        slot_of: The window that the search lets work alone now; empty without an exclusive slot.
    """

    def __init__(self, before_w: Mapping[str, float] | None = None) -> None:
        self.slot_of = ""
        self._before_w = before_w or {}
        self._keys: dict[str, str] = {}
        self._alone: dict[str, _Alone] = {}
        self._earlier_w: dict[str, float] = {}

    def open(self, window: str, key: str = "") -> None:
        self._keys[window] = key
        self._alone[window] = _Alone()

    def close(self, window: str) -> None:
        """End a window; what it taught serves later windows with the same key."""
        key, own_w = self._keys.pop(window), self._alone.pop(window).watts_per_utilisation
        if key and own_w is not None:
            self._earlier_w[key] = own_w

    def known_w(self, window: str) -> float | None:
        """The window's watts at full use; None is unknown."""
        own_w = self._alone[window].watts_per_utilisation
        key = self._keys[window]
        return own_w if own_w is not None else self._earlier_w.get(key, self._before_w.get(key))

    def origin(self, window: str) -> Origin:
        """Where `known_w` comes from; empty where it is None."""
        if self._alone[window].watts_per_utilisation is not None:
            return "own"
        key = self._keys[window]
        return "earlier" if key in self._earlier_w else "earlier_run" if key in self._before_w else ""

    @property
    def learnt_w(self) -> dict[str, float]:
        """By key, what this run has learnt, of windows that are still open too."""
        own_w = {self._keys[window]: one.watts_per_utilisation for window, one in self._alone.items()}
        return self._earlier_w | {key: watts for key, watts in own_w.items() if key and watts is not None}

    def wanting(self) -> list[str]:
        """The windows of which this run has learnt nothing: an exclusive slot would teach their watts.

        What an earlier run learnt is better than plain utilisation, and worse than a slot in this one.
        """
        if len(self._alone) < 2:
            return []
        return [window for window in self._alone if self.origin(window) in {"", "earlier_run"}]

    def observe(
        self, active_mj: int, duration_s: float, use_s: Mapping[str, float], external_s: float
    ) -> None:
        """Learn from a stretch if one window alone used the device in it, from end to end.

        Args:
            active_mj: What the device used above idle.
            use_s: Utilisation-seconds by window; `external_s` those of processes of no window.
        """
        working = [window for window, seconds in use_s.items() if seconds > 0]
        for window, one in self._alone.items():
            if working == [window] and not external_s and self._are_others_silent(window):
                one.add(active_mj, use_s[window], duration_s)
            else:
                one.end()
        for window, one in self._alone.items():
            one.silent_s = 0.0 if window in working else one.silent_s + duration_s

    def _are_others_silent(self, window: str) -> bool:
        others = [one for other, one in self._alone.items() if other != window]
        return self.slot_of == window or all(one.silent_s >= _SILENT_S for one in others)

    def interrupt(self) -> None:
        """End all stretches: what the windows did now is unknown."""
        for one in self._alone.values():
            one.end()
