"""A device whose counter and users a test moves by hand."""

from __future__ import annotations

from collections.abc import Mapping

from search.energy.attribution.activity import Activity
from search.energy.attribution.windows import Window
from search.energy.counters.counter import SensorError


class FakeCounter:
    """A driver's counter that shows `counter_mj`; a lower value is a reset, None means no answer."""

    sensor, device = "nvml_counter", "GPU-a"
    power_ratio: float | None = None

    def __init__(self, counter_mj: int = 0) -> None:
        self.counter_mj: int | None = counter_mj
        self.counter_start_mj = self._last_mj = counter_mj
        self.num_jumps = self.jumped_mj = self._metered_mj = 0

    def read_mj(self) -> int:
        if self.counter_mj is None:
            raise SensorError("GPU-a: lost")
        moved_mj, self._last_mj = self.counter_mj - self._last_mj, self.counter_mj
        if moved_mj < 0:
            self.num_jumps += 1
            self.jumped_mj += moved_mj
        else:
            self._metered_mj += moved_mj
        return self._metered_mj

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class FakeActivity:
    """The next observation's values; use by windows that are not open is ignored."""

    def __init__(self) -> None:
        self.use_s: dict[str, float | None] = {}
        self.external_s = 0.0
        self.is_occupied: bool | None = None
        self.is_active: bool | None = None

    def begin(self, window: Window, now_s: float) -> None:
        """Do nothing."""

    def observe(self, windows: Mapping[str, Window], now_s: float) -> Activity:
        return Activity(
            use_s={window: self.use_s.get(window, 0.0) for window in windows},
            external_s=self.external_s,
            is_occupied=self.is_occupied,
            is_active=self.is_active,
        )
