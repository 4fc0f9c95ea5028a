"""Sections of a space file for limits, resources, metering and the worth of a kilowatt-hour."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import model_validator

from search.budget import Limits
from search.space.errors import KeyedError
from search.space.fields import AboveZero, Count, Flag, Section, Text, ZeroOrMore
from search.tariff import Tariff, grid_intensities, nearest_region


class LimitsSection(Section):
    EXAMPLE: ClassVar[str] = "{trials: 24, hours: 2}"

    trials: Count | None = None
    hours: AboveZero | None = None
    kwh: AboveZero | None = None
    co2e_kg: AboveZero | None = None
    cost: AboveZero | None = None
    disk_gib: AboveZero | None = None
    cache_gib: AboveZero | None = None
    grace_minutes: AboveZero | None = None
    epoch_minutes: AboveZero | None = None
    stop_when_flat: Flag = False

    def limits(self, run_cap: int | None, tariff: Tariff) -> Limits:
        return Limits(**dict(self) | {"trials": self.trials or run_cap, "tariff": tariff})


class Resources(Section):
    """Workers, and what each trial reserves; None means chosen from the machine.

    Attributes:
        cpus_per_trial: None means one core for each process.
        processes_per_trial: Each owns a GPU if trials have GPUs. None means one for each whole GPU of a
            trial, and one without any.
        pack: Share a device among as many trials as fit into its memory, judging by what similar trials
            needed.
        memory_gib: Memory assumed for a packed device, if less than it has.
        mps: Let processes that share a GPU compute at the same time, if its driver allows that.
    """

    workers: Count | None = None
    cpus_per_trial: AboveZero | None = None
    gpus_per_trial: ZeroOrMore | None = None
    processes_per_trial: Count | None = None
    pack: Literal["memory"] | None = None
    memory_gib: AboveZero | None = None
    mps: Literal["auto"] | None = None

    @property
    def num_processes(self) -> int:
        """Processes that train a trial."""
        return self.processes_per_trial or max(1, int(self.gpus_per_trial or 0))

    @property
    def cores_per_trial(self) -> float:
        """CPU cores that a trial reserves."""
        return self.cpus_per_trial or self.num_processes

    @model_validator(mode="after")
    def _checked(self) -> Resources:
        gpus, processes = self.gpus_per_trial, self.processes_per_trial
        if gpus and gpus > 1 and gpus != int(gpus):
            text = f"must be a fraction of one GPU or a whole number of them, got {gpus:g}"
            raise KeyedError("gpus_per_trial", text)
        if gpus and processes and processes != max(gpus, 1):
            text = f"must be {max(1, int(gpus))}, as each process has a GPU to itself and gpus_per_trial is"
            raise KeyedError("processes_per_trial", f"{text} {gpus:g}, got {processes}; leave it out")
        self._check_sharing()
        return self

    def _check_sharing(self) -> None:
        """Check that the keys for shared devices fit together."""
        gpus = self.gpus_per_trial
        if self.pack and gpus not in (None, 0, 1):
            text = "is chosen by pack: memory, from the memory that a trial needs; leave it out, or write 0"
            raise KeyedError("gpus_per_trial", f"{text} to train on the CPU, got {gpus:g}")
        if self.pack and self.num_processes > 1:
            text = "shares no device, and pack: memory is for shared devices; leave one of them out"
            raise KeyedError("processes_per_trial", f"a trial of {self.num_processes} processes {text}")
        if self.memory_gib and not self.pack:
            raise KeyedError("memory_gib", "has an effect only with pack: memory; write that too")
        if self.mps and not (self.pack or (gpus and gpus < 1)):
            text = "is for trials that share a GPU; write pack: memory, or a fraction as gpus_per_trial"
            raise KeyedError("mps", text)


def not_data_parallel_text(trainable: str) -> str:
    """Why a trainable cannot train in several processes, and what to do."""
    return f"{trainable} trains in one process, on one device: write 1, or leave it out"


class MeteringSection(Section):
    """What the energy meters may do beside reading sensors.

    Watts and TDP describe a node's CPUs where no sensor measures them; joules from them are estimates.

    Attributes:
        cpu_tdp_threads: Threads of the processor with that TDP; None means all threads of the node.
    """

    exclusive_slots: Flag = False
    cpu_watts_idle: ZeroOrMore | None = None
    cpu_watts_max: AboveZero | None = None
    cpu_tdp_w: AboveZero | None = None
    cpu_tdp_threads: Count | None = None

    @property
    def cpu_power_key(self) -> str:
        """The key that states the CPUs' power, such as "search.metering.cpu_tdp_w"; empty if none does."""
        stated = (name for name in ("cpu_tdp_w", "cpu_watts_max") if getattr(self, name) is not None)
        return next((f"search.metering.{name}" for name in stated), "")

    @model_validator(mode="after")
    def _checked(self) -> MeteringSection:
        if self.cpu_tdp_w is not None and self.cpu_watts_max is not None:
            raise KeyedError("cpu_tdp_w", "replaces cpu_watts_idle and cpu_watts_max: give it, or those two")
        if self.cpu_tdp_threads is not None and self.cpu_tdp_w is None:
            raise KeyedError("cpu_tdp_w", "is missing: the TDP of the processor with cpu_tdp_threads")
        if (self.cpu_watts_idle is None) != (self.cpu_watts_max is None):
            missing = "cpu_watts_max" if self.cpu_watts_max is None else "cpu_watts_idle"
            raise KeyedError(missing, "is missing: give both, or neither")
        if (self.cpu_watts_idle or 0.0) > (self.cpu_watts_max or 0.0):
            text = f"must be at most cpu_watts_max, {self.cpu_watts_max:g}, got {self.cpu_watts_idle:g}"
            raise KeyedError("cpu_watts_idle", text)
        return self


class ReportSection(Section):
    """CO2 and price of a kilowatt-hour where the machines are; what is left out is reported as unknown."""

    region: Text | None = None
    gco2_per_kwh: ZeroOrMore | None = None
    price_per_kwh: ZeroOrMore | None = None
    currency: Text | None = None
    pue: AboveZero = 1.0

    @model_validator(mode="after")
    def _checked(self) -> ReportSection:
        if self.region is not None and self.region not in grid_intensities():
            text = f"must be a country's three-letter code (ISO 3166), such as DEU, got {self.region}"
            raise KeyedError("region", f"{text}{nearest_region(self.region)}; or state gco2_per_kwh")
        if self.price_per_kwh is not None and self.currency is None:
            raise KeyedError("currency", "is missing: the currency of price_per_kwh, such as EUR")
        if self.pue < 1:
            raise KeyedError("pue", f"must be at least 1, which is the machines alone, got {self.pue:g}")
        return self

    @property
    def tariff(self) -> Tariff:
        """The tariff; stated grams take precedence over those of the region in the table."""
        grams, origin = self.gco2_per_kwh, "stated"
        if grams is None and self.region is not None:
            of_region = grid_intensities()[self.region]
            grams, origin = of_region.gco2_per_kwh, f"{self.region} {of_region.year}"
        known = Tariff(price_per_kwh=self.price_per_kwh, currency=self.currency or "", pue=self.pue)
        return known if grams is None else replace(known, gco2_per_kwh=grams, origin=origin)
