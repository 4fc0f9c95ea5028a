"""What the machine is: its GPUs and its CPU, as environment.json records them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from search.energy.counters.counter import SensorError
from search.energy.counters.nvml import start_nvml

CPUINFO = Path("/proc/cpuinfo")
CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, kw_only=True)
class CpuLabels:
    """What the rows of the tables say of a node's CPUs. Empty is unknown.

    Attributes:
        governor: The frequency governor, such as "performance"; several are joined by +.
    """

    model: str = ""
    governor: str = ""


def read_cpu_labels(*, cpuinfo: Path = CPUINFO, cpus: Path = CPUS) -> CpuLabels:
    """The CPUs of this node as they are now; the governor of 192 cores takes about 2 ms to read."""
    return CpuLabels(model=_cpu_model(cpuinfo) or "", governor=_governor(cpus) or "")


def describe_devices(*, cpuinfo: Path = CPUINFO, cpus: Path = CPUS) -> list[dict[str, Any]]:
    """One row per GPU, then one for the CPU; ready for JSON. Never fails: None is unknown.

    A GPU has kind, model, uuid, driver_version, power_limit_w, sm_clock_mhz, memory_clock_mhz and
    temperature_c; the CPU has kind, model and governor.
    """
    cpu = {"kind": "cpu", "model": _cpu_model(cpuinfo), "governor": _governor(cpus)}
    return [*_describe_gpus(), cpu]


def _describe_gpus() -> list[dict[str, Any]]:
    try:
        nvml = start_nvml()
    except SensorError:
        return []  # the meter's reason says why; a description has no row for what is not there
    try:
        num_gpus = _known(nvml, nvml.nvmlDeviceGetCount) or 0
        return [_describe_gpu(nvml, index) for index in range(num_gpus)]
    finally:
        nvml.nvmlShutdown()


def _describe_gpu(nvml: ModuleType, index: int) -> dict[str, Any]:
    handle = _known(nvml, nvml.nvmlDeviceGetHandleByIndex, index)
    power_limit_mw = _known(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    return {
        "kind": "gpu",
        "model": _known(nvml, nvml.nvmlDeviceGetName, handle),
        "uuid": _known(nvml, nvml.nvmlDeviceGetUUID, handle),
        "driver_version": _known(nvml, nvml.nvmlSystemGetDriverVersion),
        "power_limit_w": None if power_limit_mw is None else power_limit_mw / 1000,
        "sm_clock_mhz": _known(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": _known(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        "temperature_c": _known(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
    }


def _known(nvml: ModuleType, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def _cpu_model(cpuinfo: Path) -> str | None:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, None)


def _governor(cpus: Path) -> str | None:
    """The frequency governor, such as "performance"; several are joined by +."""
    try:
        governors = {path.read_text().strip() for path in cpus.glob("cpu*/cpufreq/scaling_governor")}
    except OSError:
        return None
    return "+".join(sorted(governors)) or None
