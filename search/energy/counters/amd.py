"""Energy of AMD GPUs through the module amdsmi, which comes with ROCm: optional, and absent elsewhere.

Who uses such a GPU is not told in seconds that can be trusted: leases that share one get reserved shares.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from search.energy.counters.counter import Counter, SensorError
from search.energy.counters.crosscheck import CheckedCounter
from search.energy.counters.gauges import GpuLabels, GpuState
from search.energy.counters.gpu_counters import DriverCounter, OpenGpu, PowerIntegral

PREFIX = "AMD-"

_MIB = 2**20


def start_amdsmi() -> ModuleType:
    """The module amdsmi, initialised. Each start needs one `amdsmi_shut_down()`.

    Raises:
        SensorError: No amdsmi here, or no driver under it.
    """
    try:
        smi = importlib.import_module("amdsmi")
    except (ImportError, OSError, KeyError) as error:  # the last two: the module is there, its library is not
        raise SensorError(
            "the module amdsmi is missing, or its library: install ROCm, then the extra jouletune[amd]"
        ) from error
    try:
        smi.amdsmi_init()
    except smi.AmdSmiException as error:
        raise SensorError(f"amdsmi does not start: {error}; is the amdgpu driver loaded?") from error
    return smi


def list_amd_gpus() -> list[tuple[str, str]]:
    """UUID, with a prefix that tells it from NVIDIA's, and model of each AMD GPU of this machine.

    Raises:
        SensorError: No amdsmi here, or it does not answer.
    """
    smi = start_amdsmi()
    try:
        handles = smi.amdsmi_get_processor_handles()
        return [(_uuid(smi, handle), _model(smi, handle)) for handle in handles]
    except smi.AmdSmiException as error:
        raise SensorError(f"amdsmi cannot list the GPUs: {error}; see amd-smi list") from error
    finally:
        smi.amdsmi_shut_down()


def open_amd_gpu(uuid: str, clock: Callable[[], float]) -> OpenGpu:
    """Open the best counter that answers for the GPU `uuid`, checked against its power.

    Raises:
        SensorError: No amdsmi, no such device, or neither its energy nor its power can be read.
    """
    smi = start_amdsmi()
    try:
        for handle in smi.amdsmi_get_processor_handles():
            if _uuid(smi, handle) == uuid:
                return OpenGpu(_open_counter(smi, uuid, handle, clock), AmdGauges(smi, handle))
        raise SensorError(f"{uuid}: no such AMD GPU; amd-smi list shows what there is")
    except smi.AmdSmiException as error:
        smi.amdsmi_shut_down()
        raise SensorError(f"{uuid}: amdsmi answers {error}") from error
    except SensorError:
        smi.amdsmi_shut_down()
        raise


def _open_counter(smi: ModuleType, uuid: str, handle: Any, clock: Callable[[], float]) -> Counter:
    def read_power_mw() -> int:
        return round(1000 * _answered(smi, uuid, lambda: _power_w(smi, handle)))

    def read_energy_mj() -> int:
        return round(_answered(smi, uuid, lambda: _energy_mj(smi, handle)))

    try:
        counter = DriverCounter(uuid, "amdsmi_counter", read_energy_mj, on_close=smi.amdsmi_shut_down)
    except SensorError:
        return _open_integral(uuid, read_power_mw, clock, on_close=smi.amdsmi_shut_down)
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


def _answered(smi: ModuleType, uuid: str, read: Callable[[], float]) -> float:
    try:
        return read()
    except (smi.AmdSmiException, KeyError, TypeError, ValueError) as error:  # "N/A" where a number should be
        raise SensorError(f"{uuid}: amdsmi answers {error!r} when asked for energy or power") from error


def _energy_mj(smi: ModuleType, handle: Any) -> int:
    answer = smi.amdsmi_get_energy_count(handle)
    ticks = answer["energy_accumulator"] if "energy_accumulator" in answer else answer["power"]  # before 6.1
    return int(ticks * answer["counter_resolution"]) // 1000  # the resolution is in uJ a tick


def _power_w(smi: ModuleType, handle: Any) -> float:
    answer = smi.amdsmi_get_power_info(handle)
    names = ("current_socket_power", "average_socket_power", "socket_power")
    known = [float(answer[name]) for name in names if isinstance(answer.get(name), int | float)]
    if not known:
        raise ValueError("no power")
    return known[0]


def _uuid(smi: ModuleType, handle: Any) -> str:
    return f"{PREFIX}{smi.amdsmi_get_gpu_device_uuid(handle)}"


def _model(smi: ModuleType, handle: Any) -> str:
    return str(smi.amdsmi_get_gpu_asic_info(handle)["market_name"])


class AmdGauges:
    """The gauges of one GPU through amdsmi."""

    def __init__(self, smi: ModuleType, handle: Any) -> None:
        self._smi, self._handle = smi, handle
        driver = self._known(lambda: smi.amdsmi_get_gpu_driver_info(handle)["driver_version"])
        limit_w = self._known(lambda: float(smi.amdsmi_get_power_info(handle)["power_limit"]))
        self.labels = GpuLabels(
            model=self._known(lambda: _model(smi, handle)) or "",
            power_limit_w=limit_w,
            driver_version=driver or "",
        )

    def state(self) -> GpuState:
        smi, handle = self._smi, self._handle
        percent = self._known(lambda: float(smi.amdsmi_get_gpu_activity(handle)["gfx_activity"]))
        kind, metric = smi.AmdSmiTemperatureType.HOTSPOT, smi.AmdSmiTemperatureMetric.CURRENT
        return GpuState(
            power_w=self._known(lambda: _power_w(smi, handle)),
            utilisation=None if percent is None or percent > 100 else percent / 100,
            temperature_c=self._known(lambda: float(smi.amdsmi_get_temp_metric(handle, kind, metric))),
        )

    def processes_mib(self) -> Mapping[int, float | None] | None:
        processes = self._known(lambda: self._smi.amdsmi_get_gpu_process_list(self._handle))
        if processes is None:
            return None
        return {int(process["pid"]): process["mem"] / _MIB for process in processes}

    def use_s(self) -> Mapping[int, float] | None:
        return None

    def _known(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (self._smi.AmdSmiException, KeyError, TypeError, ValueError):
            return None
