"""The actor that holds a node's meter, with the windows of each trial."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from search.energy.attribution.calibration_slots import CalibrationSlots
from search.energy.attribution.watts_per_utilisation import KnownWatts
from search.energy.attribution.windows import Role
from search.energy.gpus import visible_gpus
from search.energy.node import CpuWatts, open_node_meter
from search.energy.reading import EnergyReading, EnergySensors, EnergySummary

_SILENCE_S = 60.0  # six heartbeats: a worker that swaps or loads a network disk may miss some


class MeterActor:
    """A node's meter, with the windows of each trial."""

    def __init__(self, cpu_watts: CpuWatts | None, known_w: KnownWatts | None = None) -> None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all GPUs from an actor that reserves none
        self._meter = open_node_meter(visible_gpus(os.environ).uuids, cpu_watts=cpu_watts, known_w=known_w)
        self._open: dict[str, list[str]] = {}
        self._closed: dict[str, EnergySummary] = {}
        self._slots = CalibrationSlots(self._meter, time.monotonic)
        self._slots_lock = threading.Lock()

    def has_devices(self) -> bool:
        return bool(self._meter.device_rows())

    def open_window(
        self,
        trial_id: str,
        pid: int,
        gpus: dict[str, float],
        cpu_share: float,
        key: str,
        role: Role = "trial",
    ) -> str:
        """Open a window whose training has yet to start."""
        window = self._meter.open_window(
            trial=trial_id,
            pid=pid,
            gpus=gpus,
            cpu_share=cpu_share,
            key=key,
            role=role,
            heartbeat_timeout_s=_SILENCE_S,
            is_starting=True,
        )
        self._open.setdefault(trial_id, []).append(window)
        return window

    def heartbeat(self, window: str) -> None:
        self._meter.heartbeat(window)

    def begin_start(self, window: str) -> None:
        self._meter.begin_start(window)

    def end_start(self, window: str) -> None:
        self._meter.heartbeat(window)
        self._meter.end_start(window)

    def read(self, window: str) -> EnergyReading:
        self._meter.heartbeat(window)
        return self._meter.read(window)

    def read_start(self, window: str) -> EnergyReading:
        return self._meter.read_start(window)

    def sensors(self, window: str) -> EnergySensors:
        return self._meter.sensors(window)

    def may_start_epoch(self, window: str) -> bool:
        """Whether the trial may start its next epoch, with exclusive slots."""
        self._meter.heartbeat(window)
        with self._slots_lock:
            return self._slots.may_start_epoch(window)

    def close_windows(self, trial_id: str) -> dict[str, EnergySummary]:
        """End the trial's windows; gives the summary of all that have ended so and were not acknowledged."""
        windows = self._open.pop(trial_id, [])
        with self._slots_lock:
            for window in windows:
                self._slots.leave(window)
        self._closed |= {window: self._meter.close_window(window) for window in windows}
        return self.closed_windows()

    def closed_windows(self) -> dict[str, EnergySummary]:
        """Those whose summary was not acknowledged: an answer may get lost."""
        return dict(self._closed)

    def acknowledge(self, windows: Iterable[str]) -> None:
        """Drop acknowledged windows."""
        for window in windows:
            self._closed.pop(window, None)

    def device_rows(self) -> list[dict[str, Any]]:
        return self._meter.device_rows()
