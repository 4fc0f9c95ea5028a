from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from search.energy.hardware import describe_devices

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]


def test_a_gpu_and_the_cpu_are_described(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml["driver_version"] = "570.124.06"
    fake_nvml.add_gpu(
        0,
        "GPU-a",
        name="NVIDIA H200",
        power_limit_mw=700_000,
        sm_clock_mhz=1980,
        memory_clock_mhz=3201,
        temperature_c=31,
    )
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 9654: Genoa\n")
    for cpu in ("cpu0", "cpu1"):
        (tmp_path / cpu / "cpufreq").mkdir(parents=True)
        (tmp_path / cpu / "cpufreq" / "scaling_governor").write_text("performance\n")
    assert describe_devices(cpuinfo=tmp_path / "cpuinfo", cpus=tmp_path) == [
        {
            "kind": "gpu",
            "model": "NVIDIA H200",
            "uuid": "GPU-a",
            "driver_version": "570.124.06",
            "power_limit_w": 700.0,
            "sm_clock_mhz": 1980,
            "memory_clock_mhz": 3201,
            "temperature_c": 31,
        },
        {"kind": "cpu", "model": "AMD EPYC 9654: Genoa", "governor": "performance"},
    ]


def test_what_cannot_be_read_is_none(fake_nvml: FakeNvml, tmp_path: Path) -> None:
    fake_nvml.add_gpu(0, "GPU-a", temperature_c="!15")
    gpu, cpu = describe_devices(cpuinfo=tmp_path / "absent", cpus=tmp_path)
    assert {key for key, value in gpu.items() if value is not None} == {"kind", "uuid"}
    assert cpu == {"kind": "cpu", "model": None, "governor": None}


def test_this_machine_is_described_without_a_driver(fake_nvml: FakeNvml) -> None:
    fake_nvml["init"] = "!12"
    devices = describe_devices()
    assert [device["kind"] for device in devices] == ["cpu"]
    assert json.loads(json.dumps(devices)) == devices
