"""Where joules come from beside NVML's counter: the check against power, stated watts, AMD."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from search.energy.counters.amd import list_amd_gpus, open_amd_gpu
from search.energy.counters.counter import SensorError
from search.energy.counters.nvml import open_gpu
from search.energy.counters.user_model import UserModelCounter
from search.energy.gpus import visible_gpus
from search.energy.node import CpuTdp
from search.energy.process_meter import open_meter
from search.energy.processes import ProcessTable
from tests.support.fake_clock import FakeClock
from tests.support.fake_proc import FakeProc

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]


@pytest.mark.parametrize(("moved_mj", "ratio"), [(800_000, 0.8), (1_000_000, 1.0), (1_250_000, 1.25)])
def test_a_counter_that_agrees_with_power_is_kept(fake_nvml: FakeNvml, moved_mj: int, ratio: float) -> None:
    clock = FakeClock(0.0)
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=500, power_mw=200_000)
    counter = open_gpu("GPU-a", clock).counter
    clock.now_s = 4.9
    counter.read_mj()
    assert counter.power_ratio is None
    clock.now_s, fake_nvml["0.energy_mj"] = 5.0, 500 + moved_mj
    assert (counter.read_mj(), counter.power_ratio) == (moved_mj, ratio)
    clock.now_s, fake_nvml["0.energy_mj"] = 100.0, 500 + moved_mj + 7
    assert (counter.read_mj(), counter.sensor) == (moved_mj + 7, "nvml_counter")
    counter.close()


def test_a_counter_that_contradicts_power_gives_way_to_the_integral(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    clock = FakeClock(0.0)
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=0, power_mw=200_000)
    meter = open_meter(gpu_uuids=["GPU-a"], powercap=tmp_path, clock=clock, interval_s=None)
    clock.now_s, fake_nvml["0.energy_mj"] = 5.0, 3_000_000  # three times 200 W
    assert meter.read().gpu_mj == 3_000_000
    clock.now_s, fake_nvml["0.energy_mj"] = 6.0, 9_000_000
    assert meter.read().gpu_mj == 3_200_000
    sensors = meter.sensors
    assert (sensors.gpu_sensor, sensors.quality) == ("nvml_power_integral", "C")
    assert "its energy counter moved 3.00 times what its power readings imply" in sensors.reason
    meter.close()


def test_without_power_or_after_a_reset_there_is_nothing_to_compare(fake_nvml: FakeNvml) -> None:
    clock = FakeClock(0.0)
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=5000, power_mw=200_000)
    fake_nvml.add_gpu(1, "GPU-b", energy_mj=5000)
    reset, powerless = open_gpu("GPU-a", clock).counter, open_gpu("GPU-b", clock).counter
    clock.now_s, fake_nvml["0.energy_mj"] = 5.0, 10
    assert (reset.read_mj(), reset.power_ratio, reset.sensor) == (0, None, "nvml_counter")
    assert (powerless.read_mj(), powerless.power_ratio) == (0, None)
    reset.close()
    powerless.close()


def test_stated_watts_go_from_idle_to_full_with_the_busy_cores(tmp_path: Path) -> None:
    clock, proc = FakeClock(0.0), FakeProc(tmp_path)
    proc.set_busy(1000.0)
    table = ProcessTable(tmp_path)
    counter = UserModelCounter(40.0, 200.0, clock=clock, processes=table, num_cpus=8)
    clock.now_s = 10.0
    assert counter.read_mj() == 400_000
    clock.now_s = 20.0
    proc.set_busy(1020.0)  # 20 of 80 core-seconds
    assert counter.read_mj() == 400_000 + 800_000
    clock.now_s = 30.0
    proc.set_busy(2000.0)  # more than there is: all cores
    assert counter.read_mj() == 1_200_000 + 2_000_000


def test_a_tdp_gives_an_eighth_of_it_when_idle_and_all_of_it_when_busy(tmp_path: Path) -> None:
    clock, proc = FakeClock(0.0), FakeProc(tmp_path)
    proc.set_busy(0.0)
    table = ProcessTable(tmp_path)
    of_node = CpuTdp(tdp_w=100.0).watts(num_cpus=8)
    of_virtual = CpuTdp(tdp_w=350.0, threads=112).watts(num_cpus=2)
    assert (of_node.idle_w, of_node.max_w) == (12.0, 102.0)
    assert (of_virtual.idle_w, of_virtual.max_w) == pytest.approx((0.75, 6.375))  # 2 of its 112 threads
    counter = UserModelCounter(
        of_node.idle_w, of_node.max_w, clock=clock, processes=table, num_cpus=8, sensor=of_node.sensor
    )
    clock.now_s = 10.0
    assert counter.read_mj() == 120_000
    clock.now_s = 20.0
    proc.set_busy(40.0)  # half of 80 core-seconds
    assert (counter.read_mj(), counter.sensor) == (120_000 + 570_000, "estimated_tdp_model")


@pytest.mark.parametrize(("idle_w", "max_w"), [(-1.0, 5.0), (10.0, 5.0), (10.0, float("inf"))])
def test_watts_that_make_no_sense_are_refused(tmp_path: Path, idle_w: float, max_w: float) -> None:
    FakeProc(tmp_path)
    with pytest.raises(ValueError, match="need 0 <= cpu_watts_idle <= cpu_watts_max"):
        UserModelCounter(idle_w, max_w, clock=FakeClock(), processes=ProcessTable(tmp_path))


class AmdSmiError(Exception):
    """What amdsmi raises, under the name that the fake gives it."""


class FakeAmd:
    """The module amdsmi over one GPU: `answers` are what its functions return."""

    AmdSmiException = AmdSmiError
    AmdSmiTemperatureType = SimpleNamespace(HOTSPOT="hotspot")
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT="current")

    def __init__(self) -> None:
        self.users = 0
        self.answers: dict[str, Any] = {
            "get_processor_handles": ["handle"],
            "get_gpu_device_uuid": "a1b2",
            "get_gpu_asic_info": {"market_name": "MI300X"},
            "get_gpu_driver_info": {"driver_version": "6.8"},
            "get_energy_count": {"energy_accumulator": 2_000_000, "counter_resolution": 15.0},
            "get_power_info": {"current_socket_power": 300, "power_limit": 750},
            "get_gpu_activity": {"gfx_activity": 50},
            "get_temp_metric": 61,
            "get_gpu_process_list": [{"pid": 7, "mem": 2**30}],
        }

    def amdsmi_init(self) -> None:
        self.users += 1

    def amdsmi_shut_down(self) -> None:
        self.users -= 1

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("amdsmi_"):
            raise AttributeError(name)

        def answer(*_: object) -> Any:
            if name.removeprefix("amdsmi_") not in self.answers:
                raise AmdSmiError("not supported")
            return self.answers[name.removeprefix("amdsmi_")]

        return answer


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> FakeAmd:
    fake = FakeAmd()
    monkeypatch.setitem(sys.modules, "amdsmi", fake)  # type: ignore[arg-type]
    return fake


def test_an_amd_gpu_has_a_counter_in_ticks_of_its_resolution(amd: FakeAmd) -> None:
    clock = FakeClock(0.0)
    gpu = open_amd_gpu("AMD-a1b2", clock)
    amd.answers["get_energy_count"] = {"energy_accumulator": 2_100_000, "counter_resolution": 15.0}
    assert (gpu.counter.sensor, gpu.counter.read_mj()) == ("amdsmi_counter", 1500)  # 100,000 x 15 uJ
    state, shown = gpu.telemetry.state(), gpu.telemetry
    assert (state.power_w, state.utilisation, state.temperature_c) == (300.0, 0.5, 61.0)
    assert (shown.model, shown.power_limit_w, shown.driver_version) == ("MI300X", 750.0, "6.8")
    assert (gpu.telemetry.processes_mib(), gpu.telemetry.use_s()) == ({7: 1024.0}, None)
    gpu.counter.close()
    assert amd.users == 0


def test_an_amd_gpu_without_a_counter_is_integrated(amd: FakeAmd) -> None:
    clock = FakeClock(0.0)
    del amd.answers["get_energy_count"]
    counter = open_amd_gpu("AMD-a1b2", clock).counter
    clock.now_s = 2.0
    assert (counter.sensor, counter.read_mj()) == ("amdsmi_power_integral", 600_000)
    counter.close()
    assert amd.users == 0


def test_amd_answers_that_are_no_numbers_are_unknown(amd: FakeAmd) -> None:
    amd.answers |= {"get_gpu_activity": {"gfx_activity": "N/A"}, "get_power_info": {}}
    gpu = open_amd_gpu("AMD-a1b2", FakeClock())
    assert (gpu.telemetry.state().utilisation, gpu.telemetry.state().power_w) == (None, None)
    gpu.counter.close()
    del amd.answers["get_energy_count"]
    with pytest.raises(SensorError, match="when asked for energy or power"):
        open_amd_gpu("AMD-a1b2", FakeClock())
    with pytest.raises(SensorError, match="no such AMD GPU"):
        open_amd_gpu("AMD-x", FakeClock())
    assert amd.users == 0


def test_amd_gpus_are_visible_where_there_is_no_nvidia_driver(amd: FakeAmd, fake_nvml: FakeNvml) -> None:
    fake_nvml["init"] = "!9"
    assert list_amd_gpus() == [("AMD-a1b2", "MI300X")]
    assert visible_gpus({}).uuids == ("AMD-a1b2",)
    assert visible_gpus({"HIP_VISIBLE_DEVICES": "0"}).uuids == ("AMD-a1b2",)
    assert vars(visible_gpus({"HIP_VISIBLE_DEVICES": ""})) == {"uuids": (), "reason": ""}
    assert amd.users == 0


def test_an_amd_gpu_is_metered_like_any_other(amd: FakeAmd, tmp_path: Path) -> None:
    meter = open_meter(gpu_uuids=["AMD-a1b2"], powercap=tmp_path, clock=FakeClock(), interval_s=None)
    amd.answers["get_energy_count"] = {"energy_accumulator": 2_200_000, "counter_resolution": 15.0}
    assert meter.read().gpu_mj == 3000
    assert (meter.sensors.gpu_sensor, meter.sensors.quality) == ("amdsmi_counter", "A")
    meter.close()


def test_a_module_whose_library_is_missing_is_a_missing_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    with pytest.raises(
        SensorError, match=r"the module amdsmi is missing, .* install ROCm, then the extra jouletune\[amd\]"
    ):
        list_amd_gpus()


def test_the_lock_leaves_amdsmi_to_machines_that_have_rocm() -> None:
    root = Path(__file__).parents[2]
    assert 'amd = ["amdsmi' in (root / "pyproject.toml").read_text()
    assert "amdsmi" not in (root / "requirements.lock").read_text()
    assert "--all-extras" not in (root / "Makefile").read_text()
