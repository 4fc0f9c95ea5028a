"""GPUs visible to a test's processes through their environment: the real nvidia-ml-py on the fake NVML."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.fake_nvml_library import FakeNvml

# Preflight asks torch for the GPU, but a fake one exists only in NVML.
UNSEEN_BY_TORCH = "--skip-preflight"


def made_gpu(
    folder: Path,
    library: Path,
    name: str = "one",
    *,
    profile: str = "100000:500 300000:500",
    driver: str = "999.1",
    others: Sequence[str] = (),
) -> dict[str, str]:
    """Environment variables of a process with one GPU: GPU-one, named "Fake one".

    Args:
        profile: Its power in turns, as milliwatts:milliseconds; by default 100 W and 300 W.
        others: Names of further GPUs, each drawing the same.
    """
    fake = FakeNvml(library, folder / f"nvml-{name}.txt")
    fake["driver_version"] = driver
    for index, each in enumerate((name, *others)):
        fake.add_gpu(
            index,
            f"GPU-{each}",
            name=f"Fake {each}",
            power_limit_mw=400_000,
            temperature_c=61,
            profile=f"{int(time.time() * 1e6)} 20 {profile}",
        )
    return {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_SCRIPT": str(fake.script)}
