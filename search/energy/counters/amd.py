"""Energy of AMD GPUs through the optional module amdsmi, which comes with ROCm.

amdsmi reports no trustworthy seconds of use by process, so windows that share a GPU get reserved shares. Its
answers are dictionaries whose keys changed between releases, with "N/A" in place of unknown numbers.
Therefore each value is looked up by all its keys and must be a number that a GPU can have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from search.energy.counters.counter import Counter, SensorError
from search.energy.counters.driver import (
    COLDEST_C,
    HOTTEST_C,
    MAX_GPU_MW,
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
)
from search.energy.units import microjoules_to_mj, to_milliwatts, to_watts

PREFIX = "AMD-"

_MIB = 2**20
_MAX_W = to_watts(MAX_GPU_MW)
_MOST_TICKS = 2.0**80
_MISSING = "the module amdsmi is missing, or its library: install ROCm, then the extra jouletune[amd]"

_LIBRARY = CallThread("amdsmi")


def start_amdsmi() -> Driver:
    """Initialise and return amdsmi. Each start needs one `stop_amdsmi()`.

    Raises:
        SensorError: There is no amdsmi here, no driver under it, or it does not answer.
    """
    module = import_driver("amdsmi", _MISSING)
    smi = Driver(module, "amdsmi", "amdsmi", _explain, _LIBRARY)
    try:
        smi.ask("amdsmi_init", limit_s=START_S)
    except SensorError as error:
        raise SensorError(f"amdsmi does not start: {error}; is the amdgpu driver loaded?") from error
    return smi


def stop_amdsmi(smi: Driver) -> None:
    """Shut down amdsmi, ignoring a refusal."""
    with suppress(SensorError):
        smi.ask("amdsmi_shut_down")


def _explain(function: str, error: Exception) -> DriverError:
    """Put a refusal into words."""
    try:
        return DriverError(f"amdsmi answers {function} with {error}")
    except Exception:  # the driver makes the error's text too
        return DriverError(f"amdsmi answers {function} with {type(error).__name__}")


def list_amd_gpus() -> list[tuple[str, str]]:
    """Return UUID and model of each AMD GPU of this machine, both empty if unknown.

    UUIDs have a prefix that distinguishes them from NVIDIA's.

    Raises:
        SensorError: There is no amdsmi here, or it does not answer.
    """
    smi = start_amdsmi()
    try:
        return [
            (_known(partial(_uuid, smi, one)), _known(partial(_model, smi, one))) for one in _handles(smi)
        ]
    except SensorError as error:
        raise SensorError(f"amdsmi cannot list the GPUs: {error}; see amd-smi list") from error
    finally:
        stop_amdsmi(smi)


def open_amd_gpu(uuid: str, clock: Callable[[], float]) -> OpenGpu:
    """Open the best counter that answers for the GPU `uuid`, checked against its power.

    Raises:
        SensorError: There is no amdsmi or no such device, or neither energy nor power can be read.
    """
    smi = start_amdsmi()
    try:
        for handle in _handles(smi):
            if _known(partial(_uuid, smi, handle)) == uuid:
                device = smi.of_device(uuid)
                stop = partial(stop_amdsmi, smi)
                return OpenGpu(_open_counter(device, uuid, handle, clock, stop), AmdTelemetry(device, handle))
        raise SensorError(f"{uuid}: no such AMD GPU; amd-smi list shows what there is")
    except SensorError:
        stop_amdsmi(smi)
        raise


def _open_counter(
    smi: Driver, uuid: str, handle: Any, clock: Callable[[], float], stop: Callable[[], None]
) -> Counter:
    def read_power_mw() -> int:
        return _answered(uuid, lambda: to_milliwatts(_power_w(smi, handle)))

    def read_energy_mj() -> int:
        return _answered(uuid, lambda: _energy_mj(smi, handle))

    try:
        counter = DriverCounter(uuid, "amdsmi_counter", read_energy_mj, clock=clock, on_close=stop)
    except SensorError:
        return _open_integral(uuid, read_power_mw, clock, on_close=stop)
    with suppress(SensorError):
        integral = _open_integral(uuid, read_power_mw, clock, on_close=lambda: None)
        return CheckedCounter(counter, integral, clock)
    return counter


def _open_integral(
    uuid: str, read_power_mw: Callable[[], int], clock: Callable[[], float], *, on_close: Callable[[], None]
) -> PowerIntegral:
    integral = PowerIntegral(uuid, "amdsmi_power_integral", read_power_mw, clock=clock, on_close=on_close)
    integral.start()
    return integral


def _answered(uuid: str, read: Callable[[], int]) -> int:
    """Return the reading; a refusal names the GPU, since a node may have eight."""
    try:
        return read()
    except SensorError as error:
        raise SensorError(f"{uuid}: {error} when asked for energy or power") from error


def _energy_mj(smi: Driver, handle: Any) -> int:
    """Return the counter's value. It counts ticks of about 15 uJ, and reports their exact size."""
    answer = smi.ask("amdsmi_get_energy_count", handle)
    ticks = _of(answer, "energy_accumulator", "power")  # the second name is from before 6.1
    resolution_uj = sound(_of(answer, "counter_resolution"), 0, 1e9)
    return microjoules_to_mj(int(sound(ticks, 0, _MOST_TICKS) * resolution_uj))


def _power_w(smi: Driver, handle: Any) -> float:
    """Return the power: MI300 has the present value, earlier GPUs an average, older releases neither key."""
    answer = smi.ask("amdsmi_get_power_info", handle)
    refusal = SensorError(f"amdsmi's answer has no power: {answer!r}")
    for name in ("current_socket_power", "average_socket_power", "socket_power"):
        try:
            return float(sound(_of(answer, name), 0, _MAX_W))
        except SensorError as error:  # "N/A" where a number should be
            refusal = error
    raise refusal


def _handles(smi: Driver) -> list[Any]:
    handles = smi.ask("amdsmi_get_processor_handles", limit_s=START_S)
    if not isinstance(handles, list | tuple):
        raise SensorError(f"amdsmi answers {handles!r} instead of a list of GPUs")
    return list(handles)


def _of(answer: Any, *names: str) -> Any:
    """Return the first of these values that is in the answer.

    Raises:
        SensorError: None of them is.
    """
    if isinstance(answer, Mapping):
        for name in names:
            if name in answer:
                return answer[name]
    raise SensorError(f"amdsmi answers {answer!r} without {' or '.join(names)}")


def _known(read: Callable[[], str]) -> str:
    """Return the text; empty if the driver does not report it."""
    try:
        return read()
    except SensorError:
        return ""


def _uuid(smi: Driver, handle: Any) -> str:
    return f"{PREFIX}{sound_text(smi.ask('amdsmi_get_gpu_device_uuid', handle))}"


def _model(smi: Driver, handle: Any) -> str:
    return sound_text(_of(smi.ask("amdsmi_get_gpu_asic_info", handle), "market_name"))


class AmdTelemetry(GpuTelemetry):
    """The telemetry of one GPU through amdsmi."""

    def __init__(self, smi: Driver, handle: Any) -> None:
        super().__init__()
        self._smi, self._handle = smi, handle
        self.model = self.known("model", lambda: _model(smi, handle)) or ""
        self.power_limit_w = self.known("power limit", self._limit_w)
        self.driver_version = self.known("driver version", self._driver) or ""
        self.unknown[USE_BY_PROCESS] = "amdsmi reports no seconds of use that can be trusted"

    def state(self) -> GpuState:
        state = self.known("state", lambda: self._smi.together(self._state, "its state"))
        return state or GpuState()

    def processes_mib(self) -> Mapping[int, float | None] | None:
        return self.known("process list", self._list_processes)

    def _state(self) -> GpuState:
        return GpuState(
            power_w=self.known("power", lambda: _power_w(self._smi, self._handle)),
            utilisation=self.known("utilisation", self._rate),
            temperature_c=self.known("temperature", self._temperature_c),
        )

    def _driver(self) -> str:
        return sound_text(_of(self._smi.ask("amdsmi_get_gpu_driver_info", self._handle), "driver_version"))

    def _limit_w(self) -> float:
        limit_w = _of(self._smi.ask("amdsmi_get_power_info", self._handle), "power_limit")
        return float(sound(limit_w, 0, _MAX_W))

    def _rate(self) -> float:
        activity = self._smi.ask("amdsmi_get_gpu_activity", self._handle)
        return float(sound(_of(activity, "gfx_activity"), 0, 100) / 100)

    def _temperature_c(self) -> float:
        kinds, metrics = map(self._smi.constant, ("AmdSmiTemperatureType", "AmdSmiTemperatureMetric"))
        kind, metric = getattr(kinds, "HOTSPOT", None), getattr(metrics, "CURRENT", None)
        answer = self._smi.ask("amdsmi_get_temp_metric", self._handle, kind, metric)
        return float(sound(answer, COLDEST_C, HOTTEST_C))

    def _list_processes(self) -> Mapping[int, float | None]:
        held: dict[int, float | None] = {}
        for process in self._smi.ask("amdsmi_get_gpu_process_list", self._handle) or ():
            mib = sound(_of(process, "mem"), 0, 2.0**60) / _MIB
            held[int(sound(_of(process, "pid"), 1, 2**31))] = mib
        return held
