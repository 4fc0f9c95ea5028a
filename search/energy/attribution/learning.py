"""Learn about one device by watching it: who uses it, its idle power, and the watts of each window.

At equal utilisation one trial may draw 120 W and another 560 W. If the split is by utilisation alone, even
perfectly measured, half of the trials are off by 24 % of their active energy or more; with the watts known,
by 4.4 % (simulated: benchmarks/attribution.py). Users need not state watts or idle levels. Both are learnt,
and only from stretches of time in which nothing else can have drawn the power.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from search.energy.attribution.activity import Activity, ActivitySource
from search.energy.attribution.windows import Window
from search.energy.units import to_joules, to_millijoules

SHORTEST_S = 1.0  # the slowest driver's sampling period: shorter stretches show no utilisation of their own
SETTLED_S = 10.0  # without a process before the power counts as bare: clocks and fans must slow down first

_SHORTEST_LEVEL_S = 0.5  # the counter moves in steps of up to 0.1 s, a fifth of the shortest stretch
_NUM_KEPT = 60  # a minute at 1 Hz: long enough for a mean, short enough to follow the room's temperature
ALONE_S = 3.0  # the counter lags by up to 0.1 s at each end: 7 % of 3 s, and less of longer stretches

# Each driver sample names one process, so a process with little work can go unnamed for seconds. Of two
# trials, one with 15 % of the samples is missed for 3 s once in 100 times, and never for 10 s
# (0.85 ** 100 = 1e-7).
_SILENT_S = 10.0

Origin = Literal["own", "earlier", "earlier_run", ""]
KnownWatts = Mapping[str, Mapping[str, float]]  # by GPU model, then by kind of work


class Level:
    """The mean power over the latest 60 stretches; before the first, 0 with `is_known` False."""

    def __init__(self) -> None:
        self._stretches: deque[tuple[int, float]] = deque(maxlen=_NUM_KEPT)

    @property
    def is_known(self) -> bool:
        return bool(self._stretches)

    @property
    def power_w(self) -> float:
        total_mj = sum(increment_mj for increment_mj, _ in self._stretches)
        return (
            to_joules(total_mj) / sum(seconds for _, seconds in self._stretches) if self._stretches else 0.0
        )

    def add(self, increment_mj: int, duration_s: float) -> None:
        self._stretches.append((increment_mj, duration_s))


class IdleLevels:
    """Learns a device's two idle levels, only from stretches of time that show them.

    A CUDA context alone adds 26 to 66 W. Therefore `bare` is learnt only after 10 s without any compute
    process, and `context` only while a process is present from end to end at zero utilisation; neither is
    learnt under load.
    """

    def __init__(self) -> None:
        self.bare = Level()
        self.context = Level()
        self._was_occupied: bool | None = None
        self._empty_s = 0.0
        self._was_quiet = False

    def observe(
        self, increment_mj: int, duration_s: float, *, is_occupied: bool | None, is_active: bool | None
    ) -> None:
        """Learn from a stretch that follows the previous one without a gap.

        Args:
            is_occupied: Whether a compute process is on the device at the stretch's end; None if unknown.
            is_active: Whether anything used the device during the stretch; nothing is learnt if None
                (unknown).
        """
        was_occupied, self._was_occupied = self._was_occupied, is_occupied
        was_quiet, self._was_quiet = self._was_quiet, is_active is False
        stays_empty = was_occupied is False and is_occupied is False and is_active is False
        is_settled = stays_empty and self._empty_s >= SETTLED_S
        self._empty_s = self._empty_s + duration_s if stays_empty else 0.0
        if duration_s < _SHORTEST_LEVEL_S:
            return
        if is_settled:
            self.bare.add(increment_mj, duration_s)
        # The previous stretch must be quiet too, because utilisation is reported up to a second late.
        elif was_occupied and is_occupied and was_quiet and is_active is False:
            self.context.add(increment_mj, duration_s)

    def interrupt(self) -> None:
        """Forget the previous stretch: a time without answers separates it from the next."""
        self._was_occupied, self._was_quiet, self._empty_s = None, False, 0.0


@dataclass
class _Alone:
    """A window's time alone on the device: the current stretch, and all earlier ones of sufficient length.

    Attributes:
        silent_s: Time since the window last used the device; infinite before its first use.
        running_mj: Active energy of the current stretch while it is too short to count.
        active_mj: Active energy of all time that counts, with `use_s` utilisation-seconds.
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
            self.running_mj, self.running_use_s = 0, 0.0  # `running_s` stays: the rest counts at once

    def end(self) -> None:
        self.running_mj, self.running_use_s, self.running_s = 0, 0.0, 0.0

    @property
    def watts_per_utilisation(self) -> float | None:
        return to_joules(self.active_mj) / self.use_s if self.use_s > 0 and self.active_mj > 0 else None


class WattsPerUtilisation:
    """The watts above idle that each window of one device draws at full use.

    Sources, best first:

    1. The window's own time alone: at least 3 s in which only it used the device, while the others had not
       yet begun (such time is free while a search ramps up) or had been silent for 10 s. A search may add
       exclusive slots: it picks one of the windows that `wanting` names and pauses all others for 3 to 5 s.
    2. An earlier window of this run with the same key (trainable, batch size, resolution: whatever makes the
       same kind of work).
    3. A window of an earlier run with that key, on the same GPU model.

    Without any of these the watts are unknown.

    Args:
        before_w: Watts by key that earlier runs learnt on this GPU model.

    Attributes:
        slot_of: The window whose exclusive slot is in progress; empty outside of slots.
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
        """End a window; what was learnt from it serves later windows with the same key."""
        key, own_w = self._keys.pop(window), self._alone.pop(window).watts_per_utilisation
        if key and own_w is not None:
            self._earlier_w[key] = own_w

    def known_w(self, window: str) -> float | None:
        """Return the window's watts at full use; None if unknown."""
        own_w = self._alone[window].watts_per_utilisation
        key = self._keys[window]
        return own_w if own_w is not None else self._earlier_w.get(key, self._before_w.get(key))

    def origin(self, window: str) -> Origin:
        """Return where `known_w` comes from; empty if it is None."""
        if self._alone[window].watts_per_utilisation is not None:
            return "own"
        key = self._keys[window]
        return "earlier" if key in self._earlier_w else "earlier_run" if key in self._before_w else ""

    @property
    def learnt_w(self) -> dict[str, float]:
        """Watts by key that this run has learnt, open windows included."""
        own_w = {self._keys[window]: one.watts_per_utilisation for window, one in self._alone.items()}
        return self._earlier_w | {key: watts for key, watts in own_w.items() if key and watts is not None}

    def wanting(self) -> list[str]:
        """Return the windows about which this run has learnt nothing, and which need an exclusive slot.

        Watts from an earlier run are better than plain utilisation, but worse than a slot in this run.
        """
        if len(self._alone) < 2:
            return []
        return [window for window in self._alone if self.origin(window) in {"", "earlier_run"}]

    def observe(
        self, active_mj: int, duration_s: float, use_s: Mapping[str, float], external_s: float
    ) -> None:
        """Learn from a stretch if only one window used the device in it.

        Args:
            active_mj: What the device used above idle.
            use_s: Utilisation-seconds by window; `external_s` is that of processes of no window.
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
        """End all stretches, since it is unknown what the windows are doing."""
        for one in self._alone.values():
            one.end()


class Watch:
    """Observes a device's activity, and learns its idle levels and its windows' watts from it.

    Without a source it observes nothing, and every window's use is unknown.

    Args:
        before_w: See `WattsPerUtilisation`.
    """

    def __init__(
        self, source: ActivitySource | None, now_s: float, before_w: Mapping[str, float] | None = None
    ) -> None:
        self.levels = IdleLevels()
        self.watts = WattsPerUtilisation(before_w)
        self.has_external = False
        self.unknown = ""  # why a window's use was unknown at the latest observation
        self.observed_s = now_s
        self._source = source
        self._windows: dict[str, Window] = {}
        self._unobserved_mj = 0  # what the counter moved since the last observation
        self._use, self._use_s = Activity(), 0.0  # who used the device since the last settlement
        self._rates: dict[str, float] = {}

    def open(self, window: Window, now_s: float) -> None:
        """Start watching a window."""
        self._windows[window.name] = window
        self.watts.open(window.name, window.key)
        if self._source:
            self._source.begin(window, now_s)

    def close(self, window: str) -> None:
        """Stop watching a window; what was learnt about its kind of work stays."""
        del self._windows[window]
        self.watts.close(window)

    def pass_by(self, increment_mj: int) -> None:
        """Add what the counter moved: the next observation needs the sum since the previous one."""
        self._unobserved_mj += increment_mj

    def observe(self, now_s: float) -> None:
        """Observe who used the device since the last observation, and learn from it."""
        duration_s, self.observed_s = now_s - self.observed_s, now_s
        increment_mj, self._unobserved_mj = self._unobserved_mj, 0
        if self._source is None:
            return
        activity = self._source.observe(self._windows, now_s)
        self._use, self._use_s = self._use.followed_by(activity), self._use_s + duration_s
        self.unknown = activity.unknown
        self.levels.observe(
            increment_mj, duration_s, is_occupied=activity.is_occupied, is_active=activity.is_active
        )
        if duration_s >= SHORTEST_S:
            self.has_external = activity.external_s > 0
        use_s = {window: seconds for window, seconds in activity.use_s.items() if seconds is not None}
        if use_s != activity.use_s:
            self.watts.interrupt()
        elif duration_s:
            active_mj = max(0, increment_mj - to_millijoules(self.idle_w * duration_s))
            self.watts.observe(active_mj, duration_s, use_s, activity.external_s)

    @property
    def idle_w(self) -> float:
        """Power with contexts that wait, or the bare power if that is all that is known."""
        return max(self.levels.context.power_w, self.levels.bare.power_w)

    def take(self) -> Activity:
        """Return who used the device since the last call, and start afresh.

        A stretch too short for a sample of its own is assumed to continue at the previous stretch's rates.
        """
        use, self._use = self._use, Activity()
        seconds, self._use_s = self._use_s, 0.0
        if self._source is None:
            return Activity(use_s=dict.fromkeys(self._windows))
        if seconds < SHORTEST_S and use.is_empty:
            rates = {window: self._rates.get(window, 0.0) for window in self._windows}
            return Activity(use_s={window: rate * seconds for window, rate in rates.items()})
        known = {window: use_s for window, use_s in use.use_s.items() if use_s is not None}
        self._rates = {window: use_s / seconds for window, use_s in known.items()} if seconds else {}
        return Activity(use_s=use.use_s, external_s=use.external_s)

    def interrupt(self, now_s: float) -> None:
        """Forget the activity seen so far: a time without answers separates it from what follows."""
        if self._source:
            self._source.observe(self._windows, now_s)
        self.levels.interrupt()
        self.watts.interrupt()
        self.observed_s, self._unobserved_mj = now_s, 0
        self._use, self._use_s = Activity(), 0.0
        self._rates, self.has_external = {}, False
