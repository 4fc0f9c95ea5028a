"""A window's accounts with its devices, put together: the reading, its labels and its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from search.energy.attribution.account import DeviceAccount
from search.energy.attribution.record import WindowRecord
from search.energy.counters.crosscheck import is_plausible
from search.energy.counters.gpu_telemetry import USE_BY_PROCESS
from search.energy.hardware import CpuLabels
from search.energy.reading import Attribution, End, EnergyReading, EnergySources, Quality
from search.energy.summary import EnergySummary

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
    """A window's devices of one kind, each with the window's record there."""

    accounts: Sequence[DeviceAccount] = ()
    records: Sequence[WindowRecord] = ()
    missing: str = ""
    is_ended: bool = False

    @property
    def lost(self) -> str:
        """Why the part is unknown now. An ended window keeps what it had when a sensor fails later."""
        if self.missing:
            return self.missing
        if self.is_ended:
            return next((record.lost for record in self.records if record.lost), "")
        return next((account.lost for account in self.accounts if account.lost), "")

    @property
    def is_known(self) -> bool:
        return bool(self.accounts) and not self.lost

    def total_mj(self, of: Callable[[WindowRecord], int]) -> int | None:
        return sum(map(of, self.records)) if self.is_known else None

    @property
    def lag_s(self) -> float:
        """How long before the last sample the joules end; 0 where they reach up to it."""
        is_open = self.is_known and not self.is_ended
        return max((account.lag_s for account in self.accounts), default=0.0) if is_open else 0.0

    @property
    def of_start(self) -> WindowView:
        """The same devices with the accounts of the window's starts."""
        starts = [
            replace(record.start or WindowRecord(record.share, record.opened_s), lost=record.lost)
            for record in self.records
        ]
        return replace(self, records=starts)

    @property
    def source(self) -> str:
        sources = {account.device.counter.source for account in self.accounts}
        return "+".join(sorted(sources)) if self.is_known else ""

    @property
    def attribution(self) -> Attribution:
        methods = [record.method for record in self.records] if self.is_known else []
        return max(methods, key=_WORST_LAST.index, default="")

    @property
    def quality(self) -> Quality:
        if "estimated" in self.source:
            return "E"
        if "integral" in self.source and self.attribution:
            return "C" if self.attribution == "exclusive" else "D"
        return _QUALITY[self.attribution]

    def reasons(self) -> list[str]:
        told = [self.lost, *(reason for account in self.accounts for reason in account_reasons(account))]
        told += [
            f"{account.device.name}: calibrated by what an earlier run learnt of this kind of work"
            for account, record in zip(self.accounts, self.records, strict=True)
            if record.is_by_earlier_run
        ]
        return [reason for reason in told if reason]


def account_reasons(account: DeviceAccount) -> list[str]:
    """What the reader of a device's numbers must know."""
    counter, reasons = account.device.counter, [account.device.reason]
    if account.watch.unknown:
        reasons.append(f"{counter.device}: who works on it is not known: {account.watch.unknown}")
    if counter.num_jumps:
        reasons.append(
            f"{counter.device}: {counter.num_jumps} jump(s) of the counter left out "
            f"({counter.unaccounted_mj} mJ); the energy of those moments is missing"
        )
    if account.gap_mj:
        reasons.append(f"{counter.device}: {account.gap_mj} mJ of gaps in sampling belong to no trial")
    if not is_plausible(counter.power_ratio):
        reasons.append(
            f"{counter.device}: its energy counter moved {counter.power_ratio:.2f} times what its power "
            "says; power is integrated instead"
        )
    if account.device.gauges:
        reasons.extend(_unknown_values(counter.device, account.device.gauges.unknown))
    return reasons


def _unknown_values(device: str, unknown: Mapping[str, str]) -> list[str]:
    """What a device does not show, by the reason; who works on it is told apart."""
    by_reason: dict[str, list[str]] = {}
    for what, why in unknown.items():
        if what != USE_BY_PROCESS:
            by_reason.setdefault(why, []).append(what)
    return [f"{device}: no {', '.join(sorted(whats))}: {why}" for why, whats in by_reason.items()]


@dataclass(frozen=True, kw_only=True)
class WindowViews:
    """All that a window holds, by kind of device."""

    gpu: WindowView = field(default_factory=WindowView)
    cpu: WindowView = field(default_factory=WindowView)
    dram: WindowView = field(default_factory=WindowView)
    estimated: WindowView = field(default_factory=WindowView)

    def start_reading(self) -> EnergyReading:
        """What the starts of the training used."""
        parts = (self.gpu, self.cpu, self.dram, self.estimated)
        gpu, cpu, dram, estimated = (part.of_start for part in parts)
        return WindowViews(gpu=gpu, cpu=cpu, dram=dram, estimated=estimated).reading()

    def reading(self) -> EnergyReading:
        """What the training used, its starts left out."""
        gpu = self.gpu
        parts = {"gpu": gpu, "cpu": self.cpu, "dram": self.dram, "estimated": self.estimated}
        return EnergyReading(
            lag_s={kind: part.lag_s for kind, part in parts.items() if part.lag_s},
            gpu_mj=gpu.total_mj(lambda record: record.total_mj),
            cpu_mj=self.cpu.total_mj(lambda record: record.total_mj),
            dram_mj=self.dram.total_mj(lambda record: record.total_mj),
            estimated_mj=self.estimated.total_mj(lambda record: record.total_mj),
            gpu_active_mj=gpu.total_mj(lambda record: record.active_mj),
            gpu_context_mj=gpu.total_mj(lambda record: record.context_mj),
            gpu_idle_share_mj=gpu.total_mj(lambda record: record.idle_share_mj),
            gpu_uncert_mj=gpu.total_mj(lambda record: record.uncertainty_mj),
        )

    def sources(self, machine: CpuLabels) -> EnergySources:
        gpu, cpu = self.gpu, self.cpu if self.cpu.is_known else self.estimated
        parts = {"gpu": gpu, "cpu": self.cpu, "dram": self.dram, "estimated": self.estimated}
        labels = [account.device.gauges.labels for account in gpu.accounts if account.device.gauges]
        return EnergySources(
            gpu_sensor=gpu.source,
            gpu_attribution=gpu.attribution,
            gpu_model="+".join(sorted({one.model for one in labels})),
            gpu_driver_version="+".join(sorted({one.driver_version for one in labels})),
            cpu_sensor=cpu.source,
            cpu_attribution=cpu.attribution,
            cpu_model=machine.model,
            cpu_governor=machine.governor,
            scope="+".join(name for name, part in parts.items() if part.is_known),
            quality=max(part.quality for part in parts.values()),  # "" < "A" < ... < "E"
            reason="; ".join(f"{name}: {why}" for name, part in parts.items() for why in part.reasons()),
        )

    def _separated(self) -> EnergyReading:
        """The reading without the parts that no idle level told from work: they are in the active part."""
        reading, levels = self.reading(), [account.watch.levels for account in self.gpu.accounts]
        is_bare_known = all(level.bare.is_known for level in levels)
        is_context_known = all(level.context.is_known for level in levels)
        return replace(
            reading,
            gpu_idle_share_mj=reading.gpu_idle_share_mj if is_bare_known else None,
            gpu_context_mj=reading.gpu_context_mj if is_context_known else None,
        )

    def figures(
        self, trial: str, end: End, seconds: float, start_s: float, machine: CpuLabels
    ) -> EnergySummary:
        gpu = self.gpu.records if self.gpu.is_known else ()
        main = self.gpu if self.gpu.accounts else self.cpu
        limits = [account.device.gauges and account.device.gauges.labels for account in self.gpu.accounts]
        return EnergySummary(
            trial=trial,
            end=end,
            seconds=seconds,
            start_s=start_s,
            reading=self._separated(),
            start=self.start_reading(),
            sources=self.sources(machine),
            exclusive_fraction=_mean([_frac(record.alone_s, seconds) for record in main.records]),
            coverage_frac=_mean([_frac(record.covered_s, seconds) for record in main.records]),
            gpu_power_mean_w=_total([record.power_mean_w for record in gpu]),
            gpu_power_max_w=_total([record.power_max_w for record in gpu]),
            gpu_power_min_w=_total([record.power_min_w for record in gpu]),
            gpu_util_mean=_mean([record.util_mean for record in gpu]),
            gpu_temp_mean_c=_mean([record.temp_mean_c for record in gpu]),
            gpu_power_limit_w=_total([labels.power_limit_w if labels else None for labels in limits]),
            gpu_sm_clock_mean_mhz=_mean([record.sm_clock_mean_mhz for record in gpu]),
            gpu_memory_clock_mean_mhz=_mean([record.memory_clock_mean_mhz for record in gpu]),
        )


def _frac(part_s: float, seconds: float) -> float | None:
    return min(1.0, part_s / seconds) if seconds > 0 else None


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    total = _total(values)
    return None if total is None else total / len(values)
