"""The actor that holds a node's meter, with the leases of each trial."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from search.energy import (
    CpuWatts,
    EnergyReading,
    EnergySources,
    LeaseFigures,
    open_node_meter,
    visible_gpus,
)
from search.energy.attribution.calibration_slots import SoloTurns
from search.energy.attribution.watts_per_utilisation import KnownWatts
from search.energy.attribution.windows import Role

_SILENCE_S = 60.0  # six heartbeats: a worker that swaps or loads a network disk may miss some


class MeterActor:
    """A node's meter, with the leases of each trial."""

    def __init__(self, cpu_watts: CpuWatts | None, known_w: KnownWatts | None = None) -> None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all GPUs from an actor that reserves none
        self._meter = open_node_meter(visible_gpus(os.environ).uuids, cpu_watts=cpu_watts, known_w=known_w)
        self._open: dict[str, list[str]] = {}
        self._closed: dict[str, LeaseFigures] = {}
        self._turns = SoloTurns(self._meter, time.monotonic)
        self._turns_lock = threading.Lock()

    def has_devices(self) -> bool:
        return bool(self._meter.device_rows())

    def open_lease(
        self,
        trial_id: str,
        pid: int,
        gpus: dict[str, float],
        cpu_share: float,
        key: str,
        role: Role = "trial",
    ) -> str:
        """Open a lease whose training has yet to start."""
        lease = self._meter.open_lease(
            trial=trial_id,
            pid=pid,
            gpus=gpus,
            cpu_share=cpu_share,
            key=key,
            role=role,
            heartbeat_timeout_s=_SILENCE_S,
            is_starting=True,
        )
        self._open.setdefault(trial_id, []).append(lease)
        return lease

    def heartbeat(self, lease: str) -> None:
        self._meter.heartbeat(lease)

    def begin_start(self, lease: str) -> None:
        self._meter.begin_start(lease)

    def end_start(self, lease: str) -> None:
        self._meter.heartbeat(lease)
        self._meter.end_start(lease)

    def read(self, lease: str) -> EnergyReading:
        self._meter.heartbeat(lease)
        return self._meter.read(lease)

    def read_start(self, lease: str) -> EnergyReading:
        return self._meter.read_start(lease)

    def sources(self, lease: str) -> EnergySources:
        return self._meter.sources(lease)

    def may_go(self, lease: str) -> bool:
        """Whether the trial may start its next epoch, with solo slices."""
        self._meter.heartbeat(lease)
        with self._turns_lock:
            return self._turns.may_go(lease)

    def close_leases(self, trial_id: str) -> dict[str, LeaseFigures]:
        """End the trial's leases; gives the figures of all that have ended so and were not acknowledged."""
        leases = self._open.pop(trial_id, [])
        with self._turns_lock:
            for lease in leases:
                self._turns.leave(lease)
        self._closed |= {lease: self._meter.close_lease(lease) for lease in leases}
        return self.closed_leases()

    def closed_leases(self) -> dict[str, LeaseFigures]:
        """Those whose figures nobody acknowledged: an answer may get lost."""
        return dict(self._closed)

    def acknowledge(self, leases: Iterable[str]) -> None:
        """Give these leases no more: whoever asked has them."""
        for lease in leases:
            self._closed.pop(lease, None)

    def device_rows(self) -> list[dict[str, Any]]:
        return self._meter.device_rows()
