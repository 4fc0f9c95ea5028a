"""What a meter returns: joules, where they come from, and the account of a whole window. Pure.

Meters make these, the journal keeps them, tables read them. Importing this module opens no meter and loads no
driver.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

Attribution = Literal["exclusive", "calibrated", "utilisation", "equal", "reserved", ""]
End = Literal["closed", "pid_died", "heartbeat_lost", ""]
Quality = Literal["A", "B", "C", "D", "E", ""]

_MEASURED = ("gpu", "cpu", "dram")
KINDS = (*_MEASURED, "estimated")  # the parts of a sum, as fields and columns name them
# A shared device is settled once a second, and an NVIDIA counter moves every 20 to 100 ms: shorter stretches
# may have no reading of their own.
LONGEST_TICK_S = 1.0


# The fields that are neither joules nor labels; tables have columns of the same names.
STATISTICS = (
    "exclusive_fraction",
    "coverage_fraction",
    "gpu_power_mean_w",
    "gpu_power_max_w",
    "gpu_power_min_w",
    "gpu_power_limit_w",
    "gpu_util_mean",
    "gpu_temp_mean_c",
    "gpu_sm_clock_mean_mhz",
    "gpu_memory_clock_mean_mhz",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyReading:
    """Integer millijoules since the meter was opened; unknown parts are None, never 0.

    Attributes:
        gpu_active_mj: Part of `gpu_mj` drawn by work: above the idle levels known so far.
        gpu_context_mj: Part of `gpu_mj` drawn by the mere presence of processes on the GPUs.
        gpu_idle_share_mj: Part of `gpu_mj` that the GPUs draw without any process, by reserved share.
        gpu_uncertainty_mj: Expected error of `gpu_mj`, either way.
        cpu_mj: CPU packages, without DRAM that has a counter of its own.
        estimated_mj: Estimated from watts that the user stated; included in no other part.
        lag_s: By part, seconds by which its joules trail the reading; parts that reach it are left out.
    """

    gpu_mj: int | None = None
    cpu_mj: int | None = None
    dram_mj: int | None = None
    estimated_mj: int | None = None
    gpu_active_mj: int | None = None
    gpu_context_mj: int | None = None
    gpu_idle_share_mj: int | None = None
    gpu_uncertainty_mj: int | None = None
    lag_s: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def measured_mj(self) -> int | None:
        """The sum of the known parts that were measured by sensors; None if there are none."""
        known = [part_mj for part in _MEASURED if (part_mj := getattr(self, f"{part}_mj")) is not None]
        return sum(known) if known else None

    @property
    def total_mj(self) -> int | None:
        """Measured and estimated energy; `scope` names the parts. None if nothing is known."""
        return _sum(self.measured_mj, self.estimated_mj)

    @property
    def scope(self) -> str:
        """The parts in `total_mj`, such as "gpu", "gpu+cpu+dram", "cpu+dram", "gpu+estimated" or ""."""
        return "+".join(kind for kind in KINDS if self.part_mj(kind) is not None)

    def part_mj(self, kind: str) -> int | None:
        """Return the part of this kind, one of `KINDS`."""
        part: int | None = getattr(self, f"{kind}_mj")
        return part

    def without(self, kinds: Iterable[str]) -> EnergyReading:
        """Return the reading with these `KINDS` unknown, including their own parts."""
        left_out = tuple(f"{kind}_" for kind in kinds)
        if not left_out:
            return self
        parts = self._parts().items()
        return _of_parts({part: None if f"{part}_".startswith(left_out) else mj for part, mj in parts})

    def only(self, kind: str) -> EnergyReading:
        """Return the reading of one of `KINDS` with its own parts, and the others unknown."""
        return self.without(other for other in KINDS if other != kind)

    def __sub__(self, earlier: EnergyReading) -> EnergyReading:
        """Return what was used since `earlier`; a part is known if both readings know it."""
        mine, theirs = self._parts(), earlier._parts()
        return _of_parts({part: _difference(mine[part], theirs[part]) for part in mine})

    def __add__(self, other: EnergyReading) -> EnergyReading:
        """Return two stretches together; each part is the sum of its known values."""
        mine, theirs = self._parts(), other._parts()
        return _of_parts({part: _sum(mine[part], theirs[part]) for part in mine})

    def each(self, change: Callable[[int], int]) -> EnergyReading:
        """Return the reading with `change` applied to each known part."""
        parts = self._parts().items()
        return _of_parts({part: None if mj is None else change(mj) for part, mj in parts})

    @classmethod
    def sum(cls, readings: Iterable[EnergyReading]) -> EnergyReading:
        """Return all stretches together; without any stretch, nothing is known."""
        return functools.reduce(cls.__add__, readings, cls())

    def to_dict(self) -> dict[str, int]:
        """Return the known parts for the journal; `EnergyReading(**plain)` restores the reading."""
        return {f"{part}_mj": part_mj for part, part_mj in self._parts().items() if part_mj is not None}

    def _parts(self) -> dict[str, int | None]:
        return {part: getattr(self, name) for part, name in _PARTS}


_PARTS = [
    (each.name.removesuffix("_mj"), each.name) for each in fields(EnergyReading) if each.name.endswith("_mj")
]


def _of_parts(parts: Mapping[str, int | None]) -> EnergyReading:
    plain: dict[str, Any] = {f"{part}_mj": mj for part, mj in parts.items()}
    return EnergyReading(**plain)


def _difference(later_mj: int | None, earlier_mj: int | None) -> int | None:
    return None if later_mj is None or earlier_mj is None else later_mj - earlier_mj


def whole_mj(parts: Iterable[int | None]) -> int | None:
    """Return the sum of these joules; None if one part is unknown, since the sum would look frugal."""
    given = list(parts)
    known = [mj for mj in given if mj is not None]
    return sum(known) if known and len(known) == len(given) else None


def _sum(one_mj: int | None, other_mj: int | None) -> int | None:
    return one_mj if other_mj is None else other_mj if one_mj is None else one_mj + other_mj


@dataclass(frozen=True, kw_only=True)
class EnergySensors:
    """The sources of a meter's numbers, and their quality. Empty text means that nothing was measured.

    Attributes:
        gpu_sensor: "nvml_counter", "nvml_power_integral", "amdsmi_counter" or "amdsmi_power_integral", joined
            by + if devices differ.
        gpu_attribution: The method by which, or by a better one, 95 % of the joules were split: "exclusive"
            is the whole device, "calibrated" by utilisation times watts at full use, "utilisation" by
            utilisation alone, "equal" among idle windows, "reserved" by reserved share.
        gpu_model: Joined by + if devices differ; `gpu_driver_version` likewise.
        cpu_model: The node's CPU, known even without a sensor; `cpu_governor` is its present governor.
        cpu_sensor: "rapl_powercap", "estimated_user_model" or "estimated_tdp_model"; DRAM has the same
            source and attribution.
        scope: The parts that can be read now, as `EnergyReading.scope` writes them.
        quality: Quality of the worst part in the scope: A is a counter and an exclusive device, B a counter
            and calibrated shares, C a counter and plain utilisation or an exclusive integral, D reserved or
            equal shares or a shared integral, E an estimate.
        reason: Why nothing or not everything could be measured, and the remedy; empty if all is well.
    """

    gpu_sensor: str = ""
    gpu_attribution: Attribution = ""
    gpu_model: str = ""
    gpu_driver_version: str = ""
    cpu_sensor: str = ""
    cpu_attribution: Attribution = ""
    cpu_model: str = ""
    cpu_governor: str = ""
    scope: str = ""
    quality: Quality = ""
    reason: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the texts by name, for the journal."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EnergySummary:
    """One attempt's account at the meter of its node; final once the window has ended.

    Attributes:
        window: The window's name, which the attempt's rows also have.
        end: Why the window ended; empty while it is open.
        seconds: How long the window was open, starts excluded; `start_s` is how long these took.
        reading: What the training used; `start` is what its starts used.
        exclusive_fraction: Fraction of its time alone on its GPUs, or on its CPUs if it has no GPU.
        coverage_fraction: Fraction of its time for which the counters' increments are in its joules.
        gpu_power_mean_w: Mean total power of its GPUs while it was open, others' work included.
        gpu_power_max_w: Sum of each GPU's largest sample; `gpu_power_min_w` of each GPU's smallest.
        gpu_util_mean: Mean fraction of time in which its GPUs were in use, in [0, 1].
    """

    window: str
    trial: str
    end: End
    seconds: float
    reading: EnergyReading
    sensors: EnergySensors
    start_s: float = 0.0
    start: EnergyReading = field(default_factory=EnergyReading)
    exclusive_fraction: float | None = None
    coverage_fraction: float | None = None
    gpu_power_mean_w: float | None = None
    gpu_power_max_w: float | None = None
    gpu_power_min_w: float | None = None
    gpu_power_limit_w: float | None = None
    gpu_util_mean: float | None = None
    gpu_temp_mean_c: float | None = None
    gpu_sm_clock_mean_mhz: float | None = None
    gpu_memory_clock_mean_mhz: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the journal: whole millijoules, labels and statistics; no unknown values.

        The trial is left out, because the journal's event already names it.
        """
        statistics = {name: getattr(self, name) for name in STATISTICS}
        return {
            "window": self.window,
            "end": self.end,
            "seconds": round(self.seconds, 3),
            "energy": self.reading.to_dict(),
            "start_s": round(self.start_s, 3),
            "start_energy": self.start.to_dict(),
            "sensors": {name: text for name, text in self.sensors.to_dict().items() if text},
            "statistics": {name: value for name, value in statistics.items() if value is not None},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EnergySummary:
        """Restore what `to_dict` returned, from an event that may name the trial."""
        return cls(
            window=plain["window"],
            trial=plain.get("trial") or "",
            end=plain["end"],
            seconds=plain["seconds"],
            reading=EnergyReading(**plain["energy"]),
            start_s=plain["start_s"],
            start=EnergyReading(**plain["start_energy"]),
            sensors=EnergySensors(**plain["sensors"]),
            **plain["statistics"],
        )


class EnergyMeter(Protocol):
    """The joules of one trial, or of one node, since the meter was opened."""

    @property
    def sensors(self) -> EnergySensors:
        """The sensors behind the latest `read()`; they change when a sensor is lost or recovers."""
        ...

    @property
    def window(self) -> str:
        """The trial's window at a node's meter; empty if this meter is the trial's own."""
        ...

    def starting(self) -> AbstractContextManager[None]:
        """Count what is used within the block as a start.

        A start is not training. The first start of a process imports torch and decodes data for all later
        ones.
        """
        ...

    def read_start(self) -> EnergyReading:
        """Return the cumulative millijoules of all starts."""
        ...

    def read(self) -> EnergyReading:
        """Return cumulative millijoules without starts; no part ever decreases.

        A part is None while one of its sensors does not answer. When the sensor recovers, so does the part,
        including the energy of the time between.
        """
        ...

    def close(self) -> None:
        """Stop sampling and release the drivers. Nothing may be read afterwards."""
        ...
