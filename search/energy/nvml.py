"""Energy of NVIDIA GPUs through NVML: the energy counter, else the integral of power.

NVML is probed by calling, never by architecture: what a driver answers is what there is.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from types import ModuleType
from typing import Any

from search.energy.counters import Counter, SensorError, Ticker

POWER_INTERVAL_S = 0.1

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


class NvmlCounter:
    """The driver's own energy counter of one GPU (Volta and newer), which moves in steps of 20 to 100 ms.

    It counts from the last driver load, so a fall is a reset: the counter goes on from the new
    value and the fall is kept in `unaccounted_mj`.
    """

    source = "nvml_counter"

    def __init__(self, device: str, read_raw_mj: Callable[[], int], *, on_close: Callable[[], None]) -> None:
        self.device = device
        self.num_jumps = 0
        self.unaccounted_mj = 0
        self.close = on_close
        self._read_raw_mj = read_raw_mj
        self._raw_mj = read_raw_mj()
        self._total_mj = 0
        self._lock = threading.Lock()

    def read_mj(self) -> int:
        with self._lock:
            before_mj, self._raw_mj = self._raw_mj, self._read_raw_mj()
            moved_mj = self._raw_mj - before_mj
            if moved_mj < 0:
                self.num_jumps += 1
                self.unaccounted_mj += moved_mj
            else:
                self._total_mj += moved_mj
            return self._total_mj


class NvmlPowerIntegral:
    """Power of one GPU, integrated by trapezoids over all samples, for GPUs without an energy counter.

    Equal samples in a row are kept: dropping them would bend the line between them. A time without
    answers is bridged by the line from the last sample before to the first one after.
    """

    source = "nvml_power_integral"
    num_jumps = 0
    unaccounted_mj = 0

    def __init__(
        self,
        device: str,
        read_power_mw: Callable[[], int],
        *,
        clock: Callable[[], float],
        on_close: Callable[[], None],
    ) -> None:
        self.device = device
        self._read_power_mw = read_power_mw
        self._clock = clock
        self._on_close = on_close
        self._power_mw, self._at_s = read_power_mw(), clock()
        self._total_mj = 0.0
        self._lock = threading.Lock()
        self._ticker: Ticker | None = None

    def start(self, interval_s: float = POWER_INTERVAL_S) -> None:
        """Sample in a thread from now on. Without it, only `read_mj()` takes samples."""
        self._ticker = Ticker(interval_s, self._sample)

    def _sample(self) -> None:
        # One lost sample is bridged; if the loss lasts, the next read_mj() of the meter says so.
        with suppress(SensorError):
            self.read_mj()

    def read_mj(self) -> int:
        with self._lock:
            power_mw, at_s = self._read_power_mw(), self._clock()
            self._total_mj += (self._power_mw + power_mw) / 2 * (at_s - self._at_s)
            self._power_mw, self._at_s = power_mw, at_s
            return math.floor(self._total_mj)

    def close(self) -> None:
        if self._ticker is not None:
            self._ticker.stop()
        self._on_close()


@dataclass(frozen=True)
class OpenGpu:
    """A GPU's running counter.

    Attributes:
        share: Part of the counter that is this device's: under 1 only for a MIG slice.
        reason: What the reader of the numbers must know; empty for a whole GPU.
    """

    counter: Counter
    share: Fraction = Fraction(1)
    reason: str = ""


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
        return OpenGpu(_open_counter(nvml, uuid, handle, clock))
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
    return OpenGpu(_open_counter(nvml, parent_uuid, parent, clock), share, reason)


def _open_counter(nvml: ModuleType, uuid: str, handle: Any, clock: Callable[[], float]) -> Counter:
    with suppress(SensorError):  # older than Volta, or a driver that hides the counter
        read_energy_mj = _first_answering(nvml, uuid, handle, _energy_calls(nvml))
        return NvmlCounter(uuid, read_energy_mj, on_close=nvml.nvmlShutdown)
    read_power_mw = _first_answering(nvml, uuid, handle, _power_calls(nvml))
    integral = NvmlPowerIntegral(uuid, read_power_mw, clock=clock, on_close=nvml.nvmlShutdown)
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
