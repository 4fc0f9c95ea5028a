"""What the precision `auto` means on a CPU: bf16 if the processor computes it, and faster than fp32.

Autocast without bf16 instructions was slower (an epoch 8 %, scoring 59 %), so the flags of the processor
come first. If it has them, a small convolutional network takes some steps in both formats, once per machine:
the choice must not change between two trials because a measurement is noisy.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import nn

from trainables.core.contract import TrainingContext

CPUINFO = Path("/proc/cpuinfo")
OVERRIDE = "JOULETUNE_CPU_PRECISION"
_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")  # the last is ARM's
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # these make a processor act as an older one
_MIN_SPEEDUP = 1.1  # below this, the noise of a measurement would decide
_NUM_STEPS, _NUM_WARM = 10, 2
_NUM_SMALL = 20  # runs of the convolution that gave NaN on AMX, in some processes and not in others


def choose_precision(context: TrainingContext) -> str:
    """The format that `auto` means on this machine's CPU, with the reason: "bf16: ..." or "fp32: ...".

    It is the same for every process of the machine: the first measurement is kept in `context.cache_dir`, by
    CPU model, torch version and limits on the instructions. Empty if `context` names another device.
    """
    if context.device != "cpu":
        return ""
    if given := os.environ.get(OVERRIDE):
        if given not in ("fp32", "bf16"):
            raise ValueError(f"{OVERRIDE} must be fp32 or bf16, got {given!r}")
        return f"{given}: set by {OVERRIDE}"
    model, flags = _cpu()
    if not flags:
        return f"fp32: {model} has no instructions for bf16 ({', '.join(_BF16_FLAGS[:2])})"
    try:
        measured = _kept(context.cache_dir, _key(model))
    except OSError as error:
        return (
            f"fp32: how fast bf16 is on this CPU cannot be stored in {context.cache_dir} ({error.strerror})"
        )
    return _choice(measured, f"{model} ({', '.join(flags)})")


def _choice(measured: Mapping[str, Any], cpu: str) -> str:
    """The format with its reason, from a measurement that another process may have made."""
    if reason := measured["failure"]:
        return f"fp32: bf16 does not work on {cpu}: {reason}"
    speedup = measured["fp32_s"] / measured["bf16_s"]
    times = f"{speedup:.1f} times as fast as fp32 on {cpu}, measured once with torch {measured['torch']}"
    return f"bf16: {times}" if speedup >= _MIN_SPEEDUP else f"fp32: bf16 is only {times}"


def _cpu() -> tuple[str, list[str]]:
    """The CPU's name, and which of its instructions compute bf16."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", fields.get("Features", "")).split()
    model = fields.get("model name") or platform.machine()
    return model, [flag for flag in _BF16_FLAGS if flag in flags]


def _key(model: str) -> dict[str, str]:
    """What a measurement depends on: the processor, the build of torch, limits of its instructions."""
    return {"cpu": model, "torch": str(torch.__version__)} | {
        name: os.environ.get(name, "") for name in _LIMITS
    }


def _kept(folder: Path, key: Mapping[str, str]) -> Mapping[str, Any]:
    """The first measurement that any process of this machine made; later processes use it too."""
    digest = blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    path = folder / f"cpu-precision-{digest}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        own = path.with_name(f".{uuid4().hex}.{path.name}")
        own.write_text(json.dumps({**key, **measure()}))
        with suppress(FileExistsError):
            path.hardlink_to(own)  # unlike a rename, it keeps the file of a process that was first
        own.unlink()
    kept: Mapping[str, Any] = json.loads(path.read_text())
    return kept


def measure() -> dict[str, Any]:
    """Time a step of a small network in fp32 and in bf16, or find the reason why bf16 cannot be used."""
    random, threads = torch.random.get_rng_state(), torch.get_num_threads()
    try:
        if failure := _failure():
            return {"fp32_s": None, "bf16_s": None, "failure": failure}
        fp32_s, bf16_s = _steps_s(torch.float32, torch.bfloat16)
    finally:
        torch.random.set_rng_state(random)
        torch.set_num_threads(threads)
    return {"fp32_s": fp32_s, "bf16_s": bf16_s, "failure": ""}


def _failure() -> str:
    """Why training in bf16 cannot be trusted here; empty if it can."""
    # The shape with which finite numbers gave NaN on a CPU with AMX, in some processes and not in others:
    # hence 20 tries.
    small = nn.Conv2d(192, 96, 3, stride=2, padding=1).to(memory_format=torch.channels_last)
    try:
        for _ in range(_NUM_SMALL):
            images = torch.randn(32, 192, 4, 2).contiguous(memory_format=torch.channels_last)
            if not _is_finite_step(small, images, torch.bfloat16):
                return "a convolution of finite numbers gave NaN"
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


def _steps_s(*kinds: torch.dtype) -> list[float]:
    """Seconds of the fastest step in each format, in turns: on a busy machine both meet the same load."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    layers += [nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
    layers += [nn.Conv2d(64, 64, 3, padding=1), nn.AdaptiveAvgPool2d(1)]
    net = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    images = torch.randn(32, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    taken_s: dict[torch.dtype, list[float]] = {kind: [] for kind in kinds}
    for _ in range(_NUM_WARM + _NUM_STEPS):
        for kind in kinds:
            started_s = time.perf_counter()
            _is_finite_step(net, images, kind)
            taken_s[kind].append(time.perf_counter() - started_s)
    return [min(taken[_NUM_WARM:]) for taken in taken_s.values()]


def _is_finite_step(net: nn.Module, images: torch.Tensor, kind: torch.dtype) -> bool:
    """Run forward and backward; return whether loss and gradients are finite."""
    with torch.autocast("cpu", kind, enabled=kind != torch.float32):
        outputs = net(images)
    loss = outputs.float().square().mean()
    net.zero_grad()
    loss.backward()
    grads = [one.grad for one in net.parameters() if one.grad is not None]
    return bool(loss.isfinite()) and all(bool(grad.isfinite().all()) for grad in grads)
