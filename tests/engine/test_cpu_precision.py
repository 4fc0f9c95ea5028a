"""What the precision "auto" means on a CPU: looked up, measured once per machine, and reported."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from trainables.core.contract import TrainingContext
from trainables.engine import cpu_precision
from trainables.engine.cpu_precision import choose_precision

CPU = "processor : 0\nmodel name : Some CPU @ 2 GHz\nflags : fpu {}\n\nprocessor : 1\n"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingContext:
    """Without what says the choice in every other test."""
    for name in ("JOULETUNE_CPU_PRECISION", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    return TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path / "cache")


def give_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu_precision, "CPUINFO", tmp_path / "cpuinfo")


def give_measurement(monkeypatch: pytest.MonkeyPatch, **measured: object) -> list[int]:
    """Each is a second in fp32; gives a list that grows with each measurement."""
    calls: list[int] = []

    def measure() -> dict[str, object]:
        calls.append(1)
        return {"fp32_s": 1.0, "bf16_s": 0.5, "failure": "", **measured}

    monkeypatch.setattr(cpu_precision, "measure", measure)
    return calls


@pytest.mark.parametrize("flags", ["avx2 fma", "avx512f avx512_vnni", ""])
def test_a_processor_without_bf16_computes_in_fp32_and_nothing_is_measured(
    context, tmp_path, monkeypatch, flags
):
    give_cpu(monkeypatch, tmp_path, CPU.format(flags))
    calls = give_measurement(monkeypatch)
    assert choose_precision(context) == (
        "fp32: Some CPU @ 2 GHz has no instructions for bf16 (amx_bf16, avx512_bf16)"
    )
    assert calls == []


@pytest.mark.parametrize(
    ("text", "cpu"),
    [
        (CPU.format("avx512_bf16"), "Some CPU @ 2 GHz (avx512_bf16)"),
        (CPU.format("amx_tile amx_bf16 avx512_bf16"), "Some CPU @ 2 GHz (amx_bf16, avx512_bf16)"),
        ("processor : 0\nFeatures : fp asimd bf16\n", "{machine} (bf16)"),
    ],
)
def test_one_with_bf16_uses_it_where_it_is_faster_and_says_how_much(
    context, tmp_path, monkeypatch, text, cpu
):
    give_cpu(monkeypatch, tmp_path, text)
    give_measurement(monkeypatch, bf16_s=0.4)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert choose_precision(context) == (
        f"bf16: 2.5 times as fast as fp32 on {cpu.format(machine='aarch64')}, measured once with torch "
        f"{torch.__version__}"
    )


@pytest.mark.parametrize(("bf16_s", "name"), [(0.90, "bf16"), (0.92, "fp32"), (1.6, "fp32")])
def test_bf16_must_be_a_tenth_faster(context, tmp_path, monkeypatch, bf16_s, name):
    give_cpu(monkeypatch, tmp_path, CPU.format("avx512_bf16"))
    give_measurement(monkeypatch, bf16_s=bf16_s)
    assert choose_precision(context).startswith(f"{name}: ")


def test_one_whose_bf16_gives_nan_computes_in_fp32(context, tmp_path, monkeypatch):
    give_cpu(monkeypatch, tmp_path, CPU.format("amx_bf16"))
    monkeypatch.setattr(cpu_precision, "_is_finite_step", lambda net, images, kind: kind == torch.float32)
    assert choose_precision(context) == (
        "fp32: bf16 does not work on Some CPU @ 2 GHz (amx_bf16): a convolution of finite numbers gave NaN"
    )


def test_one_whose_bf16_raises_computes_in_fp32(context, tmp_path, monkeypatch):
    def refuse(net, images, kind):
        raise RuntimeError("could not create a primitive\nmore")

    give_cpu(monkeypatch, tmp_path, CPU.format("amx_bf16"))
    monkeypatch.setattr(cpu_precision, "_is_finite_step", refuse)
    assert choose_precision(context).endswith("(amx_bf16): could not create a primitive")


def test_it_is_measured_once_a_machine(context, tmp_path, monkeypatch):
    give_cpu(monkeypatch, tmp_path, CPU.format("avx512_bf16"))
    calls = give_measurement(monkeypatch)
    first = choose_precision(context)
    give_measurement(monkeypatch, bf16_s=2.0)  # the machine is busy now
    assert choose_precision(context) == first
    assert calls == [1]


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, path: give_cpu(patch, path, CPU.format("avx512_bf16").replace("Some", "Another")),
        lambda patch, path: patch.setattr(torch, "__version__", "9.0"),
        lambda patch, path: patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2"),
    ],
)
def test_another_processor_torch_or_limit_is_measured_anew(context, tmp_path, monkeypatch, change):
    give_cpu(monkeypatch, tmp_path, CPU.format("avx512_bf16"))
    calls = give_measurement(monkeypatch)
    choose_precision(context)
    change(monkeypatch, tmp_path)
    choose_precision(context)
    assert calls == [1, 1]


def test_processes_that_measure_at_once_agree_on_one_measurement(context, tmp_path, monkeypatch):
    give_cpu(monkeypatch, tmp_path, CPU.format("avx512_bf16"))
    seconds = iter([0.1, 0.2, 0.9, 2.0])

    def measure() -> dict[str, object]:
        return {"fp32_s": 1.0, "bf16_s": next(seconds), "failure": ""}

    monkeypatch.setattr(cpu_precision, "measure", measure)
    monkeypatch.setattr(Path, "exists", lambda path: False)  # none sees the other's in time
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(choose_precision, [context] * 4))) == 1
    assert len(list(context.cache_dir.iterdir())) == 1


def test_a_cache_that_takes_no_files_leaves_fp32_with_the_reason(context, tmp_path, monkeypatch):
    give_cpu(monkeypatch, tmp_path, CPU.format("avx512_bf16"))
    give_measurement(monkeypatch)
    context.cache_dir.write_text("a file")
    assert choose_precision(context) == (
        f"fp32: how fast bf16 is on this CPU cannot be stored in {context.cache_dir} (File exists)"
    )


def test_a_variable_says_it_without_a_measurement(context, tmp_path, monkeypatch):
    give_cpu(monkeypatch, tmp_path, CPU.format("avx512_bf16"))
    calls = give_measurement(monkeypatch)
    monkeypatch.setenv("JOULETUNE_CPU_PRECISION", "fp32")
    assert choose_precision(context) == "fp32: set by JOULETUNE_CPU_PRECISION"
    monkeypatch.setenv("JOULETUNE_CPU_PRECISION", "fp64")
    with pytest.raises(ValueError, match="JOULETUNE_CPU_PRECISION must be fp32 or bf16, got 'fp64'"):
        choose_precision(context)
    assert calls == []


def test_the_real_measurement_leaves_random_numbers_alone(context):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    measured = cpu_precision.measure()
    assert torch.equal(torch.rand(2), expected)
    assert measured["failure"] or (measured["fp32_s"] > 0 and measured["bf16_s"] > 0)
    assert json.loads(json.dumps(measured)) == measured
