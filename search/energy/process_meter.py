"""The meter of one process: a window on a node meter of its own, for trainings outside a search's meters."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from search.energy.counters.rapl import POWERCAP
from search.energy.gpus import VisibleGpus, visible_gpus
from search.energy.meter import SAMPLE_EVERY_S, NodeMeter, as_share
from search.energy.node import CpuPower, NodePaths, open_node_meter
from search.energy.reading import EnergyReading, EnergySensors, EnergySummary


class ProcessMeter:
    """An `EnergyMeter` over one window; closing it also closes the underlying node meter.

    Args:
        reason: The reason from `visible_gpus`, put before the meter's own reasons.
    """

    def __init__(self, node: NodeMeter, window: str, *, reason: str = "") -> None:
        self._node, self._window, self._reason = node, window, reason

    window = ""

    @property
    def sensors(self) -> EnergySensors:
        sensors = self._node.sensors(self._window)
        return replace(sensors, reason="; ".join(filter(None, [self._reason, sensors.reason])))

    @contextmanager
    def starting(self) -> Iterator[None]:
        self._node.begin_start(self._window)
        yield
        self._node.end_start(self._window)  # not after an error: a start that failed is never training

    def read_start(self) -> EnergyReading:
        return self._node.read_start(self._window)

    def read(self) -> EnergyReading:
        return self._node.read(self._window)

    def summary(self) -> EnergySummary:
        """The account up to the latest reading; final after `close`."""
        return replace(self._node.summary(self._window), sensors=self.sensors)

    def close(self) -> None:
        self._node.close_window(self._window)
        self._node.close()


def open_meter(
    *,
    gpu_uuids: Sequence[str] = (),
    gpu_share: float = 1.0,
    cpu_share: float = 1.0,
    gpu_reason: str = "",
    cpu_power: CpuPower | None = None,
    powercap: Path = POWERCAP,
    clock: Callable[[], float] = time.monotonic,
    interval_s: float | None = SAMPLE_EVERY_S,
) -> ProcessMeter:
    """Open a meter over the given GPUs and this node's CPUs, starting at 0.

    The meter sees only its own process: a device that is not fully reserved is split by reserved shares, and
    the rest belongs to others. A missing sensor is not an error: its part stays None, and `sensors.reason`
    says why.

    Args:
        gpu_uuids: GPUs or MIG slices; without any, the GPU is not in the scope.
        gpu_share: Reserved share of each of these GPUs, in (0, 1].
        cpu_share: Reserved share of the node's CPUs and DRAM, in (0, 1].
        gpu_reason: The reason from `visible_gpus`.
        clock: Monotonic seconds.

    Raises:
        ValueError: A share is outside (0, 1], or the watts make no sense.
    """
    # Checked before anything is opened, and also where there is no GPU to use the share.
    checked_gpu_share = as_share("gpu_share", gpu_share)
    checked_cpu_share = as_share("cpu_share", cpu_share)
    shares = dict.fromkeys(gpu_uuids, checked_gpu_share)
    paths = NodePaths(clock=clock, powercap=powercap, is_alone=True)
    node = open_node_meter(cpu_power=cpu_power, paths=paths, interval_s=interval_s)
    window = node.open_window(trial="this process", pid=os.getpid(), gpus=shares, cpu_share=checked_cpu_share)
    return ProcessMeter(node, window, reason=gpu_reason)


def meter_for(*, gpus: float, cpus: float, cpu_power: CpuPower | None = None) -> ProcessMeter:
    """Open the meter of a process that has reserved these GPUs and CPU cores of this node.

    Args:
        gpus: A share of one GPU, or a number of whole GPUs; with 0 the GPU is not in the scope.
    """
    visible = visible_gpus(os.environ) if gpus else VisibleGpus((), "")
    return open_meter(
        gpu_uuids=visible.uuids,
        gpu_reason=visible.reason,
        gpu_share=min(gpus, 1.0) or 1.0,
        cpu_share=min(cpus / (os.cpu_count() or 1), 1.0),
        cpu_power=cpu_power,
    )
