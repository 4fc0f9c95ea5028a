"""The cost of sampling: CPU time of a node meter with four windows on two GPUs and two CPU packages.

Uses the real nvidia-ml-py on the tests' fake driver (tests/support/fake_nvml, built by gcc), a powercap tree
in a folder, and the processes of this machine. The fake driver reads a text file at each call, which costs
about as much as a call into a kernel driver; a real process list takes longer: 4.5 ms, once every 5 s.

    python -m benchmarks.energy_sampler [--seconds 60]
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "support" / "fake_nvml" / "fake_nvml.c"


def main() -> None:
    """Print the fraction of one core that sampling took."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--seconds", type=float, default=60.0)
    options = flags.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        children = [
            subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(4)
        ]
        try:
            _fake_node(Path(folder), [child.pid for child in children])
            _measure(Path(folder), [child.pid for child in children], options.seconds)
        finally:
            for child in children:
                child.communicate(b"\n")


def _fake_node(folder: Path, pids: list[int]) -> None:
    """Build the driver, two busy GPUs and two packages with DRAM."""
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE], check=True)
    busy = " ".join(f"{pid}:80" for pid in pids)
    held = " ".join(f"{pid}:2048" for pid in pids)
    since_us = time.time_ns() // 1000
    lines = ["count 2", "driver_version 570.0"]
    for gpu in range(2):
        answers = {
            "uuid": f"GPU-{gpu}",
            "name": "fake",
            "profile": f"{since_us} 50 400000:3000 200000:1000",
            "busy": busy,
            "processes": held,
            "gpu_percent": 90,
            "temperature_c": 60,
        }
        lines += [f"{gpu}.{key} {answer}" for key, answer in answers.items()]
    (folder / "nvml.txt").write_text("\n".join(lines) + "\n")
    os.environ["FAKE_NVML_SCRIPT"] = str(folder / "nvml.txt")
    for package in range(2):
        for zone, name in (
            (f"intel-rapl:{package}", f"package-{package}"),
            (f"intel-rapl:{package}:0", "dram"),
        ):
            files = {"name": name, "energy_uj": 0, "max_energy_range_uj": 262_143_328_850}
            (folder / zone).mkdir()
            for file, content in files.items():
                (folder / zone / file).write_text(f"{content}\n")


def _measure(folder: Path, pids: list[int], seconds: float) -> None:
    import pynvml

    from search.energy.node import NodePaths, open_node_meter

    pynvml.nvmlLib = ctypes.CDLL(str(folder / "libnvidia-ml.so.1"))
    meter = open_node_meter(["GPU-0", "GPU-1"], paths=NodePaths(powercap=folder))
    windows = [
        meter.open_window(trial=f"t{index}", pid=pid, gpus={f"GPU-{index % 2}": 0.5}, cpu_share=0.25)
        for index, pid in enumerate(pids)
    ]
    time.sleep(6)  # past the check of the counters against power, which samples at 10 Hz for 5 s
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    time.sleep(seconds)
    cpu_s, wall_s = time.process_time() - start_cpu_s, time.monotonic() - start_s
    rows = meter.device_rows()
    summary = [meter.close_window(window) for window in windows]
    meter.close()
    num_processes = sum(entry.name.isdecimal() for entry in Path("/proc").iterdir())
    print(
        f"{cpu_s:.3f} CPU-seconds in {wall_s:.1f} s: {cpu_s / wall_s:.2%} of a core "
        f"(2 GPUs, 2 packages with DRAM, 4 windows, {num_processes} processes on the node)"
    )
    print(
        f"residuals: {[row['residual_j'] for row in rows]} J; "
        f"methods: {[one.sensors.gpu_attribution for one in summary]}"
    )


if __name__ == "__main__":
    main()
