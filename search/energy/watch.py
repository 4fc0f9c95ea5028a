"""What is known about the use of one device: who works on it, what idling costs, how hungry each lease is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from search.energy.activity import Activity, ActivitySource
from search.energy.idle_levels import IdleLevels
from search.energy.intensity import Intensities
from search.energy.owners import Holder

LOOK_EVERY_S = 5.0  # 30 driver samples: splits of single seconds, 6 samples, lean to the frugal trial
SHORTEST_LOOK_S = 1.0  # the slowest driver's sample: shorter stretches show no utilisation of their own


class Watch:
    """Looks at a device's activity and learns its idle levels and its leases' intensities on the way.

    Without a source it never looks: nobody's use is known.
    """

    def __init__(self, source: ActivitySource | None, now_s: float) -> None:
        self.levels = IdleLevels()
        self.intensities = Intensities()
        self.has_external = False
        self.looked_s = now_s
        self._source = source
        self._holders: dict[str, Holder] = {}
        self._unlooked_mj = 0
        self._rates: Mapping[str, float] = {}

    def open(self, lease: str, holder: Holder, now_s: float, *, key: str) -> None:
        self._holders[lease] = holder
        self.intensities.open(lease, key)
        if self._source:
            self._source.begin(lease, holder, now_s)

    def close(self, lease: str) -> None:
        del self._holders[lease]
        self.intensities.close(lease)

    def hold(self, lease: str, holder: Holder) -> None:
        """Take what a lease tells about its process anew."""
        self._holders[lease] = holder

    def pass_by(self, increment_mj: int) -> Activity:
        """A stretch whose split needs nobody's use: it counts towards the next look."""
        self._unlooked_mj += increment_mj
        return Activity(use_s=dict.fromkeys(self._holders))

    def look(self, increment_mj: int, now_s: float) -> Activity:
        """Who used the device since the last look.

        A stretch too short for a sample of its own goes on at the rates of the one before.
        """
        duration_s, self.looked_s = now_s - self.looked_s, now_s
        moved_mj, self._unlooked_mj = self._unlooked_mj + increment_mj, 0
        if self._source is None:
            return Activity(use_s=dict.fromkeys(self._holders))
        activity = self._source.look(self._holders, now_s)
        self.levels.observe(
            moved_mj, duration_s, is_occupied=activity.is_occupied, is_active=activity.is_active
        )
        use_s = {lease: seconds for lease, seconds in activity.use_s.items() if seconds is not None}
        if duration_s >= SHORTEST_LOOK_S:
            self._rates = {lease: seconds / duration_s for lease, seconds in use_s.items()}
            self.has_external = activity.external_s > 0
        elif not any(activity.use_s.values()) and not activity.external_s and activity.use_s == use_s:
            use_s = {lease: self._rates.get(lease, 0.0) * duration_s for lease in use_s}
            return replace(activity, use_s=use_s)
        return activity

    def learn(self, active_mj: int, duration_s: float, activity: Activity) -> None:
        """Take what the leases and external processes used above idle in the stretch just looked at."""
        use_s = {lease: seconds for lease, seconds in activity.use_s.items() if seconds is not None}
        if use_s == activity.use_s:
            self.intensities.observe(active_mj, duration_s, use_s, activity.external_s)
        else:
            self.intensities.interrupt()

    def interrupt(self, now_s: float) -> None:
        """Forget what was seen so far: a time without answers lies between it and what follows."""
        if self._source:
            self._source.look(self._holders, now_s)
        self.levels.interrupt()
        self.intensities.interrupt()
        self.looked_s, self._unlooked_mj, self._rates = now_s, 0, {}
