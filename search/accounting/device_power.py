"""What each device draws, from what it had used at two readings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.ledger.sessions import DeviceRow

Device = tuple[str, str]  # node and device


class DeviceWatts:
    """Mean power of each device between the last two readings of the meters."""

    def __init__(self) -> None:
        self.now: Mapping[Device, float] = {}
        self._read_s = 0.0
        self._counters_mj: dict[Device, int] = {}

    def on_reading(self, read_s: float, rows: Sequence[DeviceRow]) -> None:
        """Take in what `Run.read_devices` gave; the same reading twice changes nothing."""
        since_s, before_mj = read_s - self._read_s, self._counters_mj
        if since_s <= 0:
            return
        self._read_s = read_s
        self._counters_mj = {(row["node"], row["device"]): row["counter_end_mj"] for row in rows}
        self.now = {
            device: (counter_mj - before_mj[device]) / 1000 / since_s
            for device, counter_mj in self._counters_mj.items()
            if device in before_mj
        }
