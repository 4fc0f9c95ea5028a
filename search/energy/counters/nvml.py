"""Energy and use of NVIDIA GPUs through NVML: counter, power, and how long each process kept a GPU busy.

NVML is probed by calling it, never by architecture: what a driver answers is what there is. The energy
counter exists since Volta, unless a virtual GPU's host hides it; it moves in steps of 20 to 100 ms. A100 and
H100 sample power only about a quarter of the time, so the integral is second choice. A MIG slice has neither
a counter nor use by process: it is charged with its share, by slices, of its parent's counter, and labelled
so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import Any

from search.energy.counters.counter import Counter, SensorError
from search.energy.counters.driver import (
    COLDEST_C,
    HOTTEST_C,
    MAX_GPU_MW,
    MAX_MHZ,
    START_S,
    CallThread,
    Driver,
    DriverError,
    import_driver,
    sound,
    sound_text,
)
from search.energy.counters.gpu import (
    USE_BY_PROCESS,
    CheckedCounter,
    DriverCounter,
    GpuState,
    GpuTelemetry,
    OpenGpu,
    PowerIntegral,
    ProcessUtilisation,
    Sample,
)
from search.energy.units import to_watts

_MIB = 2**20
_NOT_FOUND = 6  # NVML_ERROR_NOT_FOUND

_NO_LIBRARY = (
    "NVML (libnvidia-ml.so.1) is not on this machine, which is normal without an NVIDIA GPU; "
    "containers need NVIDIA_DRIVER_CAPABILITIES=compute,utility"
)
_REMEDIES = {
    9: "the NVIDIA driver is not loaded: modprobe nvidia",  # NVML_ERROR_DRIVER_NOT_LOADED
    12: _NO_LIBRARY,  # NVML_ERROR_LIBRARY_NOT_FOUND
    18: "NVML and the kernel's NVIDIA driver differ in version: reboot",  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
}
_FUNCTION_NOT_FOUND = 13
MOST_GPUS = 256  # NVML itself supports 64 per machine; a junk count would be queried one by one

_LIBRARY = CallThread("NVML")


def start_nvml() -> Driver:
    """Initialise and return NVML. It counts its users, so each start needs one `stop_nvml()`.

    Raises:
        SensorError: There is no NVML here, no driver under it, or it does not answer.
    """
    module = import_driver("pynvml", "the module pynvml is missing: pip install nvidia-ml-py")
    nvml = Driver(module, "NVML", "nvidia-ml-py", _explain, _LIBRARY)
    try:
        nvml.ask("nvmlInit", limit_s=START_S)
    except DriverError as error:
        raise SensorError(_REMEDIES.get(error.code or 0, f"NVML does not start: {error}")) from error
    return nvml


def stop_nvml(nvml: Driver) -> None:
    """Shut down NVML, ignoring a refusal: it ends with this process."""
    with suppress(SensorError):
        nvml.ask("nvmlShutdown")


def _explain(function: str, error: Exception) -> DriverError:
    code = getattr(error, "value", None)
    if code == _FUNCTION_NOT_FOUND or type(error).__name__ == "NVMLLibraryMismatchError":
        older = "it is older than the Python module nvidia-ml-py"
        return DriverError(f"the driver's NVML has no {function}: {older}", code, is_missing=True)
    if not isinstance(code, int):
        return DriverError(f"NVML's answer to {function} cannot be read: {error!r}")
    return DriverError(f"NVML answers {_text(error)}", code)


def _text(error: Exception) -> str:
    """Return NVML's text for an error, or its number."""
    try:
        return str(error)
    except Exception:  # the text comes from the driver, which may have none, or bytes that are not text
        return f"error {getattr(error, 'value', '')}"


def open_gpu(uuid: str, clock: Callable[[], float]) -> OpenGpu:
    """Open the best counter that answers for the GPU or MIG slice `uuid`.

    Raises:
        SensorError: There is no NVML or no such device, or neither energy nor power can be read.
    """
    nvml = start_nvml()
    try:
        handle = handle_of(nvml, uuid)
        if uuid.startswith("MIG-"):
            return _open_mig_parent(nvml, uuid, handle, clock)
        device = nvml.of_device(uuid)
        counter = _open_counter(nvml, device, uuid, handle, clock)
        return OpenGpu(counter, NvmlTelemetry(device, handle))
    except SensorError:
        stop_nvml(nvml)
        raise


def handle_of(nvml: Driver, uuid: str) -> Any:
    """Return the device with this UUID, the only name that CUDA and NVML share: their orders differ.

    Raises:
        SensorError: There is no such device, or NVML does not answer.
    """
    try:
        return nvml.ask("nvmlDeviceGetHandleByUUID", uuid.encode(), limit_s=START_S)
    except DriverError as error:
        with suppress(SensorError):
            if error.is_missing:
                return _handle_by_index(nvml, uuid)
        raise SensorError(f"{uuid}: {error}; nvidia-smi -L lists what there is") from error


def _handle_by_index(nvml: Driver, uuid: str) -> Any:
    """Return the device by comparing all UUIDs, for drivers without a function for it."""
    for index in range(count_gpus(nvml)):
        with suppress(SensorError):
            handle = nvml.ask("nvmlDeviceGetHandleByIndex", index, limit_s=START_S)
            if nvml.ask("nvmlDeviceGetUUID", handle) == uuid:
                return handle
    raise SensorError(f"no GPU has the UUID {uuid}")


def count_gpus(nvml: Driver) -> int:
    """Return the number of GPUs of this machine, without MIG slices.

    Raises:
        SensorError: NVML does not report it.
    """
    return int(sound(nvml.ask("nvmlDeviceGetCount", limit_s=START_S), 0, MOST_GPUS))


def _open_mig_parent(nvml: Driver, uuid: str, handle: Any, clock: Callable[[], float]) -> OpenGpu:
    """Open the GPU of a MIG slice, with the slice's share of it by slices, such as 3 of 7."""
    parent = nvml.ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle)
    parent_uuid = sound_text(nvml.ask("nvmlDeviceGetUUID", parent))
    most = int(sound(nvml.ask("nvmlDeviceGetMaxMigDeviceCount", parent), 1, 64))
    attributes = nvml.ask("nvmlDeviceGetAttributes_v2", handle)
    share = Fraction(int(sound(attributes.gpuInstanceSliceCount, 1, most)), most)
    reason = f"{uuid}: NVML has no counter for a MIG slice; counted as {share} of {parent_uuid} by slices"
    device = nvml.of_device(parent_uuid)
    counter = _open_counter(nvml, device, parent_uuid, parent, clock)
    return OpenGpu(counter, NvmlTelemetry(device, parent, is_mig=True), share, reason)


def _open_counter(
    nvml: Driver, device: Driver, uuid: str, handle: Any, clock: Callable[[], float]
) -> Counter:
    stop = partial(stop_nvml, nvml)
    try:
        read_energy_mj = _first_answering(uuid, handle, _energy_calls(device))
    except SensorError:  # older than Volta, or a driver that hides the counter
        return _open_integral(device, uuid, handle, clock, on_close=stop)
    counter = DriverCounter(uuid, "nvml_counter", read_energy_mj, clock=clock, on_close=stop)
    with suppress(SensorError):  # if the driver hides power, there is nothing to check the counter against
        integral = _open_integral(device, uuid, handle, clock, on_close=lambda: None)
        return CheckedCounter(counter, integral, clock)
    return counter


def _open_integral(
    device: Driver, uuid: str, handle: Any, clock: Callable[[], float], *, on_close: Callable[[], None]
) -> PowerIntegral:
    read_power_mw = _first_answering(uuid, handle, _power_calls(device))
    sensor = "nvml_power_integral"
    integral = PowerIntegral(uuid, sensor, read_power_mw, clock=clock, on_close=on_close)
    integral.start()
    return integral


def _energy_calls(device: Driver) -> Sequence[Callable[[Any], int]]:
    return (
        partial(device.ask, "nvmlDeviceGetTotalEnergyConsumption"),
        partial(_field_value, device, "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
    )


def _power_calls(device: Driver) -> Sequence[Callable[[Any], int]]:
    # Means before instants: at 10 Hz, instants can alias with the training step, means cannot.
    fields = ("NVML_FI_DEV_POWER_AVERAGE", "NVML_FI_DEV_POWER_INSTANT")
    calls = (
        partial(device.ask, "nvmlDeviceGetPowerUsage"),
        *(partial(_field_value, device, field) for field in fields),
    )
    return [partial(_sound_power, call) for call in calls]


def _sound_power(call: Callable[[Any], int], handle: Any) -> int:
    return int(sound(call(handle), 0, MAX_GPU_MW))


def _field_value(device: Driver, field: str, handle: Any) -> int:
    answers = device.ask("nvmlDeviceGetFieldValues", handle, [device.constant(field)])
    if len(answers) != 1 or answers[0].nvmlReturn:
        code = answers[0].nvmlReturn if answers else None
        raise DriverError(f"NVML answers error {code} for {field}", code)
    return int(answers[0].value.ullVal)  # narrower types fill the low bytes of the zeroed union


def _first_answering(uuid: str, handle: Any, calls: Sequence[Callable[[Any], int]]) -> Callable[[], int]:
    """Return the first of several calls for one number that the driver answers.

    Raises:
        SensorError: It answers none of them. The first call's refusal is raised, as the most familiar one.
    """
    refusals = []
    for call in calls:
        read = partial(_read, uuid, handle, call)
        try:
            read()
        except SensorError as error:
            refusals.append(error)
        else:
            return read
    raise refusals[0]


def _read(uuid: str, handle: Any, call: Callable[[Any], int]) -> int:
    try:
        return call(handle)
    except SensorError as error:
        raise SensorError(
            f"{uuid}: {error} when asked for energy or power; a virtual GPU must be measured "
            "on its host; for a lost GPU see nvidia-smi and dmesg"
        ) from error


class NvmlTelemetry(GpuTelemetry):
    """The telemetry of one GPU through NVML.

    Args:
        nvml: The driver, with a thread for this GPU alone.
    """

    def __init__(
        self, nvml: Driver, handle: Any, *, is_mig: bool = False, now_us: Callable[[], int] | None = None
    ) -> None:
        super().__init__()
        self._nvml, self._handle = nvml, handle
        self._utilisation = (
            None if is_mig else ProcessUtilisation(nvml_samples(nvml, handle), now_us or wall_us)
        )
        self._lists = [f"nvmlDeviceGetComputeRunningProcesses{version}" for version in ("", "_v3", "_v2")]
        self.power_limit_w = self._watts("power limit", "nvmlDeviceGetEnforcedPowerLimit")
        self.model = self._text("model", "nvmlDeviceGetName", handle)
        self.driver_version = self._text("driver version", "nvmlSystemGetDriverVersion")

    def state(self) -> GpuState:
        # One switch of threads for five calls, because it costs more than any of them.
        state = self.known("state", lambda: self._nvml.together(self._state, "its state"))
        return state or GpuState()

    def _state(self) -> GpuState:
        return GpuState(
            power_w=self._watts("power", "nvmlDeviceGetPowerUsage"),
            utilisation=self.known("utilisation", self._rate),
            temperature_c=self.known("temperature", self._temperature_c),
            sm_clock_mhz=self._clock_mhz("SM clock", "NVML_CLOCK_SM"),
            memory_clock_mhz=self._clock_mhz("memory clock", "NVML_CLOCK_MEM"),
        )

    def processes_mib(self) -> Mapping[int, float | None] | None:
        return self.known("process list", self._list_processes)

    def use_s(self) -> Mapping[int, float] | None:
        return None if self._utilisation is None else self.known(USE_BY_PROCESS, self._utilisation.read)

    def _text(self, what: str, function: str, *arguments: Any) -> str:
        return self.known(what, lambda: sound_text(self._nvml.ask(function, *arguments))) or ""

    def _watts(self, what: str, function: str) -> float | None:
        power_mw = self.known(what, lambda: sound(self._nvml.ask(function, self._handle), 0, MAX_GPU_MW))
        return None if power_mw is None else to_watts(power_mw)

    def _rate(self) -> float:
        """Return the fraction of the driver's last sampling period (1/6 to 1 s) in which a kernel ran."""
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

        return self.known(what, read)

    def _list_processes(self) -> Mapping[int, float | None]:
        processes = self._newest_list()
        held = ((int(process.pid), process.usedGpuMemory) for process in processes)
        return {pid: None if used_bytes is None else used_bytes / _MIB for pid, used_bytes in held}

    def _newest_list(self) -> Any:
        """Return the list from the newest function the driver has: old drivers lack the newer versions."""
        while len(self._lists) > 1:
            try:
                return self._nvml.ask(self._lists[0], self._handle)
            except DriverError as error:
                if not error.is_missing:
                    raise
                del self._lists[0]
        return self._nvml.ask(self._lists[0], self._handle)


def wall_us() -> int:
    """Return the present time in microseconds since 1970, as in the timestamps of the driver's samples."""
    return time.time_ns() // 1000


def nvml_samples(nvml: Driver, handle: Any) -> Callable[[int], Sequence[Sample]]:
    """Return a function from a time in microseconds to the samples after it.

    MIG and some virtual GPUs do not support samples; an idle GPU answers NOT_FOUND.
    """

    def read(after_us: int) -> Sequence[Sample]:
        try:
            answers = nvml.ask("nvmlDeviceGetProcessUtilization", handle, after_us)
        except DriverError as error:
            if error.code != _NOT_FOUND:
                raise
            return []
        return [Sample(int(one.pid), int(one.timeStamp), int(one.smUtil)) for one in answers]

    return read
