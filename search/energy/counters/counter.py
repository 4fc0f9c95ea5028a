"""The interface of every energy sensor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

# An NVML call hangs forever when a GPU has fallen off the bus; closing must not hang with it.
_JOIN_TIMEOUT_S = 2.0


class SensorError(Exception):
    """A sensor cannot be read. The message says which, why, and what to do."""


class Counter(Protocol):
    """The energy of one device since this counter was opened. May be read from any thread."""

    @property
    def sensor(self) -> str:
        """The name of the sensor, as in the CSV: "nvml_counter", "rapl_powercap" and so on."""
        ...

    @property
    def device(self) -> str:
        """The UUID of a GPU, the zone of a CPU such as "package-0"."""
        ...

    @property
    def counter_start_mj(self) -> int:
        """The sensor's own value when this counter was opened; 0 if it has no cumulative value."""
        ...

    @property
    def power_ratio(self) -> float | None:
        """The counter relative to the integral of power over the first seconds; None if not compared."""
        ...

    @property
    def num_jumps(self) -> int:
        """How often the sensor moved in a way energy cannot: a reset, a glitch, a missed wrap."""
        ...

    @property
    def jumped_mj(self) -> int:
        """The sum of those jumps, negative for a reset: the sensor shows start + metered + jumped."""
        ...

    def read_mj(self) -> int:
        """Return the millijoules since opening, jumps left out. Starts at 0 and never falls.

        Raises:
            SensorError: The sensor does not answer now; it may recover later.
        """
        ...

    def close(self) -> None: ...


class Ticker:
    """Calls `action` every `interval_s` in a thread of its own, until stopped.

    An exception of the action is logged, equal ones only once, and does not stop the calls.
    """

    def __init__(self, interval_s: float, action: Callable[[], object]) -> None:
        self._interval_s = interval_s
        self._action = action
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="energy-ticker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        logged = set()  # ten samples a second would fill the disk with one error
        while not self._stopped.wait(self._interval_s):
            try:
                self._action()
            except Exception as error:
                if repr(error) not in logged:
                    logging.getLogger(__name__).exception("a sample of the energy meter failed")
                logged.add(repr(error))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(_JOIN_TIMEOUT_S)
