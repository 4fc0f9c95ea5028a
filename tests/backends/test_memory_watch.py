"""What a trial's memory is measured by: a GPU's driver, or what /proc says is a process's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from search.backends.errors import SessionError
from search.backends.ray import packing
from search.backends.ray.memory_watch import MemoryWatch, Processes, own_mib, watching
from search.backends.room import NodeMemory
from search.energy.counters.counter import SensorError
from search.energy.gpu_memory import GpuMemory
from search.preflight.machine import memory_gib

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]


def process(root: Path, pid: int, *, anon_kib: int, file_kib: int = 400_000, shmem_kib: int = 0) -> None:
    folder = root / str(pid)
    folder.mkdir()
    lines = ["Name:\tpython", "VmHWM:\t  999999 kB", f"RssAnon:\t{anon_kib:8} kB"]
    lines += [f"RssFile:\t{file_kib:8} kB", f"RssShmem:\t{shmem_kib:8} kB"]
    (folder / "status").write_text("\n".join(lines))


def test_what_is_mapped_from_files_is_not_the_trials(tmp_path: Path) -> None:
    process(tmp_path, 7, anon_kib=2048)
    process(tmp_path, 8, anon_kib=1024, shmem_kib=512)
    assert own_mib([7], root=tmp_path) == 2.0
    assert own_mib([7, 8, 9], root=tmp_path) == 3.5  # 9 has ended
    assert own_mib([9], root=tmp_path) is None


def test_the_most_since_the_last_row_and_since_the_start() -> None:
    now = [100.0]
    watch = MemoryWatch(lambda: now[0], every_s=3600)
    assert watch.take_mib() == 100
    now[0] = 700
    assert watch.has_exceeded(500)
    now[0] = 300
    assert watch.take_mib() == 700
    assert watch.take_mib() == 300
    assert (watch.has_exceeded(699), watch.has_exceeded(700)) == (True, False)
    watch.close()


def test_nothing_known_is_nothing_measured() -> None:
    watch = MemoryWatch(lambda: None, every_s=3600)
    assert (watch.take_mib(), watch.has_exceeded(0)) == (None, False)
    watch.close()


def test_processes_are_listed_once_a_second() -> None:
    now = [0.0]
    processes = Processes(os.getpid(), clock=lambda: now[0])
    with subprocess.Popen(["sleep", "60"]) as child:
        assert processes.pids() == [os.getpid()]
        now[0] = 1.0
        assert child.pid in processes.pids()
        child.kill()


def test_a_worker_measures_what_it_holds_itself() -> None:
    watch, ends = watching(has_gpu=False)
    before = watch.take_mib()
    held = bytearray(b"x") * 64 * 2**20
    after = watch.take_mib()
    ends.close()
    assert before
    assert after
    assert after - before == pytest.approx(64, abs=8)
    assert len(held) == 64 * 2**20


def test_a_gpus_memory_is_what_its_driver_says_of_a_workers_processes(
    fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.add_gpu(
        0, "GPU-a", memory_mib=80_000, memory_used_mib=3000, processes=f"{os.getpid()}:2500 1:500"
    )
    with GpuMemory("GPU-a") as gpu:
        assert gpu.total_and_used_mib() == (80_000, 3000)
        assert gpu.held_mib() == {os.getpid(): 2500, 1: 500}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    watch, ends = watching(has_gpu=True)
    assert watch.take_mib() == 2500
    fake_nvml["0.processes"] = "1:500"  # a container whose numbers are others than the driver's
    assert watch.take_mib() is None
    ends.close()


def test_without_a_driver_a_gpus_memory_is_unknown_and_packing_refused(
    fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.add_gpu(0, "GPU-a", memory_mib="!3")
    with GpuMemory("GPU-a") as gpu, pytest.raises(SensorError):
        gpu.total_and_used_mib()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(SessionError, match=r"^search\.resources\.pack: memory needs NVML, which says how"):
        packing._node_memory(has_gpus=True, stated_gib=None)
    with pytest.raises(SensorError):
        GpuMemory("GPU-of-another-machine")


def test_trials_may_use_ninety_percent_less_what_others_hold(
    fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.add_gpu(0, "GPU-a", memory_mib=10_000)
    fake_nvml.add_gpu(1, "GPU-b", memory_mib=10_000, memory_used_mib=2500)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert packing._node_memory(has_gpus=True, stated_gib=None).devices_mib == [9000, 6500]
    assert packing._node_memory(has_gpus=True, stated_gib=8).devices_mib == [pytest.approx(7372.8), 6500]


def test_a_nodes_own_memory_is_what_is_free_of_ninety_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "memory_gib", lambda: 20.0)
    monkeypatch.setattr(packing, "free_memory_gib", lambda: 12.0)
    assert packing._node_memory(has_gpus=False, stated_gib=None).devices_mib == [pytest.approx(10 * 1024)]
    assert packing._node_memory(has_gpus=False, stated_gib=2).devices_mib == [pytest.approx(1.8 * 1024)]


def test_what_ray_hands_out_of_a_node_is_a_limit_as_well() -> None:
    own = NodeMemory(num_cpus=0, devices_mib=[8000.0])
    found = packing._within_reserved(own, {"CPU": 4.0, "memory": 6000 * 2**20})
    assert (found.num_cpus, found.devices_mib) == (4, [6000])
    gpus = NodeMemory(num_cpus=0, devices_mib=[8000.0, 8000.0], is_of_gpus=True)
    assert packing._within_reserved(gpus, {"CPU": 4.0, "GPU": 1.0}).devices_mib == [8000]
    assert packing._within_reserved(gpus, {"CPU": 4.0}).devices_mib == []


def test_a_machines_memory_is_its_containers_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       8388608 kB\nMemFree:   1 kB\nMemAvailable:    4194304 kB\n")
    assert memory_gib(meminfo=meminfo, cgroup=tmp_path) == 8.0
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_gib(meminfo=meminfo, cgroup=tmp_path) == 8.0
    (tmp_path / "memory.max").write_text(f"{3 * 2**30}\n")
    assert memory_gib(meminfo=meminfo, cgroup=tmp_path) == 3.0
    assert memory_gib(meminfo=tmp_path / "no", cgroup=tmp_path / "no") is None


@pytest.mark.gpu
def test_a_real_gpus_driver_says_what_a_worker_holds_of_it() -> None:
    torch = pytest.importorskip("torch")
    watch, ends = watching(has_gpu=True)
    held = torch.zeros(512 * 2**18, device="cuda")  # 512 MiB
    torch.cuda.synchronize()
    found = watch.take_mib()
    ends.close()
    assert found is None or 512 <= found <= 2048  # None in a container that hides processes from the driver
    assert held.shape
