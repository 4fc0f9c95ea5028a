"""What a GPU shows beside its counter: power, use, temperature, the processes on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from search.energy.counters.counter import SensorError
from search.energy.counters.driver import (
    COLDEST_C,
    HOTTEST_C,
    MAX_GPU_MW,
    MAX_MHZ,
    Driver,
    DriverError,
    sound,
    sound_text,
)
from search.energy.counters.utilisation import ProcessUtilisation, nvml_samples, wall_us

T = TypeVar("T")

_MIB = 2**20
USE_BY_PROCESS = "use by process"


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


class GpuTelemetry(Protocol):
    """A GPU as the meter watches it. Nothing here raises: what does not answer is None.

    Attributes:
        unknown: Why the latest value of something is None, by what it is.
    """

    labels: GpuLabels
    unknown: Mapping[str, str]

    def state(self) -> GpuState: ...

    def processes_mib(self) -> Mapping[int, float | None] | None:
        """Memory of each compute process, by pid; None if the driver gives no list. Costs about 4.5 ms."""
        ...

    def use_s(self) -> Mapping[int, float] | None:
        """Utilisation-seconds since the last call, by pid; None if the driver does not report it."""
        ...


class Known:
    """Values of which each may be unknown, with the reason."""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}

    def value(self, what: str, read: Callable[[], T]) -> T | None:
        """What `read` gives; None if it raises a `SensorError`, whose text is kept."""
        try:
            value = read()
        except SensorError as error:
            self.unknown[what] = str(error)
            return None
        self.unknown.pop(what, None)
        return value


class NvmlTelemetry:
    """The telemetry of one GPU through NVML.

    Args:
        nvml: With a thread of this GPU's own.
    """

    def __init__(
        self, nvml: Driver, handle: Any, *, is_mig: bool = False, now_us: Callable[[], int] = wall_us
    ) -> None:
        self._nvml, self._handle = nvml, handle
        self._known = Known()
        self.unknown: Mapping[str, str] = self._known.unknown
        self._utilisation = None if is_mig else ProcessUtilisation(nvml_samples(nvml, handle), now_us)
        self._lists = [f"nvmlDeviceGetComputeRunningProcesses{version}" for version in ("", "_v3", "_v2")]
        limit_w = self._watts("power limit", "nvmlDeviceGetEnforcedPowerLimit")
        self.labels = GpuLabels(
            model=self._known.value("model", lambda: sound_text(nvml.ask("nvmlDeviceGetName", handle))) or "",
            power_limit_w=limit_w,
            driver_version=self._known.value(
                "driver version", lambda: sound_text(nvml.ask("nvmlSystemGetDriverVersion"))
            )
            or "",
        )

    def state(self) -> GpuState:
        state = self._known.value("state", lambda: self._nvml.together(self._state, "its state"))
        return state or GpuState()

    def _state(self) -> GpuState:
        return GpuState(
            power_w=self._watts("power", "nvmlDeviceGetPowerUsage"),
            utilisation=self._known.value("utilisation", self._rate),
            temperature_c=self._known.value("temperature", self._temperature_c),
            sm_clock_mhz=self._clock_mhz("SM clock", "NVML_CLOCK_SM"),
            memory_clock_mhz=self._clock_mhz("memory clock", "NVML_CLOCK_MEM"),
        )

    def processes_mib(self) -> Mapping[int, float | None] | None:
        return self._known.value("process list", self._list_processes)

    def use_s(self) -> Mapping[int, float] | None:
        if self._utilisation is None:
            return None
        return self._known.value(USE_BY_PROCESS, self._utilisation.read)

    def _watts(self, what: str, function: str) -> float | None:
        limit = lambda: sound(self._nvml.ask(function, self._handle), 0, MAX_GPU_MW) / 1000  # noqa: E731
        return self._known.value(what, limit)

    def _rate(self) -> float:
        rates = self._nvml.ask("nvmlDeviceGetUtilizationRates", self._handle)
        return float(sound(rates.gpu, 0, 100) / 100)

    def _temperature_c(self) -> float:
        sensor = self._nvml.constant("NVML_TEMPERATURE_GPU")
        answer = self._nvml.ask("nvmlDeviceGetTemperature", self._handle, sensor)
        return float(sound(answer, COLDEST_C, HOTTEST_C))

    def _clock_mhz(self, what: str, kind: str) -> float | None:
        def read() -> float:
            answer = self._nvml.ask("nvmlDeviceGetClockInfo", self._handle, self._nvml.constant(kind))
            return float(sound(answer, 0, MAX_MHZ))

        return self._known.value(what, read)

    def _list_processes(self) -> Mapping[int, float | None]:
        processes = self._newest_list()
        held = ((int(process.pid), process.usedGpuMemory) for process in processes)
        return {pid: None if used_bytes is None else used_bytes / _MIB for pid, used_bytes in held}

    def _newest_list(self) -> Any:
        """The list by the newest function that the driver has: old ones lack the versions of today."""
        while len(self._lists) > 1:
            try:
                return self._nvml.ask(self._lists[0], self._handle)
            except DriverError as error:
                if not error.is_missing:
                    raise
                del self._lists[0]
        return self._nvml.ask(self._lists[0], self._handle)
