"""A GPU's memory as its driver reports it: how much there is, and what each process holds."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from search.energy.counters.counter import SensorError
from search.energy.counters.driver import sound
from search.energy.counters.nvml import NvmlTelemetry, handle_of, start_nvml, stop_nvml

_MIB = 2**20
_MOST_BYTES = 2**50


class GpuMemory:
    """Context manager that reads the memory of the GPU or MIG slice `uuid`.

    Raises:
        SensorError: There is no NVML here, or no such device; from its methods, the driver does not answer.
    """

    def __init__(self, uuid: str) -> None:
        self._nvml = start_nvml()
        try:
            self._handle = handle_of(self._nvml, uuid)
            self._telemetry = NvmlTelemetry(
                self._nvml.of_device(uuid), self._handle, is_mig=True
            )  # no use by process
        except SensorError:
            self.close()
            raise

    def __enter__(self) -> GpuMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the driver."""
        stop_nvml(self._nvml)

    def total_and_used_mib(self) -> tuple[float, float]:
        """Return the total memory, and what all processes together hold of it now."""
        memory = self._nvml.ask("nvmlDeviceGetMemoryInfo", self._handle)
        total, used = (sound(getattr(memory, name), 0, _MOST_BYTES) for name in ("total", "used"))
        return float(total) / _MIB, float(used) / _MIB

    def held_mib(self) -> Mapping[int, float | None]:
        """Return what each process holds, by pid; None if the driver does not report it."""
        return self._telemetry.processes_mib() or {}
