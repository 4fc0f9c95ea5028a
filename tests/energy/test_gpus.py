from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search.energy.gpus import visible_gpu_uuids, visible_gpus

if TYPE_CHECKING:  # pytest itself imports the plugin, to rewrite its asserts
    from tests.support.fake_nvml_library import FakeNvml

pytest_plugins = ["tests.support.fake_nvml_library"]


@pytest.fixture
def two_equal_gpus(fake_nvml: FakeNvml) -> FakeNvml:
    fake_nvml.add_gpu(0, "GPU-aa11", name="NVIDIA H200")
    fake_nvml.add_gpu(1, "GPU-ab22", name="NVIDIA H200")
    return fake_nvml


@pytest.mark.usefixtures("two_equal_gpus")
@pytest.mark.parametrize(
    ("wanted", "uuids"),
    [
        ("0", ["GPU-aa11"]),
        ("1,0", ["GPU-ab22", "GPU-aa11"]),
        (" 1 , 1", ["GPU-ab22"]),
        ("GPU-ab22", ["GPU-ab22"]),
        ("GPU-aa", ["GPU-aa11"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_becomes_uuids(wanted: str, uuids: list[str]) -> None:
    gpus = visible_gpus({"CUDA_VISIBLE_DEVICES": wanted})
    assert (list(gpus.uuids), gpus.reason) == (uuids, "")


@pytest.mark.usefixtures("two_equal_gpus")
def test_without_the_variable_all_gpus_are_visible() -> None:
    assert visible_gpu_uuids({}) == ["GPU-aa11", "GPU-ab22"]


@pytest.mark.usefixtures("two_equal_gpus")
@pytest.mark.parametrize("wrong", ["2", "GPU-a", "GPU-zz", "-1", "two"])
def test_the_list_ends_as_in_cuda_at_the_first_entry_that_names_nothing(wrong: str) -> None:
    gpus = visible_gpus({"CUDA_VISIBLE_DEVICES": f"1,{wrong},0"})
    assert gpus.uuids == ("GPU-ab22",)
    assert gpus.reason.startswith(f"gpu: CUDA_VISIBLE_DEVICES names '{wrong}', which is none of the 2 GPUs")


def test_an_index_among_different_models_is_doubted_unless_cuda_counts_by_pci(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(0, "GPU-a", name="Tesla T4")
    fake_nvml.add_gpu(1, "GPU-b", name="NVIDIA H200")
    doubted = visible_gpus({"CUDA_VISIBLE_DEVICES": "0"})
    assert doubted.uuids == ("GPU-a",)
    assert "(NVIDIA H200, Tesla T4)" in doubted.reason
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in doubted.reason
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}).reason == ""
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-b"}).reason == ""
    assert visible_gpus({}).reason == ""


@pytest.mark.usefixtures("two_equal_gpus")
def test_a_mig_id_is_handed_on_for_the_meter_to_find_its_parent() -> None:
    assert visible_gpu_uuids({"CUDA_VISIBLE_DEVICES": "MIG-5f"}) == ["MIG-5f"]


def test_a_machine_without_gpus_shows_none_and_is_well(fake_nvml: FakeNvml) -> None:
    assert (visible_gpus({}).uuids, visible_gpus({}).reason) == ((), "")


def test_a_missing_driver_shows_none_and_says_why(fake_nvml: FakeNvml) -> None:
    fake_nvml["init"] = "!9"
    gpus = visible_gpus({"CUDA_VISIBLE_DEVICES": "0"})
    assert (gpus.uuids, gpus.reason) == ((), "gpu: the NVIDIA driver is not loaded: modprobe nvidia")


def test_no_visible_gpu_needs_no_driver(fake_nvml: FakeNvml) -> None:
    fake_nvml["init"] = "!9"
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}).reason == ""
