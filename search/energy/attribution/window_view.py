"""Combine a window's records on all its devices into a reading, its labels and a summary.

A window has one record per device (`windows.WindowRecord`). Readers want less: joules by kind of device, and
a single grade of their quality. Two rules combine the records:

- Joules add up. The sum is known only if every device of the kind is known; it would be too small otherwise.
- Labels are those of the worst device. A trial on two GPUs, one of them shared, has the quality of the shared
  one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from search.energy.attribution.account import DeviceAccount, Kind
from search.energy.attribution.windows import Window, WindowRecord
from search.energy.counters.gpu import USE_BY_PROCESS, GpuTelemetry, is_plausible
from search.energy.reading import Attribution, EnergyReading, EnergySensors, EnergySummary, Quality
from search.printable import counted

# Ordered by the error of the split (`windows.RELATIVE_ERROR`).
_WORST_LAST: tuple[Attribution, ...] = ("", "exclusive", "calibrated", "utilisation", "equal", "reserved")
_QUALITY: Mapping[Attribution, Quality] = {
    "": "",
    "exclusive": "A",
    "calibrated": "B",
    "utilisation": "C",
    "equal": "D",
    "reserved": "D",
}


@dataclass(frozen=True, kw_only=True)
class WindowView:
    """A window's devices of one kind, each with the window's record there.

    Attributes:
        missing: Why the window lacks all or some of its devices of this kind; empty if it has them all.
        is_ended: Whether the window has ended, so that its devices' present state no longer matters.
    """

    accounts: Sequence[DeviceAccount] = ()
    records: Sequence[WindowRecord] = ()
    missing: str = ""
    is_ended: bool = False

    @property
    def lost(self) -> str:
        """Why the joules are unknown; empty if known. Failures after the window's end do not count."""
        if self.missing:
            return self.missing
        if self.is_ended:
            return next((record.lost for record in self.records if record.lost), "")
        return next((account.lost for account in self.accounts if account.lost), "")

    @property
    def is_known(self) -> bool:
        """Whether there is a device of this kind and every one of them answers."""
        return bool(self.accounts) and not self.lost

    def sum_mj(self, of: Callable[[WindowRecord], int]) -> int | None:
        """Sum a quantity of the records over all devices of the kind; None if any of them is unknown."""
        return sum(map(of, self.records)) if self.is_known else None

    @property
    def lag_s(self) -> float:
        """Seconds by which the joules trail the latest sample; 0 if they reach it."""
        is_open = self.is_known and not self.is_ended
        return max((account.lag_s for account in self.accounts), default=0.0) if is_open else 0.0

    @property
    def of_start(self) -> WindowView:
        """The same devices with the records of the window's starts."""
        starts = [
            replace(record.start or WindowRecord(record.share), lost=record.lost) for record in self.records
        ]
        return replace(self, records=starts)

    @property
    def sensor(self) -> str:
        """The joules' sensors, joined by + if devices differ; empty while the joules are unknown."""
        sensors = {account.device.counter.sensor for account in self.accounts}
        return "+".join(sorted(sensors)) if self.is_known else ""

    @property
    def telemetries(self) -> list[GpuTelemetry | None]:
        """Each device's telemetry; None for a device that has only a counter."""
        return [account.device.telemetry for account in self.accounts]

    @property
    def power_limits_w(self) -> list[float | None]:
        """The power limit of each device; None if unknown."""
        return [None if shown is None else shown.power_limit_w for shown in self.telemetries]

    @property
    def attribution(self) -> Attribution:
        """How the joules were split: the worst method among the devices."""
        methods = [record.method for record in self.records] if self.is_known else []
        return max(methods, key=_WORST_LAST.index, default="")

    @property
    def quality(self) -> Quality:
        """The quality of the joules, from A to E.

        An integral of power is never better than C, because it misses what happens between two samples at
        10 Hz. Watts that the user stated are E, however they were split.
        """
        if "estimated" in self.sensor:
            return "E"
        if "integral" in self.sensor and self.attribution:
            return "C" if self.attribution == "exclusive" else "D"
        return _QUALITY[self.attribution]

    def reasons(self) -> list[str]:
        """Return why this part of the reading is unknown, or worth less than it seems."""
        reasons = [self.lost, *(reason for account in self.accounts for reason in account_reasons(account))]
        reasons += [
            f"{account.device.name}: calibrated with what an earlier run learnt about this kind of work"
            for account, record in zip(self.accounts, self.records, strict=True)
            if record.is_by_earlier_run
        ]
        return [reason for reason in reasons if reason]


Views = Mapping[Kind, WindowView]  # all four kinds, in the order of a scope


def account_reasons(account: DeviceAccount) -> list[str]:
    """Return what readers of a device's numbers must know."""
    counter, reasons = account.device.counter, [account.device.reason]
    if account.watch.unknown:
        reasons.append(f"{counter.device}: which processes use it is unknown: {account.watch.unknown}")
    if counter.num_jumps:
        reasons.append(
            f"{counter.device}: {counted(counter.num_jumps, 'jump')} of the counter left out "
            f"({counter.jumped_mj} mJ); their energy is missing"
        )
    if account.gap_mj:
        reasons.append(f"{counter.device}: {account.gap_mj} mJ from gaps in sampling belong to no trial")
    if not is_plausible(counter.power_ratio):
        reasons.append(
            f"{counter.device}: its energy counter moved {counter.power_ratio:.2f} times what its power "
            "readings imply; power is integrated instead"
        )
    if account.device.telemetry:
        reasons.extend(_unknown_values(counter.device, account.device.telemetry.unknown))
    return reasons


def _unknown_values(device: str, unknown: Mapping[str, str]) -> list[str]:
    """Group what a device does not show by the reason; unknown use by process is reported separately."""
    by_reason: dict[str, list[str]] = {}
    for what, why in unknown.items():
        if what != USE_BY_PROCESS:
            by_reason.setdefault(why, []).append(what)
    return [f"{device}: no {', '.join(sorted(whats))}: {why}" for why, whats in by_reason.items()]


def read(views: Views, *, is_start: bool = False) -> EnergyReading:
    """Return what a window's training used; with `is_start`, what its starts used instead."""
    if is_start:
        views = {kind: view.of_start for kind, view in views.items()}
    gpu = views["gpu"]
    return EnergyReading(
        lag_s={kind: view.lag_s for kind, view in views.items() if view.lag_s},
        gpu_mj=gpu.sum_mj(lambda record: record.used_mj),
        cpu_mj=views["cpu"].sum_mj(lambda record: record.used_mj),
        dram_mj=views["dram"].sum_mj(lambda record: record.used_mj),
        estimated_mj=views["estimated"].sum_mj(lambda record: record.used_mj),
        gpu_active_mj=gpu.sum_mj(lambda record: record.active_mj),
        gpu_context_mj=gpu.sum_mj(lambda record: record.context_mj),
        gpu_idle_share_mj=gpu.sum_mj(lambda record: record.idle_share_mj),
        gpu_uncertainty_mj=gpu.sum_mj(lambda record: record.uncertainty_mj),
    )


def describe_sensors(views: Views, machine: EnergySensors) -> EnergySensors:
    """Return the sensors behind a window's reading, and its quality.

    Args:
        machine: Labels of the node's CPUs, which are known even without a sensor.
    """
    gpu, cpu = views["gpu"], views["cpu"] if views["cpu"].is_known else views["estimated"]
    shown = [telemetry for telemetry in gpu.telemetries if telemetry]
    return replace(
        machine,
        gpu_sensor=gpu.sensor,
        gpu_attribution=gpu.attribution,
        gpu_model="+".join(sorted({one.model for one in shown})),
        gpu_driver_version="+".join(sorted({one.driver_version for one in shown})),
        cpu_sensor=cpu.sensor,
        cpu_attribution=cpu.attribution,
        scope="+".join(kind for kind, view in views.items() if view.is_known),
        quality=max(view.quality for view in views.values()),  # "" < "A" < ... < "E"
        reason="; ".join(f"{kind}: {why}" for kind, view in views.items() for why in view.reasons()),
    )


def summarise(views: Views, window: Window, now_s: float, machine: EnergySensors) -> EnergySummary:
    """Return the account of a window up to its latest reading, or its end."""
    until_s = now_s if window.is_open else window.ended_s
    start_s = window.starts_s(until_s)
    seconds = until_s - window.opened_s - start_s
    gpu = views["gpu"].records if views["gpu"].is_known else ()
    main = views["gpu"] if views["gpu"].accounts else views["cpu"]
    return EnergySummary(
        window=window.name,
        trial=window.trial,
        end=window.end,
        seconds=seconds,
        start_s=start_s,
        reading=_without_unlearnt_levels(views),
        start=read(views, is_start=True),
        sensors=describe_sensors(views, machine),
        exclusive_fraction=_mean([_fraction(record.alone_s, seconds) for record in main.records]),
        coverage_fraction=_mean([_fraction(record.covered_s, seconds) for record in main.records]),
        gpu_power_mean_w=_sum([record.power_mean_w for record in gpu]),
        gpu_power_max_w=_sum([record.power_max_w for record in gpu]),
        gpu_power_min_w=_sum([record.power_min_w for record in gpu]),
        gpu_power_limit_w=_sum(views["gpu"].power_limits_w),
        gpu_util_mean=_mean([record.utilisation.value for record in gpu]),
        gpu_temp_mean_c=_mean([record.temperature_c.value for record in gpu]),
        gpu_sm_clock_mean_mhz=_mean([record.sm_clock_mhz.value for record in gpu]),
        gpu_memory_clock_mean_mhz=_mean([record.memory_clock_mhz.value for record in gpu]),
    )


def _without_unlearnt_levels(views: Views) -> EnergyReading:
    """Return the reading without the layers whose idle level was not learnt: they are in the active part.

    A split by a level of 0 W would report 0 J for what is merely unknown. Rows of epochs keep these zeros,
    because their parts must add up to the whole; only the final account tells what is known.
    """
    reading, levels = read(views), [account.watch.levels for account in views["gpu"].accounts]
    is_bare_known = all(level.bare.is_known for level in levels)
    is_context_known = all(level.context.is_known for level in levels)
    return replace(
        reading,
        gpu_idle_share_mj=reading.gpu_idle_share_mj if is_bare_known else None,
        gpu_context_mj=reading.gpu_context_mj if is_context_known else None,
    )


def _fraction(part_s: float, seconds: float) -> float | None:
    """Return a part of the window's time, capped at 1: the part is timed by the device's samples."""
    return min(1.0, part_s / seconds) if seconds > 0 else None


def _sum(values: Sequence[float | None]) -> float | None:
    """Return the sum over all devices, or None if any is unknown: it would be too small."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return None if total is None else total / len(values)
