from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import search.energy
import search.energy.node
import search.energy.process_meter
from search.energy.hardware import read_cpu_labels
from search.energy.reading import EnergyReading, EnergySensors
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml_library import HEALTHY
from tests.support.fake_powercap import add_zone, set_energy

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]

# Without a thread of its own, which would sample between a test's two lines.
opened = partial(search.energy.process_meter.open_meter, interval_s=None)


def whole(**parts: int) -> EnergyReading:
    """A reading in which no idle level is known: all of the GPU's joules are active."""
    gpu_mj = parts.get("gpu_mj", 0)
    split = {"gpu_active_mj": gpu_mj, "gpu_context_mj": 0, "gpu_idle_share_mj": 0, "gpu_uncertainty_mj": 0}
    return EnergyReading(**{**split, **parts})


def test_a_node_with_all_sensors_is_exclusive_and_of_quality_a(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    clock = FakeClock()
    fake_nvml["driver_version"] = "570.1"
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=1_000_000, **HEALTHY)
    fake_nvml.add_gpu(1, "GPU-b", energy_mj=2_000_000, **HEALTHY)
    package = add_zone(tmp_path, "intel-rapl:0", "package-0")
    dram = add_zone(tmp_path, "intel-rapl:0:0", "dram")
    meter = opened(gpu_uuids=["GPU-a", "GPU-b"], powercap=tmp_path, clock=clock)
    assert meter.read() == whole(gpu_mj=0, cpu_mj=0, dram_mj=0)

    clock.now_s += 1
    fake_nvml["0.energy_mj"], fake_nvml["1.energy_mj"] = 1_000_400, 2_000_030
    set_energy(package, 50_000_000)
    set_energy(dram, 6_000_000)
    reading = meter.read()
    # 430 mW for up to 0.1 s is what the counter's steps leave open at either end of the window.
    assert reading == whole(gpu_mj=430, cpu_mj=50_000, dram_mj=6_000, gpu_uncertainty_mj=86)
    assert reading.total_mj == 56_430
    cpu = read_cpu_labels()
    assert meter.sensors == EnergySensors(
        cpu_model=cpu.cpu_model,
        cpu_governor=cpu.cpu_governor,
        gpu_model="NVIDIA H200",
        gpu_driver_version="570.1",
        gpu_sensor="nvml_counter",
        gpu_attribution="exclusive",
        cpu_sensor="rapl_powercap",
        cpu_attribution="exclusive",
        scope="gpu+cpu+dram",
        quality="A",
        reason="",
    )
    assert meter.sensors.scope == reading.scope
    meter.close()


def test_a_reserved_share_is_rounded_at_each_reading(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    clock = FakeClock()
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=0)
    package = add_zone(tmp_path, "intel-rapl:0", "package-0")
    meter = opened(gpu_uuids=["GPU-a"], gpu_share=0.29, cpu_share=0.5, powercap=tmp_path, clock=clock)
    gpu_mj = []
    for energy_mj in (3, 6, 9, 100):  # 0.87 three times, then 26.39
        fake_nvml["0.energy_mj"] = energy_mj
        gpu_mj.append(meter.read().gpu_mj)
    clock.now_s += 1
    set_energy(package, 33_003_000)
    assert gpu_mj == [1, 2, 3, 29]
    assert meter.read().cpu_mj == 16_501  # 16,501.5: the remainder is as large for the rest
    sensors = meter.sensors
    assert (sensors.gpu_attribution, sensors.cpu_attribution, sensors.quality) == (
        "reserved",
        "reserved",
        "D",
    )
    meter.close()


def test_four_quarters_of_a_gpu_add_up_to_the_gpu_within_a_rounding_each(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=0)
    meters = [opened(gpu_uuids=["GPU-a"], gpu_share=0.25, powercap=tmp_path) for _ in range(4)]
    fake_nvml["0.energy_mj"] = 1_000_003
    assert sum(meter.read().gpu_mj or 0 for meter in meters) == 1_000_004  # 250,000.75 each
    for meter in meters:
        meter.close()


def test_the_quality_is_that_of_the_worst_part(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=0)
    fake_nvml.add_gpu(1, "GPU-b", power_mw=50_000)
    add_zone(tmp_path, "intel-rapl:0", "package-0")
    cases = [(["GPU-a"], 1.0, "A"), (["GPU-a", "GPU-b"], 1.0, "C"), (["GPU-a"], 0.5, "D"), ([], 1.0, "A")]
    for gpu_uuids, cpu_share, quality in cases:
        meter = opened(gpu_uuids=gpu_uuids, cpu_share=cpu_share, powercap=tmp_path)
        assert meter.sensors.quality == quality
        meter.close()


def test_without_any_sensor_all_is_none_and_each_remedy_is_named(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml["init"] = "!9"
    meter = opened(gpu_uuids=["GPU-a"], powercap=tmp_path / "absent")
    assert meter.read() == EnergyReading(gpu_mj=None, cpu_mj=None, dram_mj=None)
    cpu = read_cpu_labels()
    assert meter.sensors == EnergySensors(
        reason=meter.sensors.reason, cpu_model=cpu.cpu_model, cpu_governor=cpu.cpu_governor
    )
    gpu_reason, cpu_reason = meter.sensors.reason.split("; ", 1)
    assert gpu_reason == "gpu: the NVIDIA driver is not loaded: modprobe nvidia"
    assert cpu_reason.startswith(f"cpu: no RAPL package under {tmp_path / 'absent'}")
    meter.close()


def test_one_missing_gpu_of_two_makes_the_gpu_part_unknown_not_too_small(
    fake_nvml: FakeNvml, tmp_path: Path
) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=0)
    add_zone(tmp_path, "intel-rapl:0", "package-0")
    meter = opened(gpu_uuids=["GPU-a", "GPU-x"], powercap=tmp_path)
    assert (meter.read(), meter.sensors.scope) == (EnergyReading(cpu_mj=0), "cpu")
    assert meter.sensors.reason.startswith("gpu: GPU-x: NVML answers Not Found")
    meter.close()


def test_a_refused_cpu_leaves_the_gpu_measured(
    fake_nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=0)
    add_zone(tmp_path, "intel-rapl:0", "package-0")

    def read_text(path: Path) -> str:  # injected, since root may read a file of any mode
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return path.read_text()

    monkeypatch.setattr(search.energy.node, "patient_reader", lambda calls: read_text)
    meter = opened(gpu_uuids=["GPU-a"], powercap=tmp_path)
    assert meter.read() == whole(gpu_mj=0)
    assert (meter.sensors.scope, meter.sensors.quality) == ("gpu", "A")
    assert "cpu: " in meter.sensors.reason
    assert "udev rule" in meter.sensors.reason
    meter.close()


def test_a_zone_that_vanishes_leaves_the_scope_until_it_is_back(tmp_path: Path) -> None:
    clock = FakeClock()
    zone = add_zone(tmp_path, "intel-rapl:0", "package-0")
    meter = opened(powercap=tmp_path, clock=clock)
    shutil.rmtree(zone)
    assert meter.read() == EnergyReading()
    assert (meter.sensors.scope, meter.sensors.cpu_sensor, meter.sensors.quality) == ("", "", "")
    assert "was the RAPL module unloaded" in meter.sensors.reason
    clock.now_s += 1
    add_zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=20_000_000)
    assert meter.read() == EnergyReading(cpu_mj=20_000)
    assert (meter.sensors.scope, meter.sensors.reason) == ("cpu", "")
    meter.close()


def test_a_reset_is_reported_in_the_reason(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=500)
    meter = opened(gpu_uuids=["GPU-a"], gpu_reason="gpu: doubtful", powercap=tmp_path / "absent")
    fake_nvml["0.energy_mj"] = 100
    assert meter.read().gpu_mj == 0
    assert meter.sensors.reason.startswith("gpu: doubtful; gpu: GPU-a: 1 jump of the counter left out (-400")
    assert "; cpu: no RAPL" in meter.sensors.reason
    meter.close()


def test_a_mig_slice_is_reserved_and_multiplied_with_the_share(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=0, max_mig_devices=7)
    fake_nvml.add_gpu(1, "MIG-b", mig_parent=0, mig_slices=2)
    meter = opened(gpu_uuids=["MIG-b"], gpu_share=0.5, powercap=tmp_path)
    fake_nvml["0.energy_mj"] = 700
    assert meter.read().gpu_mj == 100  # 700 x 2/7 x 1/2
    assert (meter.sensors.gpu_attribution, meter.sensors.quality) == ("reserved", "D")
    assert "counted as 2/7 of GPU-a" in meter.sensors.reason
    meter.close()


def test_no_gpu_wanted_means_no_reason_about_gpus(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml["init"] = "!9"
    add_zone(tmp_path, "intel-rapl:0", "package-0")
    meter = opened(powercap=tmp_path)
    assert (meter.sensors.scope, meter.sensors.reason) == ("cpu", "")
    meter.close()


def test_the_cpu_is_read_in_between_so_that_no_wrap_is_missed(tmp_path: Path) -> None:
    # 31 J range at 100 W: (31 - 1) J / 150 W = 0.2 s, so a read every 0.1 s
    add_zone(tmp_path, "intel-rapl:0", "package-0", range_uj=31_000_000)
    was_read = threading.Event()
    clock = FakeClock()

    def noting_clock() -> float:
        if threading.current_thread().name == "energy-ticker":
            was_read.set()
        return clock()

    meter = search.energy.process_meter.open_meter(powercap=tmp_path, clock=noting_clock)
    assert was_read.wait(10)
    meter.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "energy-ticker"]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"gpu_share must be in \(0, 1\], got {share}"):
        opened(gpu_share=share)


@settings(max_examples=40, deadline=None)  # files and a shared machine: no deadline
@given(
    increments=st.lists(st.integers(0, 149_000_000), max_size=30),
    share=st.integers(1, 10_000).map(lambda parts: parts / 10_000),  # Ray's smallest share is 0.0001
)
def test_for_any_increments_a_shared_meter_never_falls_and_rounds_once_a_reading(
    increments: list[int], share: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock(0.0)
        zone = add_zone(Path(folder), "intel-rapl:0", "package-0")
        meter = opened(cpu_share=share, powercap=Path(folder), clock=clock)
        total_uj, last_mj = 0, 0
        for num_readings, increment_uj in enumerate(increments, start=1):
            clock.now_s += 1
            total_uj += increment_uj
            set_energy(zone, total_uj)
            cpu_mj = meter.read().cpu_mj
            assert cpu_mj is not None
            assert abs(cpu_mj - total_uj / 1000 * share) <= num_readings + 1
            assert cpu_mj >= last_mj
            last_mj = cpu_mj
        meter.close()


@pytest.mark.parametrize("module", ["", ".reading", ".process_meter"])
def test_importing_energy_loads_no_heavy_module(module: str) -> None:
    """In a bare interpreter: a worker has it before its first trial, the driver before its first line."""
    code = f"import sys; import search.energy{module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"torch", "ray", "optuna", "pandas", "numpy", "scipy", "pydantic", "rich", "pynvml"}
    assert heavy & set(loaded) == set()
