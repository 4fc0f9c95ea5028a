"""The meter of a node over the real nvidia-ml-py on a scripted driver: windows, ends, rows."""

from __future__ import annotations

import itertools
import json
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from search.energy.counters.nvml import NvmlTelemetry
from search.energy.meter import NodeMeter
from search.energy.node import CpuWatts, NodePaths, open_node_meter
from search.energy.processes import ProcessTable
from search.energy.reading import EnergySummary
from tests.support.fake_clock import FakeClock
from tests.support.fake_powercap import add_zone, set_energy
from tests.support.fake_proc import FakeProc

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]

START_US = 1_700_000_000_000_000
PIDS = (100, 200, 300, 400)


class Node:
    """A node of one package and two GPUs, and what happens on it."""

    def __init__(self, root: Path, fake_nvml: FakeNvml) -> None:
        self.nvml, self.clock = fake_nvml, FakeClock(0.0)
        self.proc = FakeProc(root / "proc")
        for pid in PIDS:
            self.proc.add(pid)
        self.package = add_zone(root / "powercap", "intel-rapl:0", "package-0")
        self.energy_mj = {0: 1_000_000, 1: 5_000_000}
        fake_nvml["driver_version"] = "570.124.06"
        (root / "cpuinfo").write_text("model name\t: AMD EPYC 9654\n")
        self.governor = root / "cpus" / "cpu0" / "cpufreq" / "scaling_governor"
        self.governor.parent.mkdir(parents=True)
        self.governor.write_text("powersave\n")
        answers = {"name": "NVIDIA H100", "power_limit_mw": 700_000, "samples": "!6"}
        for index in self.energy_mj:
            fake_nvml.add_gpu(index, f"GPU-{index}", energy_mj=self.energy_mj[index], **answers)
        self.meter = self.open(root)

    def open(self, root: Path, watts: CpuWatts | None = None, powercap: str = "powercap") -> NodeMeter:
        processes = ProcessTable(root / "proc")
        around = NodePaths(
            clock=self.clock,
            processes=processes,
            powercap=root / powercap,
            cpuinfo=root / "cpuinfo",
            cpus=root / "cpus",
        )
        return open_node_meter(["GPU-0", "GPU-1"], cpu_power=watts, paths=around, interval_s=None)

    def window(
        self, index: int, share: float = 0.25, *, gpu: str = "GPU-0", timeout_s: float | None = None
    ) -> str:
        return self.meter.open_window(
            trial=f"t{index}",
            pid=PIDS[index],
            gpus={gpu: share},
            cpu_share=0.25,
            heartbeat_timeout_s=timeout_s,
        )

    def now_us(self) -> int:
        return START_US + round(self.clock.now_s * 1e6)

    def after(self, seconds: int, moved_mj: int, *use: int, gpu: int = 0) -> None:
        """Seconds at a steady power; eight driver samples in each name the trials in turn."""
        for _ in range(seconds):
            first_us = self.now_us()
            self.clock.now_s += 1
            self.energy_mj[gpu] += moved_mj
            self.nvml[f"{gpu}.energy_mj"] = self.energy_mj[gpu]
            used = [(pid, percent) for pid, percent in zip(PIDS, use, strict=False) if percent]
            samples = [
                f"{pid}:{first_us + (turn + 1) * 125_000}:{percent}"
                for turn, (pid, percent) in zip(range(8), itertools.cycle(used), strict=False)
            ]
            self.nvml[f"{gpu}.samples"] = " ".join(samples) or "!6"
            self.nvml[f"{gpu}.processes"] = " ".join(f"{pid}:900" for pid in PIDS)
            self.meter.tick()


@pytest.fixture
def node(tmp_path: Path, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    made: list[Node] = []
    defaults = {"is_mig": False, "now_us": lambda: made[0].now_us() if made else START_US}
    monkeypatch.setattr(NvmlTelemetry.__init__, "__kwdefaults__", defaults)  # the driver stamps wall time
    made.append(Node(tmp_path, fake_nvml))
    yield made[0]
    made[0].meter.close()


def gpu_row(meter: NodeMeter, uuid: str = "GPU-0") -> dict[str, object]:
    [row] = [row for row in meter.device_rows() if row["device"] == uuid]
    return row


def test_four_quarters_of_a_gpu_add_up_to_it_to_the_millijoule(node: Node) -> None:
    windows = [node.window(index) for index in range(4)]
    node.after(7, 333_331, 100, 60, 30, 10)
    parts = [node.meter.close_window(window).reading.gpu_mj or 0 for window in windows]
    assert sum(parts) == 7 * 333_331
    assert [round(part / sum(parts), 2) for part in parts] == [0.5, 0.3, 0.15, 0.05]
    row = gpu_row(node.meter)
    assert row["energy_trials_j"] == row["energy_device_j"] == 2333.317
    assert (row["counter_start_mj"], row["counter_end_mj"]) == (1_000_000, 3_333_317)
    assert (row["energy_external_j"], row["energy_idle_j"], row["residual_j"]) == (0, 0, 0)


def test_two_gpus_have_ledgers_of_their_own(node: Node) -> None:
    one, other = node.window(0), node.window(1, 1.0, gpu="GPU-1")
    node.after(5, 100, 50)
    node.after(5, 7, gpu=1)
    assert (node.meter.read(one).gpu_mj, node.meter.read(other).gpu_mj) == (500, 35)
    assert node.meter.sensors(other).gpu_attribution == "exclusive"
    assert node.meter.sensors(one).gpu_model == "NVIDIA H100"


def test_idle_levels_are_learnt_and_split_off(node: Node) -> None:
    node.nvml["0.processes"] = "!0"
    for _ in range(15):  # nobody there: 70 W
        node.clock.now_s += 1
        node.energy_mj[0] += 70_000
        node.nvml["0.energy_mj"], node.nvml["0.samples"] = node.energy_mj[0], "!6"
        node.meter.tick()
    window = node.window(0, 0.5)
    node.after(10, 110_000)  # a context that waits
    row = gpu_row(node.meter)
    assert (row["idle_power_w"], row["context_power_w"]) == (70.0, 110.0)
    before = node.meter.read(window)
    node.after(5, 300_000, 100)
    spent = node.meter.read(window) - before
    assert (spent.gpu_active_mj, spent.gpu_context_mj, spent.gpu_idle_share_mj) == (950_000, 200_000, 175_000)
    assert spent.gpu_mj == 1_325_000


def test_a_killed_process_ends_its_window_and_its_joules_stay_readable(node: Node) -> None:
    killed, other = node.window(0), node.window(1)
    node.after(5, 1000, 50, 50)
    node.proc.remove(PIDS[0])
    node.after(5, 1000, 0, 50)
    summary = node.meter.summary(killed)
    assert (summary.end, summary.reading.gpu_mj, summary.seconds) == ("pid_died", 2500, 6.0)
    assert node.meter.close_window(killed) == node.meter.summary(killed) == summary
    assert node.meter.read(other).gpu_mj == 7500


def test_another_process_with_the_same_pid_is_not_the_trial(node: Node) -> None:
    window = node.window(0)
    node.proc.add(PIDS[0], start_ticks=999)
    node.after(1, 1000)
    assert node.meter.summary(window).end == "pid_died"


def test_a_lost_heartbeat_ends_a_window_and_a_kept_one_does_not(node: Node) -> None:
    silent, kept = node.window(0, timeout_s=10), node.window(1, timeout_s=10)
    for _ in range(3):
        node.after(5, 1000, 50, 50)
        node.meter.heartbeat(kept)
    assert (node.meter.summary(silent).end, node.meter.summary(kept).end) == ("heartbeat_lost", "")
    node.meter.heartbeat(silent, gpu_memory_mib=800)
    assert node.meter.summary(silent).end == "heartbeat_lost"


def test_a_warm_worker_has_one_window_after_another(node: Node) -> None:
    first = node.window(0, 1.0)
    node.after(3, 1000, 50)
    node.meter.close_window(first)
    node.after(2, 10)
    second = node.window(0, 1.0)
    node.after(3, 2000, 50)
    assert (node.meter.read(first).gpu_mj, node.meter.read(second).gpu_mj) == (3000, 6000)
    assert gpu_row(node.meter)["energy_idle_j"] == 0.02


def test_a_reset_goes_to_unaccounted_and_the_reason_says_so(node: Node) -> None:
    window = node.window(0, 1.0)
    node.after(1, 1000, 50)
    node.after(1, -1_000_900, 50)
    node.after(1, 500, 50)
    assert node.meter.read(window).gpu_mj == 1500
    row = gpu_row(node.meter)
    assert (row["energy_unaccounted_j"], row["residual_j"], row["counter_end_mj"]) == (-1000.9, 0, 600)
    assert "1 jump of the counter left out" in node.meter.sensors(window).reason


def test_the_summary_of_a_window_has_all_that_a_row_shows(node: Node) -> None:
    shown = {"temperature_c": 60, "gpu_percent": 50, "sm_clock_mhz": 1980, "memory_clock_mhz": 2619}
    for key, value in shown.items():
        node.nvml[f"0.{key}"] = value
    window = node.window(0, 1.0)
    node.clock.now_s += 1
    set_energy(node.package, 40_000_000)
    node.after(9, 300_000, 100)
    summary = node.meter.close_window(window)
    reading = summary.reading
    assert (reading.total_mj, reading.measured_mj, reading.scope) == (2_740_000, 2_740_000, "gpu+cpu")
    assert summary.to_dict() == {
        "window": window,
        "end": "closed",
        "seconds": 10.0,
        "energy": {
            "gpu_mj": 2_700_000,
            "cpu_mj": 40_000,
            "gpu_active_mj": 2_700_000,  # context and idle were never distinguished from work: unknown
            "gpu_uncertainty_mj": 60_000,  # 300 W for 0.1 s at either end
        },
        "start_s": 0.0,
        "start_energy": summary.start.to_dict(),
        "sensors": {
            "gpu_sensor": "nvml_counter",
            "gpu_attribution": "exclusive",
            "gpu_model": "NVIDIA H100",
            "gpu_driver_version": "570.124.06",
            "cpu_sensor": "rapl_powercap",
            "cpu_attribution": "equal",
            "cpu_model": "AMD EPYC 9654",
            "cpu_governor": "powersave",
            "scope": "gpu+cpu",
            "quality": "D",
            "reason": summary.sensors.reason,
        },
        "statistics": {
            "exclusive_fraction": 1.0,
            "coverage_fraction": 1.0,
            "gpu_power_mean_w": 270.0,
            "gpu_power_limit_w": 700.0,
            "gpu_util_mean": 0.5,
            "gpu_temp_mean_c": 60.0,
            "gpu_sm_clock_mean_mhz": 1980.0,
            "gpu_memory_clock_mean_mhz": 2619.0,
        },
    }
    again = EnergySummary.from_dict({**json.loads(json.dumps(summary.to_dict())), "trial": summary.trial})
    assert again == summary
    assert pickle.loads(pickle.dumps(summary)) == summary  # it travels between an actor and a trial


def test_a_search_may_ask_who_should_work_alone(node: Node) -> None:
    windows = [node.window(index) for index in range(2)]
    node.after(2, 1000, 50, 50)
    assert node.meter.wanting_slots() == {"GPU-0": windows}
    node.meter.set_exclusive_slot(windows[1], is_on=True)
    node.after(4, 100_000, 0, 100)
    node.meter.set_exclusive_slot(windows[1], is_on=False)
    assert node.meter.wanting_slots() == {"GPU-0": [windows[0]]}


def test_the_order_in_which_windows_open_does_not_matter(node: Node) -> None:
    forward = [node.window(0), node.window(1)]
    node.after(5, 1001, 30, 90)
    parts = [node.meter.close_window(window).reading.gpu_mj for window in forward]
    backward = [node.window(1), node.window(0)]
    node.after(5, 1001, 30, 90)
    assert [node.meter.close_window(window).reading.gpu_mj for window in reversed(backward)] == parts


def test_user_watts_are_an_estimate_in_a_column_of_its_own(node: Node, tmp_path: Path) -> None:
    node.meter.close()
    node.meter = node.open(tmp_path, CpuWatts(idle_w=40, max_w=200), powercap="absent")
    window = node.window(0, 1.0)
    node.after(10, 1000, 50)
    reading, sensors = node.meter.read(window), node.meter.sensors(window)
    assert (reading.cpu_mj, reading.estimated_mj) == (None, 400_000)  # 40 W: no core is busy
    assert (sensors.cpu_sensor, sensors.scope, sensors.quality) == (
        "estimated_user_model",
        "gpu+estimated",
        "E",
    )
    assert "cpu: no RAPL package" in sensors.reason


def test_an_unknown_gpu_is_an_unknown_part_and_a_reason(node: Node) -> None:
    window = node.window(0, gpu="GPU-x")
    node.after(1, 1000)
    assert node.meter.read(window).gpu_mj is None
    assert node.meter.sensors(window).reason.startswith("gpu: GPU-x: NVML answers Not Found")
    assert node.meter.add_gpu("GPU-y").startswith("GPU-y: NVML answers Not Found")


def test_an_unknown_window_and_a_share_that_is_none_are_refused(node: Node) -> None:
    with pytest.raises(KeyError, match="no window 'x' was opened at this meter"):
        node.meter.read("x")
    with pytest.raises(ValueError, match=r"share of GPU-0 must be in \(0, 1\], got 1.5"):
        node.window(0, 1.5)


def test_windows_from_many_threads_lose_nothing(node: Node) -> None:
    def work(index: int) -> None:
        for _ in range(20):
            window = node.window(index)
            node.meter.read(window)
            node.meter.close_window(window)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    node.after(20, 1000, 25, 25, 25, 25)
    for thread in threads:
        thread.join()
    row = gpu_row(node.meter)
    assert (row["energy_device_j"], row["residual_j"]) == (20.0, 0)
