"""Energy of NVIDIA GPUs through NVML: the energy counter, else the integral of power.

NVML is probed by calling, never by architecture: what a driver answers is what there is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from types import ModuleType
from typing import Any

from search.energy.counters.counter import Counter, SensorError
from search.energy.counters.crosscheck import CheckedCounter
from search.energy.counters.gauges import NvmlGauges
from search.energy.counters.gpu_counters import DriverCounter, OpenGpu, PowerIntegral

_NO_LIBRARY = (
    "NVML (libnvidia-ml.so.1) is not on this machine: right where there is no NVIDIA GPU; "
    "start a container with NVIDIA_DRIVER_CAPABILITIES=compute,utility"
)
_REMEDIES = {
    9: "the NVIDIA driver is not loaded: modprobe nvidia",  # NVML_ERROR_DRIVER_NOT_LOADED
    12: _NO_LIBRARY,  # NVML_ERROR_LIBRARY_NOT_FOUND
    18: "NVML and the kernel's NVIDIA driver differ in version: reboot",  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
}


def start_nvml() -> ModuleType:
    """The module pynvml, initialised. NVML counts its users: each start needs one `nvmlShutdown()`.

    Raises:
        SensorError: No NVML here, or no driver under it.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        raise SensorError("the module pynvml is missing: pip install nvidia-ml-py") from error
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise SensorError(_REMEDIES.get(error.value, f"NVML does not start: {error}")) from error
    return nvml


def open_gpu(uuid: str, clock: Callable[[], float]) -> OpenGpu:
    """Open the best counter that answers for the GPU or MIG slice `uuid`.

    Raises:
        SensorError: No NVML, no such device, or neither its energy nor its power can be read.
    """
    nvml = start_nvml()
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid.encode())
        if uuid.startswith("MIG-"):
            return _open_mig_parent(nvml, uuid, handle, clock)
        return OpenGpu(_open_counter(nvml, uuid, handle, clock), NvmlGauges(nvml, handle))
    except nvml.NVMLError as error:
        nvml.nvmlShutdown()
        raise SensorError(f"{uuid}: NVML answers {error}; nvidia-smi -L lists what there is") from error
    except SensorError:
        nvml.nvmlShutdown()
        raise


def _open_mig_parent(nvml: ModuleType, uuid: str, handle: Any, clock: Callable[[], float]) -> OpenGpu:
    parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    slices = int(nvml.nvmlDeviceGetAttributes_v2(handle).gpuInstanceSliceCount)
    share = Fraction(slices, int(nvml.nvmlDeviceGetMaxMigDeviceCount(parent)))
    parent_uuid = str(nvml.nvmlDeviceGetUUID(parent))
    reason = f"{uuid}: NVML has no counter for a MIG slice; counted as {share} of {parent_uuid} by slices"
    counter = _open_counter(nvml, parent_uuid, parent, clock)
    return OpenGpu(counter, NvmlGauges(nvml, parent, is_mig=True), share, reason)


def _open_counter(nvml: ModuleType, uuid: str, handle: Any, clock: Callable[[], float]) -> Counter:
    try:
        read_energy_mj = _first_answering(nvml, uuid, handle, _energy_calls(nvml))
    except SensorError:  # older than Volta, or a driver that hides the counter
        return _open_integral(nvml, uuid, handle, clock, on_close=nvml.nvmlShutdown)
    counter = DriverCounter(uuid, "nvml_counter", read_energy_mj, on_close=nvml.nvmlShutdown)
    with suppress(SensorError):  # a driver that hides power leaves nothing to check the counter by
        integral = _open_integral(nvml, uuid, handle, clock, on_close=lambda: None)
        return CheckedCounter(counter, integral, clock)
    return counter


def _open_integral(
    nvml: ModuleType,
    uuid: str,
    handle: Any,
    clock: Callable[[], float],
    *,
    on_close: Callable[[], None],
) -> PowerIntegral:
    read_power_mw = _first_answering(nvml, uuid, handle, _power_calls(nvml))
    source = "nvml_power_integral"
    integral = PowerIntegral(uuid, source, read_power_mw, clock=clock, on_close=on_close)
    integral.start()
    return integral


def _energy_calls(nvml: ModuleType) -> Sequence[Callable[[Any], int]]:
    field = partial(_field_value, nvml, nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION)
    return (nvml.nvmlDeviceGetTotalEnergyConsumption, field)


def _power_calls(nvml: ModuleType) -> Sequence[Callable[[Any], int]]:
    # Means before instants: at 10 Hz an instant can alias with the training step, a mean cannot.
    fields = (nvml.NVML_FI_DEV_POWER_AVERAGE, nvml.NVML_FI_DEV_POWER_INSTANT)
    return (nvml.nvmlDeviceGetPowerUsage, *(partial(_field_value, nvml, field) for field in fields))


def _field_value(nvml: ModuleType, field: int, handle: Any) -> int:
    [answer] = nvml.nvmlDeviceGetFieldValues(handle, [field])
    if answer.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(answer.nvmlReturn)
    return int(answer.value.ullVal)  # narrower types fill the low bytes of the zeroed union


def _first_answering(
    nvml: ModuleType, uuid: str, handle: Any, calls: Sequence[Callable[[Any], int]]
) -> Callable[[], int]:
    refusals = []
    for call in calls:
        read = partial(_read, nvml, uuid, handle, call)
        try:
            read()
        except SensorError as error:
            refusals.append(error)
        else:
            return read
    raise refusals[0]


def _read(nvml: ModuleType, uuid: str, handle: Any, call: Callable[[Any], int]) -> int:
    try:
        return call(handle)
    except nvml.NVMLError as error:
        raise SensorError(
            f"{uuid}: NVML answers {error} when asked for energy or power; a virtual GPU must be measured "
            "on its host, of a lost one nvidia-smi and dmesg say more"
        ) from error
