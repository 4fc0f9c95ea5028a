"""The meter against a real GPU: the sums of the fake NVML cannot show that joules are joules."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import pytest
import torch

from search.energy.gpus import visible_gpus
from search.energy.process_meter import open_meter
from search.energy.reading import EnergyReading

pynvml = pytest.importorskip("pynvml")
pytestmark = pytest.mark.gpu

LOAD_S = 3.0


@pytest.fixture
def gpu_uuid() -> str:
    gpus = visible_gpus(os.environ)
    assert gpus.uuids, gpus.reason
    return gpus.uuids[0]


def matmul_load() -> Callable[[], None]:
    """A step of about ten milliseconds on a data-centre GPU that ends when its work is done."""
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def step() -> None:
        torch.mm(matrix, matrix)
        torch.cuda.synchronize()

    step()
    return step


def used(uuid: str, step: Callable[[], None], *, during_s: float = LOAD_S) -> EnergyReading:
    meter = open_meter(gpu_uuids=[uuid])
    before, start_s = meter.read(), time.monotonic()
    while time.monotonic() - start_s < during_s:
        step()
    after = meter.read()
    meter.close()
    return after - before


def test_the_counter_moves_under_load_more_than_without(gpu_uuid: str) -> None:
    loaded = used(gpu_uuid, matmul_load())
    time.sleep(2)  # clocks and the driver's own mean come down
    unloaded = used(gpu_uuid, lambda: time.sleep(0.05))
    assert loaded.gpu_mj
    assert unloaded.gpu_mj
    assert loaded.gpu_mj > 1.3 * unloaded.gpu_mj


def test_the_counter_agrees_with_the_mean_power(gpu_uuid: str) -> None:
    step, powers_mw = matmul_load(), []
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid)

    def sampled_step() -> None:
        step()
        powers_mw.append(pynvml.nvmlDeviceGetPowerUsage(handle))

    used(gpu_uuid, step, during_s=2)  # the driver's power is a 1 s mean: let it fill with load
    start_s = time.monotonic()
    gpu_mj = used(gpu_uuid, sampled_step).gpu_mj
    elapsed_s = time.monotonic() - start_s
    pynvml.nvmlShutdown()
    assert gpu_mj
    assert 0.8 <= gpu_mj / (statistics.mean(powers_mw) * elapsed_s) <= 1.25


def test_an_exclusive_gpu_is_of_quality_a_and_half_of_it_reads_half(gpu_uuid: str) -> None:
    whole, half = open_meter(gpu_uuids=[gpu_uuid]), open_meter(gpu_uuids=[gpu_uuid], gpu_share=0.5)
    step, start_s = matmul_load(), time.monotonic()
    while time.monotonic() - start_s < LOAD_S:
        step()
    whole_mj, half_mj = whole.read().gpu_mj, half.read().gpu_mj
    assert whole_mj
    assert half_mj
    assert half_mj / whole_mj == pytest.approx(0.5, rel=0.1)  # opened and read some milliseconds apart
    assert (whole.sensors.gpu_attribution, half.sensors.gpu_attribution) == ("exclusive", "reserved")
    whole.close()
    half.close()
