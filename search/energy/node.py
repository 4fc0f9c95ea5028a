"""Open the devices of this node for its meter: GPUs by UUID, CPU packages, DRAM zones or their estimate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

from search.energy.attribution.account import Device, Kind
from search.energy.attribution.activity import CpuActivity, GpuActivity
from search.energy.attribution.learning import KnownWatts
from search.energy.counters.amd import PREFIX as AMD_PREFIX
from search.energy.counters.amd import open_amd_gpu
from search.energy.counters.counter import Counter, SensorError
from search.energy.counters.driver import CallThread
from search.energy.counters.nvml import open_gpu
from search.energy.counters.rapl import POWERCAP, open_rapl, patient_reader
from search.energy.counters.user_model import BY_TDP, BY_WATTS, UserModelCounter, watts_of_tdp
from search.energy.hardware import CPUINFO, CPUS, read_cpu_labels
from search.energy.meter import SAMPLE_EVERY_S, NodeMeter
from search.energy.processes import ProcessTable


@dataclass(frozen=True, kw_only=True)
class CpuWatts:
    """Watts of the node's CPUs as stated by the user, for nodes that measure nothing.

    Attributes:
        sensor: Whether they come from stated watts (`BY_WATTS`) or a TDP (`BY_TDP`).
    """

    idle_w: float
    max_w: float
    sensor: str = BY_WATTS


@dataclass(frozen=True, kw_only=True)
class CpuTdp:
    """The thermal design power of a processor as stated by the user, for nodes that measure nothing.

    Attributes:
        threads: Threads of the processor, of which the node may have only some, and the same share of the
            TDP. None means that the TDP is that of the whole node, all its processors together.
    """

    tdp_w: float
    threads: int | None = None

    def watts(self, num_cpus: int) -> CpuWatts:
        """Return the watts of a node that has `num_cpus` threads."""
        share = 1.0 if self.threads is None else num_cpus / self.threads
        idle_w, max_w = watts_of_tdp(self.tdp_w, share)
        return CpuWatts(idle_w=idle_w, max_w=max_w, sensor=BY_TDP)


CpuPower = CpuWatts | CpuTdp


@dataclass(frozen=True, kw_only=True)
class NodePaths:
    """The clock, process table and paths that all devices of a node share.

    Attributes:
        is_alone: Whether the meter sees only its own process, so that what this process did not reserve
            belongs to others.
    """

    clock: Callable[[], float] = time.monotonic
    processes: ProcessTable = field(default_factory=ProcessTable)
    powercap: Path = POWERCAP
    cpuinfo: Path = CPUINFO
    cpus: Path = CPUS
    is_alone: bool = False


def open_node_meter(
    gpu_uuids: Sequence[str] = (),
    *,
    cpu_power: CpuPower | None = None,
    paths: NodePaths | None = None,
    interval_s: float | None = SAMPLE_EVERY_S,
    known_w: KnownWatts | None = None,
) -> NodeMeter:
    """Open this node's meter, which watches the given GPUs from now on and others from their first window.

    A missing sensor is not an error: its part stays None, and the window's reason says why.

    Args:
        cpu_power: Counted in a column of its own, and only if no CPU counter can be read.
        interval_s: Longest time between samples; None leaves sampling to `tick`, `read` and window changes.
        known_w: Watts of GPUs by kind of work, as earlier runs learnt them.

    Raises:
        ValueError: The watts are negative, or higher when idle than at work.
    """
    around = paths or NodePaths()
    cpus, missing = _cpu_devices(around, cpu_power)
    node = NodeMeter(
        cpus=cpus,
        open_gpu=partial(_gpu_device, around),
        missing=missing,
        processes=around.processes,
        read_machine=partial(read_cpu_labels, cpuinfo=around.cpuinfo, cpus=around.cpus),
        clock=around.clock,
        interval_s=interval_s and min([interval_s, *(_longest_gap_s(device.counter) / 2 for device in cpus)]),
        known_w=known_w,
    )
    for uuid in gpu_uuids:
        node.add_gpu(uuid)
    return node


def _gpu_device(around: NodePaths, uuid: str) -> tuple[Device, Fraction]:
    """Open the GPU with the source of its activity; return it with the share of it that `uuid` is.

    No driver reports who uses a MIG slice, and the other slices belong to others, so reserved shares are all
    there is to split by.
    """
    gpu = open_amd_gpu(uuid, around.clock) if uuid.startswith(AMD_PREFIX) else open_gpu(uuid, around.clock)
    is_whole = gpu.share == 1
    device = Device(
        name=gpu.counter.device,
        kind="gpu",
        counter=gpu.counter,
        activity=GpuActivity(gpu.telemetry, around.processes) if is_whole else None,
        telemetry=gpu.telemetry,
        is_rest_external=around.is_alone or not is_whole,
        reason=gpu.reason,
    )
    return device, gpu.share


def _cpu_devices(around: NodePaths, power: CpuPower | None) -> tuple[list[Device], dict[str, str]]:
    """Open packages and DRAM zones, or the estimate in their place; also return why kinds are missing.

    Measured and estimated joules are never mixed: if any package can be read, stated watts are not used.
    """

    def device(kind: Kind, counter: Counter) -> Device:
        return Device(
            name=counter.device,
            kind=kind,
            counter=counter,
            activity=CpuActivity(around.processes),
            is_rest_external=around.is_alone,
        )

    try:
        rapl = open_rapl(around.powercap, around.clock, patient_reader(CallThread(str(around.powercap))))
    except SensorError as error:
        estimate, missing_reason = _estimate(around, power)
        return [device("estimated", counter) for counter in estimate], {"cpu": str(error)} | missing_reason
    packages = [device("cpu", counter) for counter in rapl.packages]
    missing = {"dram": rapl.no_dram_reason} if rapl.no_dram_reason else {}
    return [*packages, *(device("dram", counter) for counter in rapl.dram)], missing


def _estimate(around: NodePaths, power: CpuPower | None) -> tuple[list[Counter], dict[str, str]]:
    """Open the counter of stated watts if any were stated; also return why it is missing."""
    if power is None:
        return [], {}
    watts = power if isinstance(power, CpuWatts) else power.watts(os.cpu_count() or 1)
    clock, processes = around.clock, around.processes
    try:
        counter = UserModelCounter(
            watts.idle_w, watts.max_w, clock=clock, processes=processes, sensor=watts.sensor
        )
        return [counter], {}
    except SensorError as error:
        return [], {"estimated": str(error)}


def _longest_gap_s(counter: Counter) -> float:
    """How long a counter may go unread: RAPL wraps within minutes, while an epoch may take an hour."""
    return getattr(counter, "longest_gap_s", 2 * SAMPLE_EVERY_S)
