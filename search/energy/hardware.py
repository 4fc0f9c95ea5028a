"""The machine's GPUs and CPU, as environment.json records them.

Nothing here may fail, because a run that does not know its CPU is still a run. Each value is therefore read
separately, and left out if there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from search.energy.counters.counter import SensorError
from search.energy.counters.driver import (
    COLDEST_C,
    HOTTEST_C,
    MAX_GPU_MW,
    MAX_MHZ,
    CallThread,
    Driver,
    sound,
    sound_text,
)
from search.energy.counters.nvml import count_gpus, start_nvml, stop_nvml
from search.energy.reading import EnergySensors
from search.energy.units import to_watts

T = TypeVar("T")

CPUINFO = Path("/proc/cpuinfo")
CPUS = Path("/sys/devices/system/cpu")

_FILES = CallThread("/proc and /sys")


def read_cpu_labels(*, cpuinfo: Path = CPUINFO, cpus: Path = CPUS) -> EnergySensors:
    """Return the model and present governor of this node's CPUs; several governors are joined by +.

    Never fails: what cannot be read is empty. Reading the governors of 192 cores takes about 2 ms.
    """
    with suppress(SensorError):
        return _FILES.ask(
            lambda: EnergySensors(cpu_model=_cpu_model(cpuinfo) or "", cpu_governor=_governor(cpus) or "")
        )
    return EnergySensors()


def describe_devices(*, cpuinfo: Path = CPUINFO, cpus: Path = CPUS) -> list[dict[str, Any]]:
    """Return one row per GPU, then one for the CPU, ready for JSON. Never fails: unknown values are None.

    A GPU has kind, model, uuid, driver_version, power_limit_w, sm_clock_mhz, memory_clock_mhz and
    temperature_c; the CPU has kind, model and governor.
    """
    labels = read_cpu_labels(cpuinfo=cpuinfo, cpus=cpus)
    cpu = {"kind": "cpu", "model": labels.cpu_model or None, "governor": labels.cpu_governor or None}
    return [*_describe_gpus(), cpu]


def _describe_gpus() -> list[dict[str, Any]]:
    try:
        nvml = start_nvml()
    except SensorError:
        return []  # the meter's reason says why; there are no rows for missing devices
    try:
        num_gpus = _known(lambda: count_gpus(nvml)) or 0
        return [_describe_gpu(nvml, index) for index in range(num_gpus)]
    finally:
        stop_nvml(nvml)


def _describe_gpu(nvml: Driver, index: int) -> dict[str, Any]:
    """Describe one GPU; values that the driver does not report, or reports as junk, are None."""
    handle = _known(lambda: nvml.ask("nvmlDeviceGetHandleByIndex", index))

    def text(function: str, *arguments: Any) -> str | None:
        return _known(lambda: sound_text(nvml.ask(function, *arguments)))

    def number(lowest: float, highest: float, function: str, *constants: str) -> float | None:
        return _known(
            lambda: sound(nvml.ask(function, handle, *map(nvml.constant, constants)), lowest, highest)
        )

    power_limit_mw = number(0, MAX_GPU_MW, "nvmlDeviceGetEnforcedPowerLimit")
    return {
        "kind": "gpu",
        "model": text("nvmlDeviceGetName", handle),
        "uuid": text("nvmlDeviceGetUUID", handle),
        "driver_version": text("nvmlSystemGetDriverVersion"),
        "power_limit_w": None if power_limit_mw is None else to_watts(power_limit_mw),
        "sm_clock_mhz": number(0, MAX_MHZ, "nvmlDeviceGetClockInfo", "NVML_CLOCK_SM"),
        "memory_clock_mhz": number(0, MAX_MHZ, "nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM"),
        "temperature_c": number(COLDEST_C, HOTTEST_C, "nvmlDeviceGetTemperature", "NVML_TEMPERATURE_GPU"),
    }


def _known(read: Callable[[], T]) -> T | None:
    """Return what `read` returns, or None; the meter reports the reason."""
    try:
        return read()
    except SensorError:
        return None


def _cpu_model(cpuinfo: Path) -> str | None:
    """Return the model name of the first core; there is none on ARM."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return None
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, None)


def _governor(cpus: Path) -> str | None:
    """Return the frequency governor, such as "performance"; several are joined by +."""
    try:
        governors = {
            path.read_text(errors="replace").strip() for path in cpus.glob("cpu*/cpufreq/scaling_governor")
        }
    except OSError:
        return None
    return "+".join(sorted(governors)) or None
