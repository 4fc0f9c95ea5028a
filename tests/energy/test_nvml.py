from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from search.energy.counters.counter import SensorError, Ticker
from search.energy.counters.gpu import DriverCounter, PowerIntegral
from search.energy.counters.nvml import open_gpu
from tests.support.fake_clock import FakeClock

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]


def nothing() -> None:
    """A counter of a test holds no driver."""


def test_the_counter_starts_at_zero_and_follows_the_driver(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=987_654_321)
    counter = open_gpu("GPU-a", FakeClock()).counter
    readings = [counter.read_mj()]
    for energy_mj in (987_655_321, 987_655_321, 987_800_000):
        fake_nvml["0.energy_mj"] = energy_mj
        readings.append(counter.read_mj())
    counter.close()
    assert (counter.sensor, counter.device) == ("nvml_counter", "GPU-a")
    assert readings == [0, 1000, 1000, 145_679]


def test_a_reset_of_the_counter_is_counted_apart_and_nothing_falls(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=5000)
    counter = open_gpu("GPU-a", FakeClock()).counter
    readings = []
    for energy_mj in (8000, 200, 900):  # 3000 mJ, then a driver reload, then 700 mJ
        fake_nvml["0.energy_mj"] = energy_mj
        readings.append(counter.read_mj())
    counter.close()
    assert readings == [3000, 3000, 3700]
    assert (counter.num_jumps, counter.jumped_mj) == (1, 200 - 8000)
    assert readings[-1] + counter.jumped_mj == 900 - 5000  # end - start of the driver's own counter


def test_field_83_is_read_where_the_energy_call_is_not_supported(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", **{"field.83": 2**40, "power_mw": 100_000})
    counter = open_gpu("GPU-a", FakeClock()).counter
    fake_nvml["0.field.83"] = 2**40 + 77
    assert (counter.sensor, counter.read_mj()) == ("nvml_counter", 77)
    counter.close()


def test_power_is_integrated_where_there_is_no_energy_counter(fake_nvml: FakeNvml) -> None:
    clock = FakeClock()
    fake_nvml.add_gpu(0, "GPU-a", power_mw=300_000)
    counter = open_gpu("GPU-a", clock).counter
    clock.now_s += 2.5
    assert (counter.sensor, counter.read_mj()) == ("nvml_power_integral", 750_000)  # 300 W for 2.5 s
    counter.close()


def test_the_power_fields_are_read_where_the_power_call_is_not_supported(fake_nvml: FakeNvml) -> None:
    clock = FakeClock()
    fake_nvml.add_gpu(0, "GPU-a", **{"field.186": 40_000})
    counter = open_gpu("GPU-a", clock).counter
    clock.now_s += 1
    assert counter.read_mj() == 40_000
    counter.close()


def test_the_integral_is_trapezoids_over_all_samples_equal_ones_too() -> None:
    clock = FakeClock(0.0)
    powers_mw = iter([100_000, 100_000, 300_000, 300_000])
    integral = PowerIntegral(
        "GPU-a", "nvml_power_integral", lambda: next(powers_mw), clock=clock, on_close=nothing
    )
    readings = []
    for now_s in (2.0, 3.0, 3.5):
        clock.now_s = now_s
        readings.append(integral.read_mj())
    # 100 W x 2 s; (100 + 300) / 2 W x 1 s; 300 W x 0.5 s. Without the sample at 2 s: 600 J at 3 s.
    assert readings == [200_000, 400_000, 550_000]


def test_the_integral_samples_in_its_own_thread_between_reads() -> None:
    samples, enough = [0], threading.Event()

    def read_power_mw() -> int:
        samples.append(1)
        if len(samples) > 5:
            enough.set()
        return 100_000

    integral = PowerIntegral(
        "GPU-a", "nvml_power_integral", read_power_mw, clock=FakeClock(), on_close=nothing
    )
    integral.start(interval_s=0.001)
    assert enough.wait(10)
    integral.close()
    assert "energy-ticker" not in {thread.name for thread in threading.enumerate()}


def test_a_lost_sample_does_not_end_the_sampling_and_is_bridged() -> None:
    clock, power_mw = FakeClock(0.0), 100_000
    is_lost = False

    def read_power_mw() -> int:
        if is_lost:
            raise SensorError("GPU-a: gone")
        return power_mw

    integral = PowerIntegral("GPU-a", "nvml_power_integral", read_power_mw, clock=clock, on_close=nothing)
    clock.now_s, is_lost = 1.0, True
    integral._sample()
    with pytest.raises(SensorError, match="gone"):
        integral.read_mj()
    clock.now_s, is_lost = 4.0, False
    assert integral.read_mj() == 400_000  # 100 W from 0 s to 4 s


def test_a_ticker_stops_when_asked_to() -> None:
    ticked = threading.Event()
    ticker = Ticker(0.001, ticked.set)
    assert ticked.wait(10)
    ticker.stop()
    assert "energy-ticker" not in {thread.name for thread in threading.enumerate()}


def test_a_ticker_continues_after_an_error_and_logs_each_kind_once(caplog: pytest.LogCaptureFixture) -> None:
    errors = [ValueError("one"), ValueError("one"), KeyError("two"), ValueError("one")]
    ticked = threading.Event()

    def fail() -> None:
        if errors:
            raise errors.pop(0)
        ticked.set()

    ticker = Ticker(0.001, fail)
    assert ticked.wait(10)
    ticker.stop()
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["one", "'two'"]


def test_a_gpu_that_is_lost_says_so_and_comes_back_with_what_it_counted(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=100)
    counter = open_gpu("GPU-a", FakeClock()).counter
    fake_nvml["0.energy_mj"] = "!15"
    with pytest.raises(SensorError, match="GPU-a: NVML answers GPU is lost"):
        counter.read_mj()
    fake_nvml["0.energy_mj"] = 350
    assert counter.read_mj() == 250
    counter.close()


def test_a_gpu_with_neither_energy_nor_power_is_refused_with_the_drivers_answer(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a")
    with pytest.raises(SensorError, match="Not Supported when asked for energy or power"):
        open_gpu("GPU-a", FakeClock())


def test_an_unknown_uuid_is_refused_with_the_way_to_list_them(fake_nvml: FakeNvml) -> None:
    with pytest.raises(SensorError, match=r"GPU-x: NVML answers Not Found; nvidia-smi -L"):
        open_gpu("GPU-x", FakeClock())


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(9, "modprobe nvidia"), (18, "reboot"), (12, "NVIDIA_DRIVER_CAPABILITIES"), (999, "Unknown")],
)
def test_a_driver_that_does_not_start_is_reported_with_its_remedy(
    fake_nvml: FakeNvml, code: int, remedy: str
) -> None:
    fake_nvml["init"] = f"!{code}"
    with pytest.raises(SensorError, match=remedy):
        open_gpu("GPU-a", FakeClock())


def test_a_mig_slice_is_counted_as_its_share_of_the_parent(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=7000, max_mig_devices=7)
    fake_nvml.add_gpu(1, "MIG-b", mig_parent=0, mig_slices=3)
    gpu = open_gpu("MIG-b", FakeClock())
    fake_nvml["0.energy_mj"] = 14_000
    assert (gpu.counter.device, gpu.counter.read_mj(), str(gpu.share)) == ("GPU-a", 7000, "3/7")
    assert "MIG-b: NVML has no counter for a MIG slice; counted as 3/7 of GPU-a" in gpu.reason
    gpu.counter.close()


def test_nvidia_ml_py_finds_the_fake_library_by_itself_in_another_process(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", energy_mj=1)
    code = "from search.energy.gpus import list_gpus; print([gpu.uuid for gpu in list_gpus()])"
    fake_nvml["0.name"] = "NVIDIA H200"
    environ = os.environ | {"LD_LIBRARY_PATH": str(fake_nvml.library.parent)}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "['GPU-a']\n"


def test_a_counter_that_never_moved_reads_zero() -> None:
    assert (
        DriverCounter("GPU-a", "nvml_counter", lambda: 10**12, clock=FakeClock(), on_close=nothing).read_mj()
        == 0
    )
