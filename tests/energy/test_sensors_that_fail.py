"""Sensors that lack a function, refuse, answer junk or hang: what can be measured is, the rest says why."""

from __future__ import annotations

import ctypes
import inspect
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.energy.counters.counter import SensorError
from search.energy.counters.driver import CallThread, NoAnswer
from search.energy.gpus import visible_gpus
from search.energy.hardware import describe_devices
from search.energy.meter import NodeMeter
from search.energy.node import NodePaths, open_node_meter
from search.energy.processes import ProcessTable
from search.energy.reading import EnergyReading
from tests.support.fake_clock import FakeClock
from tests.support.fake_nvml_library import HEALTHY, SOURCE, FakeNvml, pynvml
from tests.support.fake_powercap import add_zone, set_energy
from tests.support.fake_proc import FakeProc

pytest_plugins = ["tests.support.fake_nvml_library"]

ENERGY = Path(__file__).parents[2] / "search" / "energy"
CALLED = sorted(
    {
        name
        for file in ENERGY.rglob("*.py")
        for name in re.findall(r"\bnvml[A-Z]\w*", file.read_text())
        if hasattr(pynvml, name)
    }
)
OF_SLICES = (
    "nvmlDeviceGetAttributes_v2",
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
    "nvmlDeviceGetMaxMigDeviceCount",
)
# Without these no GPU can be named: all others leave its joules exact.
NAMING = (
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetUUID",
    "nvmlInit",
)
# What another call gives as well, or nothing is read by.
DISPENSABLE = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetMemoryInfo",  # asked by the packing of trials, never by a meter
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlShutdown",
)
SHORT_S = 0.3


def symbol(name: str) -> str:
    """The function of the C library that pynvml's `name` calls."""
    source = inspect.getsource(inspect.unwrap(getattr(pynvml, name)))
    if found := re.search(r'_nvmlGetFunctionPointer\("(\w+)"\)', source):
        return found[1]
    return symbol(re.findall(r"\b(nvml\w+)\(", source)[-1])


def library_without(folder: Path, *symbols: str) -> Path:
    """The fake NVML in which these functions have names that nobody asks for."""
    library = folder / "libnvidia-ml.so.1"
    hidden = [f"-D{one}=without_{one}" for one in symbols]
    subprocess.run(["gcc", "-shared", "-fPIC", "-O0", *hidden, "-o", library, SOURCE], check=True)
    return library


@dataclass
class Node:
    """A node with a GPU that drew 300 W for a second, and a CPU package that drew 50 W."""

    fake: FakeNvml
    powercap: Path
    package: Path
    proc: FakeProc
    clock: FakeClock
    is_slice: bool = False
    meter: NodeMeter | None = None
    window: str = ""
    unseen_reason: str = ""
    reason: str = ""

    def begin(self) -> None:
        around = NodePaths(clock=self.clock, powercap=self.powercap, processes=ProcessTable(self.proc.root))
        seen = visible_gpus({"CUDA_VISIBLE_DEVICES": "MIG-b"} if self.is_slice else {})
        self.unseen_reason = seen.reason
        self.meter = open_node_meter(seen.uuids, paths=around, interval_s=None)
        gpus = dict.fromkeys(seen.uuids, 1)
        self.window = self.meter.open_window(trial="t", pid=4242, gpus=gpus, cpu_share=1)

    def work(self) -> None:
        """A second of it."""
        self.clock.now_s += 1
        self.fake["0.energy_mj"] = 1_300_000
        set_energy(self.package, 50_000_000)

    def end(self) -> EnergyReading:
        assert self.meter
        self.meter.tick()
        reading = self.meter.read(self.window)
        self.reason = "; ".join([self.unseen_reason, self.meter.sensors(self.window).reason])
        assert self.meter.close_window(self.window).end == "closed"
        self.meter.device_rows()
        assert describe_devices()[-1]["kind"] == "cpu"
        self.meter.close()
        return reading


@pytest.fixture
def node(fake_nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    fake = FakeNvml(fake_nvml_library, tmp_path / "nvml.txt")
    fake["driver_version"] = "450.1"
    fake.add_gpu(0, "GPU-a", energy_mj=1_000_000, max_mig_devices=7, **HEALTHY)
    fake["9.uuid"], fake["9.mig_parent"], fake["9.mig_slices"] = "MIG-b", 0, 7
    proc = FakeProc(tmp_path / "proc")
    proc.add(4242)
    powercap = tmp_path / "powercap"
    package = add_zone(powercap, "intel-rapl:0", "package-0")
    monkeypatch.setenv("FAKE_NVML_SCRIPT", str(fake.script))
    loaded(fake_nvml_library, monkeypatch)
    return Node(fake, powercap, package, proc, FakeClock())


@pytest.fixture
def short_limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for; the usual ones where nothing hangs, as a busy machine may be slow."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and callspec.params.get("junk", "pipe") != "pipe":
        return
    monkeypatch.setattr("search.energy.counters.driver.CALL_S", SHORT_S)
    for module in ("gpus", "counters.nvml", "counters.amd"):
        monkeypatch.setattr(f"search.energy.{module}.START_S", SHORT_S)


def loaded(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})


@pytest.fixture
def hanging() -> Iterator[Callable[..., int]]:
    """A function of a driver that comes back when the test is over."""
    is_over = threading.Event()
    yield lambda *_: is_over.wait(60) and 0
    is_over.set()


def check_what_is_left(node: Node, name: str, reading: EnergyReading) -> None:
    assert reading.cpu_mj == 50_000
    if name in (*NAMING, *OF_SLICES):
        assert reading.gpu_mj is None
    else:
        assert reading.gpu_mj == 300_000
    if name not in DISPENSABLE:
        assert name.removesuffix("_v2") in node.reason or "NVML" in node.reason


@pytest.mark.parametrize("name", CALLED)
def test_a_library_that_lacks_a_function_leaves_the_rest_measured(
    node: Node, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(library_without(tmp_path, symbol(name)), monkeypatch)
    node.is_slice = name in OF_SLICES
    node.begin()
    node.work()
    check_what_is_left(node, name, node.end())


def test_the_calls_were_found_and_the_fake_driver_has_them_all(fake_nvml_library: Path) -> None:
    assert {"nvmlInit", "nvmlDeviceGetTemperature", *NAMING, *OF_SLICES, *DISPENSABLE} <= set(CALLED)
    fake = ctypes.CDLL(str(fake_nvml_library))
    assert [name for name in CALLED if not hasattr(fake, symbol(name))] == []


@pytest.mark.parametrize("code", [3, 15, 999, 12_345])
@pytest.mark.parametrize("name", CALLED)
def test_a_function_that_refuses_from_the_start_leaves_the_rest_measured(
    node: Node, name: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pynvml._nvmlGetFunctionPointer_cache, symbol(name), lambda *_: code)
    node.is_slice = name in OF_SLICES
    node.begin()
    node.work()
    reading = node.end()
    assert reading.cpu_mj == 50_000
    is_naming = name in (*NAMING, *OF_SLICES, "nvmlDeviceGetHandleByUUID")
    assert reading.gpu_mj == (None if is_naming else 300_000)


@pytest.mark.parametrize("code", [13, 15])
@pytest.mark.parametrize("name", CALLED)
def test_a_function_that_refuses_from_some_tick_on_leaves_the_rest_measured(
    node: Node, name: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.begin()
    monkeypatch.setitem(pynvml._nvmlGetFunctionPointer_cache, symbol(name), lambda *_: code)
    node.work()
    reading = node.end()
    assert reading.cpu_mj == 50_000
    is_counter = name == "nvmlDeviceGetTotalEnergyConsumption"
    assert reading.gpu_mj == (None if is_counter else 300_000)


@pytest.mark.parametrize("name", CALLED)
def test_a_function_that_raises_what_no_driver_should_leaves_the_rest_measured(
    node: Node, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise MemoryError("no room for 4294967295 processes")

    node.begin()
    monkeypatch.setitem(pynvml._nvmlGetFunctionPointer_cache, symbol(name), broken)
    node.work()
    assert node.end().cpu_mj == 50_000


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.usefixtures("short_limits")
def test_a_function_that_hangs_costs_its_limit_once_and_never_the_cpu(
    node: Node, name: str, hanging: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.is_slice = name in OF_SLICES
    monkeypatch.setitem(pynvml._nvmlGetFunctionPointer_cache, symbol(name), hanging)
    started_s = time.monotonic()
    node.begin()
    node.work()
    assert node.end().cpu_mj == 50_000
    assert time.monotonic() - started_s < 20 * SHORT_S


@pytest.mark.usefixtures("short_limits")
def test_a_gpu_that_hangs_at_a_tick_is_unknown_with_the_reason_and_the_other_one_is_read(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.fake.add_gpu(1, "GPU-c", energy_mj=0, **HEALTHY)
    node.begin()
    assert node.meter
    others = {
        uuid: node.meter.open_window(trial=uuid, pid=4242, gpus={uuid: 1}, cpu_share=0.1)
        for uuid in ("GPU-a", "GPU-c")
    }
    real, is_over = pynvml._nvmlGetFunctionPointer("nvmlDeviceGetTotalEnergyConsumption"), threading.Event()

    def first_hangs(handle: ctypes.c_void_p, answer: object) -> int:
        if ctypes.cast(handle, ctypes.c_void_p).value == 1:
            is_over.wait(60)
        result: int = real(handle, answer)
        return result

    monkeypatch.setitem(
        pynvml._nvmlGetFunctionPointer_cache, "nvmlDeviceGetTotalEnergyConsumption", first_hangs
    )
    node.work()
    node.fake["1.energy_mj"] = 7000
    for _ in range(3):
        node.meter.tick()
    assert node.meter.read(others["GPU-a"]).gpu_mj is None
    assert node.meter.read(others["GPU-c"]).gpu_mj == 3500  # two windows of it, alike
    reason = node.meter.sensors(others["GPU-a"]).reason
    assert "NVML of GPU-a has not answered for" in reason
    is_over.set()
    deadline_s = time.monotonic() + 10
    while node.meter.read(node.window).gpu_mj is None and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert (
        node.meter.read(node.window).gpu_mj is not None
    )  # it came back, with the joules of the time between
    node.meter.close()


BAD_BYTES = "\udcff\udcfe\udc80"


@pytest.mark.parametrize(
    ("key", "answer", "gpu_mj"),
    [
        ("0.energy_mj", 2**64 - 1, 0),
        ("0.energy_mj", 0, 0),
        ("0.power_mw", 2**32 - 1, 300_000),
        ("0.gpu_percent", 4_000_000_000, 300_000),
        ("0.temperature_c", 2**32 - 1, 300_000),
        ("0.sm_clock_mhz", 2**32 - 1, 300_000),
        ("0.memory_clock_mhz", 2**32 - 1, 300_000),
        ("0.power_limit_mw", 2**32 - 1, 300_000),
        ("0.processes", "4294967295:99999999999", 300_000),
        ("0.samples", "4294967295:9999999999999999999:4000000000", 300_000),
        ("0.name", BAD_BYTES, 300_000),
        ("0.name", "\x1b[2J", 300_000),
        ("driver_version", BAD_BYTES, 300_000),
    ],
)
@pytest.mark.parametrize("is_from_start", [True, False])
def test_junk_of_a_driver_is_no_joules_and_no_end(
    node: Node, key: str, answer: int | str, gpu_mj: int, is_from_start: bool
) -> None:
    if is_from_start:
        node.fake[key] = answer
    node.begin()
    node.work()
    node.fake[key] = answer
    assert node.meter
    reading = node.end()
    assert reading.cpu_mj == 50_000
    assert reading.gpu_mj == gpu_mj
    sensors, summary = node.meter.sensors(node.window), node.meter.summary(node.window)
    assert (summary.gpu_power_max_w or 0) <= 300
    assert (summary.gpu_temp_mean_c or 51) == 51
    assert sensors.gpu_model in ("NVIDIA H200", "")


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("count", 2**32 - 1),
        ("0.uuid", BAD_BYTES),
        ("0.uuid", ""),
        ("9.mig_slices", 0),
        ("0.max_mig_devices", 0),
    ],
)
def test_a_gpu_that_cannot_be_named_or_counted_is_left_out_with_the_reason(
    node: Node, key: str, answer: int | str
) -> None:
    node.fake[key] = answer
    node.is_slice = "mig" in key
    node.begin()
    node.work()
    assert node.end() == EnergyReading(cpu_mj=50_000)
    assert "gpu: " in node.reason


def test_a_lost_gpu_keeps_its_number_and_the_one_after_it_is_measured(node: Node) -> None:
    node.fake.add_gpu(1, "GPU-c", **HEALTHY)
    node.fake["0.uuid"] = "!15"
    assert visible_gpus({}).uuids == ("GPU-c",)
    assert "GPU 0 does not say which one it is" in visible_gpus({}).reason
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}).uuids == ("GPU-c",)
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,1"}).uuids == ()


def test_gpus_named_in_full_need_no_list(node: Node) -> None:
    uuid = "GPU-01234567-89ab-cdef-0123-456789abcdef"
    node.fake["count"] = "!15"
    seen = visible_gpus({"CUDA_VISIBLE_DEVICES": uuid})
    assert seen.uuids == (uuid,)
    assert "cannot list the GPUs" in seen.reason


@pytest.mark.parametrize("versions", [["_v3"], ["_v3", "_v2"]])
def test_the_process_list_is_the_newest_that_the_library_has(
    node: Node, versions: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "nvmlDeviceGetComputeRunningProcesses"
    loaded(library_without(tmp_path, *(f"{name}{version}" for version in versions)), monkeypatch)
    node.begin()
    node.work()
    assert node.end().gpu_mj == 300_000
    assert ("no process list: the driver's NVML has no" in node.reason) == (versions == ["_v3", "_v2"])


FILES = ("energy_uj", "max_energy_range_uj", "name", "constraint_0_max_power_uw")
JUNK = (b"", b"abc", b"-5", b"nan", b"1e9", b"\xff\xfe", b"9" * 40, b"0", None, "pipe")


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("is_from_start", [True, False])
@pytest.mark.usefixtures("short_limits")
def test_junk_of_rapl_ends_nothing_and_costs_the_gpu_nothing(
    node: Node, file: str, junk: bytes | str | None, is_from_start: bool
) -> None:
    if not is_from_start:
        node.begin()
    node.work()
    spoil(node.package / file, junk)
    if is_from_start:
        node.fake["0.energy_mj"] = 1_000_000
        node.begin()
        node.fake["0.energy_mj"] = 1_300_000
    reading = node.end()
    assert reading.gpu_mj == 300_000
    is_right = file == "constraint_0_max_power_uw" or (not is_from_start and file != "energy_uj")
    is_hanging = junk == "pipe" and is_from_start  # one file that hangs takes the others with it
    assert reading.cpu_mj in ((0, 50_000) if is_right and not is_hanging else (0, None))
    assert reading.cpu_mj is not None or "cpu: " in node.reason
    free(node.package / file)


@pytest.mark.parametrize("junk", JUNK)
def test_a_dram_zone_that_cannot_be_read_costs_no_package(node: Node, junk: bytes | str | None) -> None:
    dram = add_zone(node.powercap, "intel-rapl:0:0", "dram")
    if junk in (b"0", "pipe"):
        return
    spoil(dram / "max_energy_range_uj", junk if junk != b"9" * 40 else b"")
    node.begin()
    node.work()
    assert node.end() == EnergyReading(
        gpu_mj=300_000,
        cpu_mj=50_000,
        gpu_active_mj=300_000,
        gpu_context_mj=0,
        gpu_idle_share_mj=0,
        gpu_uncertainty_mj=60_000,
    )
    assert f"dram: {dram}" in node.reason


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("file", ["4242/stat", "stat", "4242/status", "self/ns/pid"])
@pytest.mark.parametrize("is_from_start", [True, False])
@pytest.mark.usefixtures("short_limits")
def test_junk_of_proc_ends_no_window_and_costs_no_joule(
    node: Node, file: str, junk: bytes | str | None, is_from_start: bool
) -> None:
    if (file, junk) == ("4242/stat", None) or (file, junk) == ("4242/stat", b""):
        return  # so it looks when the process is gone
    if not is_from_start:
        node.begin()
    spoil(node.proc.root / file, junk)
    if is_from_start:
        node.begin()
    node.work()
    reading = node.end()
    assert (reading.gpu_mj, reading.cpu_mj) == (300_000, 50_000)
    free(node.proc.root / file)


def spoil(file: Path, junk: bytes | str | None) -> None:
    """Put junk in a file's place, or nothing, or a pipe in which nobody writes: reading it hangs."""
    file.unlink()
    if junk == "pipe":
        os.mkfifo(file)
    elif isinstance(junk, bytes):
        file.write_bytes(junk)


def free(file: Path) -> None:
    """Let who reads a pipe come back."""
    if file.is_fifo():
        try:
            os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return  # nobody reads it


def test_a_call_that_hangs_is_asked_for_once_and_refused_until_it_is_back() -> None:
    calls, is_over, num_calls = CallThread("the sensor"), threading.Event(), []
    with pytest.raises(NoAnswer, match=r"the sensor has not answered for 0\.05 s"):
        calls.ask(lambda: num_calls.append(1) or is_over.wait(60), limit_s=0.05)
    started_s = time.monotonic()
    for _ in range(100):
        with pytest.raises(NoAnswer, match="has not answered for"):
            calls.ask(lambda: num_calls.append(1), limit_s=5)
    assert time.monotonic() - started_s < 4
    is_over.set()
    deadline_s = time.monotonic() + 10
    answer = None
    while answer is None and time.monotonic() < deadline_s:
        try:
            answer = calls.ask(lambda: "back", limit_s=5)
        except SensorError:
            time.sleep(0.01)
    assert (answer, num_calls) == ("back", [1])


def test_what_a_call_raises_reaches_the_caller_and_the_thread_continues() -> None:
    calls = CallThread("the sensor")
    with pytest.raises(ZeroDivisionError):
        calls.ask(lambda: 1 // 0)
    assert calls.ask(lambda: calls.ask(lambda: 7)) == 7  # a call within a call is made at once
