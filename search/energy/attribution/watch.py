"""What is known about the use of one device: who uses it, what idling costs, and the watts of each window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search.energy.attribution.activity import Activity, ActivitySource
from search.energy.attribution.idle_levels import IdleLevels
from search.energy.attribution.process_owners import ProcessHint
from search.energy.attribution.watts_per_utilisation import WattsPerUtilisation

SHORTEST_S = 1.0  # the slowest driver's sample: shorter stretches show no utilisation of their own


@dataclass
class _Use:
    """Utilisation-seconds since the last settlement, over all observations since."""

    windows_s: dict[str, float | None] = field(default_factory=dict)
    external_s: float = 0.0
    seconds: float = 0.0

    def add(self, activity: Activity, duration_s: float) -> None:
        for window, use_s in activity.use_s.items():
            before_s = self.windows_s.get(window, 0.0)
            self.windows_s[window] = None if before_s is None or use_s is None else before_s + use_s
        self.external_s += activity.external_s
        self.seconds += duration_s

    @property
    def is_empty(self) -> bool:
        return not self.external_s and not any(use_s != 0 for use_s in self.windows_s.values())


class Watch:
    """Observes a device's activity and learns its idle levels and its windows' watts on the way.

    Without a source it observes nothing: no window's use is known.

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
        self.looked_s = now_s
        self._source = source
        self._hints: dict[str, ProcessHint] = {}
        self._unobserved_mj = 0
        self._use = _Use()
        self._rates: dict[str, float] = {}

    def open(self, window: str, hint: ProcessHint, now_s: float, *, key: str) -> None:
        self._hints[window] = hint
        self.watts.open(window, key)
        if self._source:
            self._source.begin(window, hint, now_s)

    def close(self, window: str) -> None:
        del self._hints[window]
        self.watts.close(window)

    def take_hint(self, window: str, hint: ProcessHint) -> None:
        """Replace what a window reports about its process."""
        self._hints[window] = hint

    def pass_by(self, increment_mj: int) -> None:
        """Take what the counter moved: the next observation needs what it moved since the last one."""
        self._unobserved_mj += increment_mj

    def look(self, now_s: float) -> None:
        """See who used the device since the last look, and learn from it."""
        duration_s, self.looked_s = now_s - self.looked_s, now_s
        increment_mj, self._unobserved_mj = self._unobserved_mj, 0
        if self._source is None:
            return
        activity = self._source.look(self._hints, now_s)
        self._use.add(activity, duration_s)
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
            active_mj = max(0, increment_mj - round(1000 * self.idle_w * duration_s))
            self.watts.observe(active_mj, duration_s, use_s, activity.external_s)

    @property
    def idle_w(self) -> float:
        """Power with contexts that wait, or without any where that is all that is known."""
        return max(self.levels.context.power_w, self.levels.bare.power_w)

    def take(self) -> Activity:
        """Who used the device since the last taking.

        A stretch too short for a sample of its own continues at the rates of the one before.
        """
        use, self._use = self._use, _Use()
        if self._source is None:
            return Activity(use_s=dict.fromkeys(self._hints))
        if use.seconds < SHORTEST_S and use.is_empty:
            rates = {window: self._rates.get(window, 0.0) for window in self._hints}
            return Activity(use_s={window: rate * use.seconds for window, rate in rates.items()})
        known = {window: use_s for window, use_s in use.windows_s.items() if use_s is not None}
        self._rates = {window: use_s / use.seconds for window, use_s in known.items()} if use.seconds else {}
        return Activity(use_s=use.windows_s, external_s=use.external_s)

    def interrupt(self, now_s: float) -> None:
        """Forget what was seen so far: it and what follows are separated by a time without answers."""
        if self._source:
            self._source.look(self._hints, now_s)
        self.levels.interrupt()
        self.watts.interrupt()
        self.looked_s, self._unobserved_mj = now_s, 0
        self._use, self._rates, self.has_external = _Use(), {}, False
