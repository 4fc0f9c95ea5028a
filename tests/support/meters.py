"""Node meters for tests, with one device and a counter that the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from search.energy.attribution.account import Device
from search.energy.attribution.windows import Role
from search.energy.meter import NodeMeter
from search.energy.processes import ProcessTable
from search.energy.reading import EnergyReading, EnergySensors, EnergySummary


class MovedCounter:
    """A counter that stands still until a test moves it."""

    sensor = "nvml_counter"
    device = "GPU-one"
    num_jumps = jumped_mj = 0
    counter_start_mj = 1000
    power_ratio = None

    def __init__(self) -> None:
        self.metered_mj = 0

    def read_mj(self) -> int:
        return self.metered_mj

    def close(self) -> None:
        return None


class OneGpu:
    """A run's `Metering` on a node with one GPU, and the meters of its trials.

    Args:
        share: Fraction of the GPU that each trial reserves.
    """

    def __init__(self, clock: Any, share: str = "1") -> None:
        self.counter, self._share = MovedCounter(), Fraction(share)
        self._windows: dict[str, list[str]] = {}
        device = Device(name="GPU-one", kind="gpu", counter=self.counter)
        self.node = NodeMeter(
            cpus=(),
            open_gpu=lambda uuid: (device, Fraction(1)),
            processes=ProcessTable(),
            clock=clock,
            interval_s=None,
        )
        self.node.add_gpu("GPU-one")

    def window(self, trial_id: str, role: Role = "trial") -> OneWindow:
        gpus = {"GPU-one": self._share}
        name = self.node.open_window(trial=trial_id, pid=1, gpus=gpus, cpu_share=1, role=role)
        self._windows.setdefault(trial_id, []).append(name)
        return OneWindow(self.node, name)

    def close_windows(self, trial_id: str) -> Sequence[EnergySummary]:
        names = self._windows.pop(trial_id, [])
        return [self.node.close_window(name) for name in names]

    def late_windows(self) -> Sequence[EnergySummary]:
        return ()

    def device_rows(self) -> Sequence[Mapping[str, Any]]:
        return self.node.device_rows()


class OneWindow:
    """An `EnergyMeter` of one window."""

    def __init__(self, node: NodeMeter, window: str) -> None:
        self._node, self.window = node, window

    @property
    def sensors(self) -> EnergySensors:
        return self._node.sensors(self.window)

    @contextmanager
    def starting(self) -> Iterator[None]:
        self._node.begin_start(self.window)
        yield
        self._node.end_start(self.window)

    def read_start(self) -> EnergyReading:
        return self._node.read_start(self.window)

    def read(self) -> EnergyReading:
        return self._node.read(self.window)

    def close(self) -> None:
        return None
