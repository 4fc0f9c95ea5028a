"""What a GPU shows beside its counter: power, use, temperature, the processes on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from search.energy.counters.utilisation import ProcessUtilisation, nvml_samples, wall_us

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """What a GPU shows now; None is unknown. `utilisation` is the share of time in use, in [0, 1]."""

    power_w: float | None = None
    utilisation: float | None = None
    temperature_c: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None


@dataclass(frozen=True, kw_only=True)
class GpuLabels:
    """What stays: model, power limit and driver, for the rows of the tables."""

    model: str = ""
    power_limit_w: float | None = None
    driver_version: str = ""


class Gauges(Protocol):
    """A GPU as the meter watches it. Nothing here raises: what does not answer is None."""

    labels: GpuLabels

    def state(self) -> GpuState: ...

    def processes_mib(self) -> Mapping[int, float | None] | None:
        """Memory of each compute process, by pid; None if the driver gives no list. Costs about 4.5 ms."""
        ...

    def use_s(self) -> Mapping[int, float] | None:
        """Utilisation-seconds since the last call, by pid; None if the driver does not tell."""
        ...


class NvmlGauges:
    """The gauges of one GPU through NVML."""

    def __init__(
        self, nvml: ModuleType, handle: Any, *, is_mig: bool = False, now_us: Callable[[], int] = wall_us
    ) -> None:
        self._nvml, self._handle = nvml, handle
        self._utilisation = None if is_mig else ProcessUtilisation(nvml_samples(nvml, handle), now_us)
        limit_mw = self._known(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        self.labels = GpuLabels(
            model=self._known(nvml.nvmlDeviceGetName, handle) or "",
            power_limit_w=None if limit_mw is None else limit_mw / 1000,
            driver_version=self._known(nvml.nvmlSystemGetDriverVersion) or "",
        )

    def state(self) -> GpuState:
        power_mw = self._known(self._nvml.nvmlDeviceGetPowerUsage, self._handle)
        rates = self._known(self._nvml.nvmlDeviceGetUtilizationRates, self._handle)
        temperature_c = self._known(
            self._nvml.nvmlDeviceGetTemperature, self._handle, self._nvml.NVML_TEMPERATURE_GPU
        )
        return GpuState(
            power_w=None if power_mw is None else power_mw / 1000,
            utilisation=None if rates is None or rates.gpu > 100 else rates.gpu / 100,
            temperature_c=temperature_c,
            sm_clock_mhz=self._clock_mhz(self._nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._clock_mhz(self._nvml.NVML_CLOCK_MEM),
        )

    def processes_mib(self) -> Mapping[int, float | None] | None:
        processes = self._known(self._nvml.nvmlDeviceGetComputeRunningProcesses, self._handle)
        if processes is None:
            return None
        held = ((int(process.pid), process.usedGpuMemory) for process in processes)
        return {pid: None if used_bytes is None else used_bytes / _MIB for pid, used_bytes in held}

    def use_s(self) -> Mapping[int, float] | None:
        return self._utilisation.read() if self._utilisation else None

    def _clock_mhz(self, kind: int) -> float | None:
        mhz: float | None = self._known(self._nvml.nvmlDeviceGetClockInfo, self._handle, kind)
        return mhz

    def _known(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._nvml.NVMLError:
            return None
