"""Watts per second of full use of each window: what tells a hungry trial from a frugal one at equal use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SOLO_S = 3.0

# Each driver sample names one process, so a frugal one can go unnamed for seconds: of two trials, one
# with 15 % of the samples is missed for 3 s once in 100 times, for 10 s never (0.85 ** 100 = 1e-7).
_SILENT_S = 10.0

Origin = Literal["solo", "earlier", "earlier_run", ""]
KnownWatts = Mapping[str, Mapping[str, float]]  # by model of GPU, then by kind of work


@dataclass
class _Solo:
    """A window's time alone: the stretch that goes on now, and all that were long enough.

    Attributes:
        silent_s: Time since the window last used the device; infinite before it first did.
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
        if self.running_s >= SOLO_S:
            self.active_mj += self.running_mj
            self.use_s += self.running_use_s
            self.running_mj, self.running_use_s = 0, 0.0  # the stretch goes on: what follows counts at once

    def end(self) -> None:
        self.running_mj, self.running_use_s, self.running_s = 0, 0.0, 0.0

    @property
    def intensity_w(self) -> float | None:
        return self.active_mj / 1000 / self.use_s if self.use_s > 0 and self.active_mj > 0 else None


class Intensities:
    """The known intensities of one device's windows.

    An intensity comes from natural solo stretches, in which a window alone uses the device for 3 s while
    the others have not begun (ramping up gives these free) or have been silent for 10 s. A search may add
    solo slices: it pauses all windows but one of those that `wanting` names for 3 to 5 s and says so. Else
    it comes from an earlier window with the same key (trainable, batch size, resolution: whatever makes the
    same kind of work); then from an earlier run; else it is unknown.

    Args:
        before_w: By key, what earlier runs learnt on this model of GPU.
    """

    def __init__(self, before_w: Mapping[str, float] | None = None) -> None:
        self._before_w = before_w or {}
        self._keys: dict[str, str] = {}
        self._solos: dict[str, _Solo] = {}
        self._earlier_w: dict[str, float] = {}
        self.slice_of = ""  # the window that the search lets work alone now

    def open(self, window: str, key: str = "") -> None:
        self._keys[window] = key
        self._solos[window] = _Solo()

    def close(self, window: str) -> None:
        """End a window; what it taught serves later windows with the same key."""
        key, solo = self._keys.pop(window), self._solos.pop(window)
        if key and solo.intensity_w is not None:
            self._earlier_w[key] = solo.intensity_w

    def known_w(self, window: str) -> float | None:
        """The window's intensity in watts per utilisation-second."""
        own_w = self._solos[window].intensity_w
        key = self._keys[window]
        return own_w if own_w is not None else self._earlier_w.get(key, self._before_w.get(key))

    def origin(self, window: str) -> Origin:
        if self._solos[window].intensity_w is not None:
            return "solo"
        key = self._keys[window]
        return "earlier" if key in self._earlier_w else "earlier_run" if key in self._before_w else ""

    @property
    def learnt_w(self) -> dict[str, float]:
        """By key, what this run has learnt, of windows that are still open too."""
        solos = {self._keys[window]: solo.intensity_w for window, solo in self._solos.items()}
        return self._earlier_w | {key: watts for key, watts in solos.items() if key and watts is not None}

    def wanting(self) -> list[str]:
        """The windows of which this run has learnt nothing until they have been alone for 3 s.

        What an earlier run learnt is better than plain utilisation, and worse than a slice of this one.
        """
        if len(self._solos) < 2:
            return []
        return [window for window in self._solos if self.origin(window) in {"", "earlier_run"}]

    def observe(
        self, active_mj: int, duration_s: float, use_s: Mapping[str, float], external_s: float
    ) -> None:
        """Learn from a stretch if one window alone used the device in it, from end to end."""
        working = [window for window, seconds in use_s.items() if seconds > 0]
        for window, solo in self._solos.items():
            if working == [window] and not external_s and self._are_others_silent(window):
                solo.add(active_mj, use_s[window], duration_s)
            else:
                solo.end()
        for window, solo in self._solos.items():
            solo.silent_s = 0.0 if window in working else solo.silent_s + duration_s

    def _are_others_silent(self, window: str) -> bool:
        others = [solo for other, solo in self._solos.items() if other != window]
        return self.slice_of == window or all(solo.silent_s >= _SILENT_S for solo in others)

    def interrupt(self) -> None:
        """End all stretches: what the windows did now is unknown."""
        for solo in self._solos.values():
            solo.end()
