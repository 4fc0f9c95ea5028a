"""Who used a GPU: the driver's samples, and whose process each of them names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from search.energy.attribution.activity import EXTERNAL, CpuActivity, GpuActivity, ProcessOwners
from search.energy.attribution.windows import Window
from search.energy.counters.counter import SensorError
from search.energy.counters.gpu import GpuState, ProcessUtilisation, Sample
from search.energy.counters.nvml import NvmlTelemetry, start_nvml, stop_nvml
from search.energy.processes import ProcessTable
from tests.support.fake_proc import FakeProc

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]

START_US = 1_700_000_000_000_000


class Ring:
    """A driver's ring of samples and the wall clock beside it."""

    def __init__(self) -> None:
        self.samples: list[Sample] | SensorError = []
        self.now_us = START_US
        self.asked_us: list[int] = []
        self.utilisation = ProcessUtilisation(self.read, lambda: self.now_us)

    def read(self, after_us: int) -> list[Sample]:
        self.asked_us.append(after_us)
        if isinstance(self.samples, SensorError):
            raise self.samples
        return self.samples

    def after(self, *samples: tuple[int, float, int]) -> dict[int, float] | None:
        """Use by pid, in hundredths of seconds; samples are pid, seconds since the start, percent."""
        self.samples = [Sample(pid, START_US + round(at_s * 1e6), percent) for pid, at_s, percent in samples]
        self.now_us = max([self.now_us, *(one.at_us for one in self.samples)])
        use_s = self.utilisation.read()
        return use_s and {pid: round(100 * seconds, 6) for pid, seconds in use_s.items()}


def test_each_sample_stands_for_the_time_since_the_one_before_whosever_it_was() -> None:
    ring = Ring()
    assert ring.after((7, 0.1, 100), (8, 0.2, 50), (7, 0.3, 80)) == {7: 18.0, 8: 5.0}
    assert ring.after((8, 0.4, 100)) == {8: 10.0}


def test_the_driver_is_asked_in_microseconds_for_what_is_new() -> None:
    ring = Ring()
    ring.after((7, 0.1, 100), (8, 0.2, 50))
    ring.after()
    assert ring.asked_us == [START_US, START_US + 200_000]


def test_samples_of_one_time_stand_for_the_same_time() -> None:
    assert Ring().after((7, 0.1, 60), (8, 0.1, 30)) == {7: 6.0, 8: 3.0}


def test_an_idle_pause_is_nobody_s() -> None:
    ring = Ring()
    ring.after(*((7, tenth / 10, 100) for tenth in range(1, 21)))
    assert ring.after((7, 9.0, 100), (7, 9.1, 100)) == {7: 20.0}


def test_the_first_sample_after_a_pause_stands_for_a_sixth_of_a_second_at_most() -> None:
    assert Ring().after((7, 0.9, 100)) == {7: 16.6667}


def test_junk_is_left_out_and_does_not_hide_what_follows() -> None:
    ring = Ring()
    junk = [(7, 5e5, 50), (7, 0.1, 4_000_000_000), (0, 0.1, 50), (7, -3.0, 50)]
    ring.samples = [Sample(pid, START_US + round(at_s * 1e6), percent) for pid, at_s, percent in junk]
    assert ring.utilisation.read() == {}
    assert ring.after((7, 0.1, 50)) == {7: 5.0}


def test_a_driver_without_samples_is_unknown_and_an_idle_one_is_empty() -> None:
    ring = Ring()
    assert ring.after() == {}
    ring.samples = SensorError("not supported")
    with pytest.raises(SensorError, match="not supported"):
        ring.utilisation.read()


def test_the_real_binding_reads_samples_processes_and_state(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", name="NVIDIA H100", power_mw=300_500, gpu_percent=75, temperature_c=51)
    fake_nvml["0.processes"] = "101:2048 102:512"
    fake_nvml["0.samples"] = f"101:{START_US + 100_000}:80 102:{START_US + 200_000}:40"
    nvml = start_nvml()
    clock_us = iter([START_US, START_US + 300_000, START_US + 300_000, START_US + 300_000])
    telemetry = NvmlTelemetry(nvml, nvml.ask("nvmlDeviceGetHandleByIndex", 0), now_us=lambda: next(clock_us))
    assert telemetry.use_s() == {101: pytest.approx(0.08), 102: pytest.approx(0.04)}
    assert telemetry.processes_mib() == {101: 2048.0, 102: 512.0}
    state = telemetry.state()
    assert (state.power_w, state.utilisation, state.temperature_c) == (300.5, 0.75, 51)
    assert telemetry.model == "NVIDIA H100"
    assert telemetry.use_s() == {}  # nothing new: the driver answers NOT_FOUND
    del fake_nvml["0.samples"]
    assert telemetry.use_s() is None
    stop_nvml(nvml)


def test_what_a_gpu_refuses_is_none(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", processes="!3", gpu_percent=4_000_000_000)
    nvml = start_nvml()
    telemetry = NvmlTelemetry(nvml, nvml.ask("nvmlDeviceGetHandleByIndex", 0), is_mig=True)
    assert (telemetry.use_s(), telemetry.processes_mib()) == (None, None)
    assert telemetry.state() == GpuState()  # all unknown
    stop_nvml(nvml)


HOLDERS = {"a": Window(name="a", pid=100), "b": Window(name="b", pid=200)}
NOTHING: dict[int, float | None] = {}


def test_a_process_belongs_to_the_window_whose_tree_it_is_in(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    for pid, parent in ((100, 1), (110, 100), (111, 110), (200, 1), (900, 1)):
        proc.add(pid, parent)
    owners = ProcessOwners(ProcessTable(tmp_path)).owners(NOTHING, {111: 1.0, 200: 1.0, 900: 1.0}, HOLDERS)
    assert owners == {111: "a", 200: "b", 900: EXTERNAL}


def test_a_process_of_a_container_is_known_by_its_inner_pid(tmp_path: Path) -> None:
    proc = FakeProc(tmp_path)
    proc.add(5000, 1, inner=100)
    assert ProcessOwners(ProcessTable(tmp_path)).owners(NOTHING, {5000: 1.0}, HOLDERS) == {5000: "a"}


def in_container(root: Path) -> ProcessOwners:
    FakeProc(root, namespace="pid:[4026532999]")
    return ProcessOwners(ProcessTable(root))


def test_inside_a_container_a_window_alone_teaches_its_process(tmp_path: Path) -> None:
    owners = in_container(tmp_path)
    assert owners.owners(NOTHING, {7001: 1.0}, {"a": HOLDERS["a"]}) == {7001: "a"}
    assert owners.owners(NOTHING, {7001: 1.0, 7002: 1.0}, HOLDERS) == {7001: "a", 7002: None}
    later = {"c": Window(name="c", pid=100), "b": HOLDERS["b"]}  # the same warm worker, its next trial
    assert owners.owners(NOTHING, {7001: 1.0}, later) == {7001: "c"}


def holding_mib(**held: float) -> dict[str, Window]:
    """Windows of different processes that report what they hold on the GPU."""
    windows = [
        Window(name=name, pid=pid, gpu_memory_mib=mib) for pid, (name, mib) in enumerate(held.items(), 1)
    ]
    return {window.name: window for window in windows}


def test_inside_a_container_memory_tells_if_it_fits_one_window_only(tmp_path: Path) -> None:
    windows = holding_mib(a=8000.0, b=2000.0)
    held: dict[int, float | None] = {7001: 8400.0, 7002: 2400.0, 7003: 30_000.0}
    owners = in_container(tmp_path).owners(held, {7001: 1.0, 7002: 1.0}, windows)
    assert owners == {7001: "a", 7002: "b", 7003: None}
    alike = holding_mib(a=2000.0, b=2100.0)
    assert in_container(tmp_path / "2").owners({7001: 2400.0}, {}, alike) == {7001: None}


def test_a_window_s_own_pid_from_the_driver_shows_that_all_pids_compare(tmp_path: Path) -> None:
    owners = in_container(tmp_path).owners(NOTHING, {50: 1.0, 100: 1.0}, HOLDERS)
    assert owners == {50: EXTERNAL, 100: "a"}


def test_a_process_that_was_there_before_all_windows_is_external(tmp_path: Path) -> None:
    owners = in_container(tmp_path)
    assert owners.owners({7001: 500.0}, {7001: 0.0}, {}) == {7001: EXTERNAL}
    assert owners.owners({7001: 500.0}, {7001: 1.0}, {"a": HOLDERS["a"]}) == {7001: EXTERNAL}


def test_a_worker_that_was_warm_before_the_first_window_is_its_window_s_all_the_same(tmp_path: Path) -> None:
    owners = in_container(tmp_path)
    owners.owners({100: 500.0, 50: 500.0}, {}, {})
    assert owners.owners({100: 500.0, 50: 500.0}, {}, HOLDERS) == {100: "a", 50: EXTERNAL}


def test_one_process_with_two_windows_is_unknown(tmp_path: Path) -> None:
    FakeProc(tmp_path).add(100)
    both = {"a": Window(name="a", pid=100), "b": Window(name="b", pid=100)}
    assert ProcessOwners(ProcessTable(tmp_path)).owners(NOTHING, {100: 1.0}, both) == {100: None}


class GpuTelemetry:
    """GpuTelemetry whose answers a test sets, counting the lists that were asked for."""

    def __init__(self) -> None:
        self.use: dict[int, float] | None = {}
        self.held: dict[int, float | None] | None = {}
        self.num_lists = 0
        self.unknown: dict[str, str] = {}

    def use_s(self) -> dict[int, float] | None:
        return self.use

    def processes_mib(self) -> dict[int, float | None] | None:
        self.num_lists += 1
        return self.held


def test_unknown_workers_make_all_windows_unknown_idle_ones_do_not(tmp_path: Path) -> None:
    FakeProc(tmp_path, namespace="pid:[4026532999]")
    telemetry = GpuTelemetry()
    activity = GpuActivity(telemetry, ProcessTable(tmp_path))  # type: ignore[arg-type]
    telemetry.use, telemetry.held = {7001: 0.5, 7002: 0.5}, {7001: 1.0, 7002: 1.0}
    assert activity.observe(HOLDERS, 0.0).use_s == {"a": None, "b": None}
    telemetry.use = {7001: 0.0}
    assert activity.observe(HOLDERS, 1.0).use_s == {"a": 0.0, "b": 0.0}


def test_the_costly_process_list_is_asked_for_every_five_seconds_or_for_a_new_pid(tmp_path: Path) -> None:
    FakeProc(tmp_path).add(100)
    telemetry = GpuTelemetry()
    activity = GpuActivity(telemetry, ProcessTable(tmp_path))  # type: ignore[arg-type]
    for second in range(11):
        activity.observe(HOLDERS, float(second))
    assert telemetry.num_lists == 3  # at 0, 5 and 10 s
    telemetry.use, telemetry.held = {100: 1.0}, {100: 800.0}
    looked = activity.observe(HOLDERS, 11.0)
    assert (telemetry.num_lists, looked.is_occupied, looked.use_s) == (4, True, {"a": 1.0, "b": 0.0})


def test_cpu_seconds_are_those_of_the_tree_and_the_rest_is_external(tmp_path: Path) -> None:
    proc, processes = FakeProc(tmp_path), ProcessTable(tmp_path)
    proc.add(100, cpu_s=50.0)
    proc.add(101, 100, cpu_s=7.0)
    proc.set_busy(1000.0)
    activity = CpuActivity(processes, num_cpus=8)
    activity.begin(HOLDERS["a"], 0.0)
    proc.add(100, cpu_s=51.0, waited_s=8.0)  # the child worked one second more, ended and was waited for
    proc.remove(101)
    proc.add(102, 100, cpu_s=2.0)  # a new child
    proc.set_busy(1007.0)
    looked = activity.observe({"a": HOLDERS["a"]}, 5.0)
    assert looked.use_s == {"a": 4.0}
    assert looked.external_s == 3.0


def test_a_process_is_read_with_brackets_in_its_name_and_a_zombie_is_gone(tmp_path: Path) -> None:
    proc, processes = FakeProc(tmp_path), ProcessTable(tmp_path)
    proc.add(100, 42, cpu_s=1.5, waited_s=0.5, start_ticks=123)
    proc.add(101, state="Z")
    found = processes.find(100)
    assert found
    assert (found.parent, found.start_ticks, found.cpu_s) == (42, 123, 2.0)
    assert (processes.find(101), processes.find(999)) == (None, None)
