"""One meter over the counters of this node: what was measured, times the reserved share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from search.energy.counters import Counter, SensorError, Ticker
from search.energy.gpus import VisibleGpus, visible_gpus
from search.energy.nvml import NvmlPowerIntegral, open_gpu
from search.energy.rapl import POWERCAP, Rapl, RaplCounter, open_rapl
from search.energy.reading import Attribution, EnergyMeter, EnergyReading, EnergySources, Quality


def open_meter(
    *,
    gpu_uuids: Sequence[str] = (),
    gpu_share: float = 1.0,
    cpu_share: float = 1.0,
    gpu_reason: str = "",
    powercap: Path = POWERCAP,
    clock: Callable[[], float] = time.monotonic,
) -> EnergyMeter:
    """Open a meter over the given GPUs and this node's CPUs, starting at 0.

    A sensor that is missing is no error: its part stays None and `sources.reason` says why. One
    missing GPU of several makes the whole GPU part unknown, since a sum without it would be too small.

    Args:
        gpu_uuids: GPUs or MIG slices; none leaves the GPU out of the scope.
        gpu_share: Reserved share of each of these GPUs, in (0, 1].
        cpu_share: Reserved share of the node's CPUs and DRAM, in (0, 1].
        gpu_reason: What `visible_gpus` has to say about the UUIDs; it goes before the meter's own reasons.
        clock: Monotonic seconds.

    Raises:
        ValueError: A share outside (0, 1].
    """
    gpu_fraction, cpu_fraction = _fraction("gpu_share", gpu_share), _fraction("cpu_share", cpu_share)
    gpus, gpu_reasons = _open_gpus(gpu_uuids, gpu_fraction, clock)
    rapl, cpu_reasons = _open_cpus(powercap, clock)
    return NodeMeter(
        gpu=_Part(gpus),
        cpu=_Part([_Device(counter, cpu_fraction) for counter in rapl.packages]),
        dram=_Part([_Device(counter, cpu_fraction) for counter in rapl.dram]),
        reasons=[*filter(None, [gpu_reason]), *gpu_reasons, *cpu_reasons],
        longest_gap_s=_longest_gap_s((*rapl.packages, *rapl.dram)),
    )


def meter_for(*, gpus: float, cpus: float) -> EnergyMeter:
    """Open the meter of a process that has reserved so many GPUs and CPU cores of this node.

    Args:
        gpus: A share of one GPU, or a number of whole ones; 0 leaves the GPU out of the scope.
    """
    visible = visible_gpus(os.environ) if gpus else VisibleGpus((), "")
    return open_meter(
        gpu_uuids=visible.uuids,
        gpu_reason=visible.reason,
        gpu_share=min(gpus, 1.0) or 1.0,
        cpu_share=min(cpus / (os.cpu_count() or 1), 1.0),
    )


def _fraction(name: str, share: float) -> Fraction:
    if not 0 < share <= 1:
        raise ValueError(f"{name} must be in (0, 1], got {share}")
    return Fraction(str(share))  # as it is written: 0.29 of 100 mJ is 29, not floor(28.999999999999996)


@dataclass(frozen=True)
class _Device:
    counter: Counter
    share: Fraction

    def read_mj(self) -> int:
        # Floor of the cumulative product, not of each increment: it stays monotone and loses under 1 mJ.
        return self.counter.read_mj() * self.share.numerator // self.share.denominator


class _Part:
    """All devices of one kind: the sum is known only while each of them answers."""

    def __init__(self, devices: Sequence[_Device]) -> None:
        self.devices = devices
        self.lost = ""

    def read_mj(self) -> int | None:
        try:
            total_mj = sum(device.read_mj() for device in self.devices)
        except SensorError as error:
            self.lost = str(error)
            return None
        self.lost = ""
        return total_mj if self.devices else None

    @property
    def source(self) -> str:
        return "" if self.lost else "+".join(sorted({device.counter.source for device in self.devices}))

    @property
    def attribution(self) -> Attribution:
        if self.lost or not self.devices:
            return ""
        return "exclusive" if all(device.share == 1 for device in self.devices) else "reserved"

    @property
    def quality(self) -> Quality:
        match self.attribution:
            case "":
                return ""
            case "reserved":
                return "D"
            case "exclusive":
                return "C" if NvmlPowerIntegral.source in self.source else "A"

    def reasons(self) -> list[str]:
        jumps = [
            f"{counter.device}: {counter.num_jumps} jump(s) of the counter left out "
            f"({counter.unaccounted_mj} mJ); the energy of those moments is missing"
            for counter in (device.counter for device in self.devices)
            if counter.num_jumps
        ]
        return [self.lost, *jumps] if self.lost else jumps


class NodeMeter:
    """The first form of the meter: whole devices of this node, split by reserved share alone."""

    def __init__(
        self, *, gpu: _Part, cpu: _Part, dram: _Part, reasons: Sequence[str], longest_gap_s: float | None
    ) -> None:
        self._parts = {"gpu": gpu, "cpu": cpu, "dram": dram}
        self._reasons = reasons
        # RAPL wraps within minutes while an epoch may take an hour: somebody has to look in between.
        self._ticker = Ticker(longest_gap_s / 2, self.read) if longest_gap_s else None

    @property
    def sources(self) -> EnergySources:
        gpu, cpu = self._parts["gpu"], self._parts["cpu"]
        parts = self._parts.items()
        reasons = (f"{name}: {reason}" for name, part in parts for reason in part.reasons())
        return EnergySources(
            gpu_source=gpu.source,
            gpu_attribution=gpu.attribution,
            cpu_source=cpu.source,
            cpu_attribution=cpu.attribution,
            scope="+".join(name for name, part in parts if part.source),
            quality=max((part.quality for _, part in parts), default=""),  # "" < "A" < ... < "E"
            reason="; ".join((*self._reasons, *reasons)),
        )

    def read(self) -> EnergyReading:
        return EnergyReading(**{f"{name}_mj": part.read_mj() for name, part in self._parts.items()})

    def close(self) -> None:
        if self._ticker is not None:
            self._ticker.stop()
        for part in self._parts.values():
            _close(part.devices)


def _open_gpus(
    uuids: Sequence[str], share: Fraction, clock: Callable[[], float]
) -> tuple[list[_Device], list[str]]:
    devices: list[_Device] = []
    reasons: list[str] = []
    try:
        for uuid in uuids:
            gpu = open_gpu(uuid, clock)
            devices.append(_Device(gpu.counter, gpu.share * share))
            reasons += filter(None, [gpu.reason])
    except SensorError as error:
        _close(devices)
        return [], [f"gpu: {error}"]
    return devices, [f"gpu: {reason}" for reason in reasons]


def _open_cpus(powercap: Path, clock: Callable[[], float]) -> tuple[Rapl, list[str]]:
    try:
        return open_rapl(powercap, clock), []
    except SensorError as error:
        return Rapl((), ()), [f"cpu: {error}"]


def _close(devices: Sequence[_Device]) -> None:
    for device in devices:
        device.counter.close()


def _longest_gap_s(counters: Sequence[RaplCounter]) -> float | None:
    return min((counter.longest_gap_s for counter in counters), default=None)
