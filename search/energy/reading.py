"""What a meter gives: joules, where they come from, and the account of a whole window. Pure.

Made by a meter, kept in the journal, read by tables: to import this opens no meter and loads no driver.
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
# A shared device is settled once a second, and an NVIDIA counter moves each 20 to 100 ms: what is shorter may
# have no reading of its own.
LONGEST_TICK_S = 1.0


# The fields that are no joules and no labels; tables have columns of the same names.
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
    """Integer millijoules since the meter was opened; None is unknown, never 0.

    Attributes:
        gpu_active_mj: Share of `gpu_mj` that work drew: what is above idle, as far as idling is known by now.
        gpu_context_mj: Share that the mere presence of processes on the GPUs drew.
        gpu_idle_share_mj: Share that the GPUs draw without any process, by reserved share.
        gpu_uncertainty_mj: Error of `gpu_mj` to be expected, either way.
        cpu_mj: CPU packages, without the DRAM that has a counter of its own.
        estimated_mj: By watts the user stated, in no other part.
        lag_s: By part, how long before the reading its joules end; none where they reach up to it.
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
        """The sum of the known parts that a sensor measured; None if there is none."""
        known = [part_mj for part in _MEASURED if (part_mj := getattr(self, f"{part}_mj")) is not None]
        return sum(known) if known else None

    @property
    def total_mj(self) -> int | None:
        """What was measured and what was estimated; `scope` names the parts. None if nothing is known."""
        return _sum(self.measured_mj, self.estimated_mj)

    @property
    def scope(self) -> str:
        """The parts in `total_mj`, such as "gpu", "gpu+cpu+dram", "cpu+dram", "gpu+estimated" or ""."""
        return "+".join(kind for kind in KINDS if self.part_mj(kind) is not None)

    def part_mj(self, kind: str) -> int | None:
        """One of `KINDS`."""
        part: int | None = getattr(self, f"{kind}_mj")
        return part

    def without(self, kinds: Iterable[str]) -> EnergyReading:
        """The reading with these of `KINDS` unknown, and their own parts."""
        left_out = tuple(f"{kind}_" for kind in kinds)
        if not left_out:
            return self
        parts = self._parts().items()
        return _of_parts({part: None if f"{part}_".startswith(left_out) else mj for part, mj in parts})

    def only(self, kind: str) -> EnergyReading:
        """One of `KINDS`, with its own parts; the others unknown."""
        return self.without(other for other in KINDS if other != kind)

    def __sub__(self, earlier: EnergyReading) -> EnergyReading:
        """What was used since `earlier`: a part is known where both readings know it."""
        mine, theirs = self._parts(), earlier._parts()
        return _of_parts({part: _difference(mine[part], theirs[part]) for part in mine})

    def __add__(self, other: EnergyReading) -> EnergyReading:
        """Two stretches together: a part is the sum of what is known of it."""
        mine, theirs = self._parts(), other._parts()
        return _of_parts({part: _sum(mine[part], theirs[part]) for part in mine})

    def each(self, change: Callable[[int], int]) -> EnergyReading:
        """The reading with `change` of each known part."""
        parts = self._parts().items()
        return _of_parts({part: None if mj is None else change(mj) for part, mj in parts})

    @classmethod
    def sum(cls, readings: Iterable[EnergyReading]) -> EnergyReading:
        """All stretches together; of no stretch at all, nothing is known."""
        return functools.reduce(cls.__add__, readings, cls())

    def to_dict(self) -> dict[str, int]:
        """The known parts, for the journal: `EnergyReading(**plain)` gives the reading back."""
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


def _sum(one_mj: int | None, other_mj: int | None) -> int | None:
    return one_mj if other_mj is None else other_mj if one_mj is None else one_mj + other_mj


@dataclass(frozen=True, kw_only=True)
class EnergySensors:
    """Where a meter's numbers come from and what they are worth. Empty text is "nothing measured".

    Attributes:
        gpu_sensor: "nvml_counter" or "nvml_power_integral", joined by + where devices differ.
        gpu_attribution: How 95 % of the joules were split, or better: "exclusive" is the whole device,
            "calibrated" by utilisation times watts at full use, "utilisation" by it alone, "equal" among idle
            windows, "reserved" by reserved share.
        gpu_model: Joined by + where devices differ; `gpu_driver_version` likewise.
        cpu_model: The node's, known where none of its sensors is; `cpu_governor` is the one of this moment.
        cpu_sensor: "rapl_powercap", "estimated_user_model" or "estimated_tdp_model"; DRAM has the same
            source and attribution.
        scope: The parts that can be read now, as `EnergyReading.scope` writes them.
        quality: That of the worst part in the scope. A counter and exclusive, B counter and calibrated
            shares, C counter and plain utilisation or exclusive integral, D reserved or equal shares or
            a shared integral, E estimated.
        reason: Why nothing or not everything could be measured, and the remedy. Empty if all is well.
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
        """The texts by name, for the journal."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EnergySummary:
    """One attempt's account with the meter of its node; final once the window has ended.

    Attributes:
        window: Its name, which the rows of the attempt bear too.
        end: Why the window ended; empty while it is open.
        seconds: How long it was open, its starts left out; `start_s` is how long these took.
        reading: What the training used; `start` is what its starts used.
        exclusive_fraction: Share of its time alone on its GPUs, or on its CPUs where it has no GPU.
        coverage_fraction: Share of its time for which the counters' increments are in its joules.
        gpu_power_mean_w: Mean power of its whole GPUs together while it was open, others' work included.
        gpu_power_max_w: Sum of each GPU's largest sample; `gpu_power_min_w` of each one's smallest.
        gpu_util_mean: Mean share of time in which its GPUs were in use, in [0, 1].
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
        """Plain data for the journal: whole millijoules, labels and statistics; what is unknown is left out.

        The trial is the event's own and not repeated here.
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
        """What `to_dict` gave, from an event that may name the trial."""
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
        """What the latest `read()` was made of: it changes when a sensor is lost or comes back."""
        ...

    @property
    def window(self) -> str:
        """The account that a node's meter keeps for the trial; empty if this meter is the trial's own."""
        ...

    def starting(self) -> AbstractContextManager[None]:
        """Keep what is used meanwhile apart: a start is no training, and may be the first of its process,
        which imports torch and decodes data for all that follow."""
        ...

    def read_start(self) -> EnergyReading:
        """Cumulative millijoules of all starts, as `read` gives those of training."""
        ...

    def read(self) -> EnergyReading:
        """Cumulative millijoules, starts left out. Each part only ever rises.

        A part is None while one of its sensors does not answer. When the sensor comes back, so does
        the part, with the energy of the time between.
        """
        ...

    def close(self) -> None:
        """End sampling and free the drivers. Nothing may be read afterwards."""
        ...
