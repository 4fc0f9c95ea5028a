"""What a model costs to use: its size, its arithmetic, its speed.

They are measured only if a space names one of them as objective or constraint, before the first epoch, and
measuring does not affect the training.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainables.core.contract import BadResult
from trainables.engine.seeds import restore_rng, rng_state

_IN_A_ROW, _NUM_ROWS = 10, 5  # calls; in the first of all, kernels are chosen and memory is allocated
_FEWEST, _MOST_NS = 3, 2_000_000_000  # else a large model on a CPU would take a minute


def measured(
    model: nn.Module, names: Collection[str], forward: Callable[[], Any], *, device: torch.device
) -> dict[str, float]:
    """Measure those of `names` that are known before the first epoch: params_m, macs_g and latency_ms.

    Args:
        model: The model that is scored, on the device.
        forward: Passes one example through it, as scoring does.

    Raises:
        BadResult: `names` has `peak_memory_mib`, which is not measured on this device.
    """
    if "peak_memory_mib" in names and device.type != "cuda":
        raise BadResult(
            "peak_memory_mib is not measured on the CPU, where a worker's peak is that of all its trials; "
            "give trials a GPU, or leave it out"
        )
    measures: Mapping[str, Callable[[], float]] = {
        "params_m": lambda: num_parameters(model) / 1e6,
        "macs_g": lambda: multiply_adds(forward) / 1e9,
        "latency_ms": lambda: latency_ms(forward, device),
    }
    with _untouched(model):
        return {name: measure() for name, measure in measures.items() if name in names}


def num_parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included, each counted once however many layers share it.

    BatchNorm's statistics do not count: they are buffers.
    """
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(forward: Callable[[], Any]) -> int:
    """Multiply-adds of convolutions, matrix products and attention in a call, by torch's flop counter.

    The counter counts a multiplication and an addition as two, so this is half its number. Activations,
    norms, pooling and recurrent layers are not counted.
    """
    counter = FlopCounterMode(display=False)
    # Attention as matrix products: fused kernels differ from device to device, and not all are counted.
    with sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager"), counter:
        forward()
    return int(counter.get_total_flops()) // 2


def latency_ms(
    forward: Callable[[], Any], device: torch.device, *, clock_ns: Callable[[], int] = perf_counter_ns
) -> float:
    """Milliseconds of a call on the device: the lowest of five medians of 10 calls each, after 10 others.

    Other work on the device only ever makes a call slower, and it comes and goes: the lowest median has the
    least of it, though not none. Fewer slow calls are timed; below 10, the result is the median of all.
    """
    _timed_ns(forward, device, _IN_A_ROW, clock_ns)
    times_ns = _timed_ns(forward, device, _NUM_ROWS * _IN_A_ROW, clock_ns)
    rows_ns = [times_ns[start : start + _IN_A_ROW] for start in range(0, len(times_ns), _IN_A_ROW)]
    whole_ns = [row_ns for row_ns in rows_ns if len(row_ns) == _IN_A_ROW]
    return min(statistics.median(row_ns) for row_ns in whole_ns or [times_ns]) / 1e6


def _timed_ns(
    forward: Callable[[], Any], device: torch.device, most: int, clock_ns: Callable[[], int]
) -> list[int]:
    """Time up to `most` calls, one after another; after the third, none is started once they total 2 s."""
    times_ns: list[int] = []
    while len(times_ns) < most and (len(times_ns) < _FEWEST or sum(times_ns) < _MOST_NS):
        began_ns = clock_ns()
        forward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # else only the launch would be timed
        times_ns.append(clock_ns() - began_ns)
    return times_ns


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Context in which the model is in evaluation mode; modes and random state are restored afterwards."""
    modes: Mapping[nn.Module, bool] = {module: module.training for module in model.modules()}
    state = rng_state()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training
        restore_rng(state)
