"""How accurately a trial's active energy is known when several trials share one (simulated) GPU.

A trial draws 120 to 560 W above idle while its kernels run, and waits for data in between; trials that work
at the same time share the GPU in equal time slices. The energy counter moves in steps of 20 to 100 ms. The
driver takes a sample every --sample-ms, which names one process, drawn in proportion to its time slices, with
the GPU's busy fraction of that interval in whole percent. The meter is the real one (search/energy), sampling
once a second; only the device under it is simulated, and the truth is known.

The first 30 s have no process and the next 10 s only idle contexts, from which the meter learns its two idle
levels. Trials then start 5 s apart. `utilisation` never learns watts. `calibrated` learns them from times
when a trial happens to be alone, and from one exclusive slot for each trial that would never be alone: its
first 5 s, with the others paused. `earlier` takes each trial's watts from an earlier trial of the same kind,
whose watts differ by 5 % (one sigma).

    make bench-attribution ARGS="--repeats 200"
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from search.energy.attribution.account import Device, DeviceAccount  # noqa: E402
from search.energy.attribution.activity import Activity  # noqa: E402
from search.energy.attribution.windows import Window  # noqa: E402
from search.energy.counters.gpu import ProcessUtilisation, Sample  # noqa: E402

STEP_S = 0.01
BARE_W, CONTEXT_W = 70.0, 40.0  # the second level is reached with any context; more contexts add nothing
EMPTY_S, WAITING_S = 30.0, 10.0
STAGGER_S, SLOT_S = 5.0, 5.0
EARLIER_SIGMA = 0.05
METHODS = ("whole device", "equal", "utilisation", "calibrated", "earlier")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """Watts above idle while kernels run, and the rhythm: seconds of kernels, then of waiting."""

    watts: float
    work_s: float
    wait_s: float


class SimulatedGpu:
    """The metered device: a `Counter` with the driver's samples and the true energy.

    Args:
        wants: (trials, steps): whether each trial has kernels to run.
    """

    sensor, device = "simulated", "gpu"
    counter_start_mj = num_jumps = jumped_mj = 0
    power_ratio: float | None = None

    def __init__(
        self, trials: Sequence[Trial], wants: NDArray[np.bool_], sample_s: float, rng: np.random.Generator
    ) -> None:
        at_work = wants.sum(axis=0)
        self._slices: Floats = wants / np.maximum(at_work, 1)  # (trials, steps): fraction of the GPU's time
        watts = np.array([trial.watts for trial in trials])[:, None] * self._slices
        steps = np.arange(wants.shape[1]) * STEP_S
        idle_w = BARE_W + CONTEXT_W * (steps >= EMPTY_S)
        self.true_active_j: Floats = watts.sum(axis=1) * STEP_S
        self._joules: Floats = np.concatenate([[0.0], np.cumsum((watts.sum(axis=0) + idle_w) * STEP_S)])
        self._counter_step_s = rng.uniform(0.02, 0.1)
        self._samples = list(self._driver_samples(at_work > 0, sample_s, rng))
        self.now_s = 0.0

    def _driver_samples(
        self, is_busy: NDArray[np.bool_], sample_s: float, rng: np.random.Generator
    ) -> Iterator[Sample]:
        num = round(sample_s / STEP_S)
        for start in range(0, is_busy.size - num, num):
            times = self._slices[:, start : start + num].sum(axis=1)
            if times.sum() > 0:
                pid = 1 + int(rng.choice(times.size, p=times / times.sum()))
                percent = round(100 * float(is_busy[start : start + num].mean()))
                yield Sample(pid, _us((start + num) * STEP_S), percent)

    def read_mj(self) -> int:
        moved_s = self.now_s // self._counter_step_s * self._counter_step_s
        return int(1000 * self._joules[int(moved_s / STEP_S)])

    @property
    def num_steps(self) -> int:
        return self._joules.size - 1

    def used_j(self, since_s: float) -> float:
        """Energy of the whole device from `since_s` to the end."""
        return float(self._joules[-1] - self._joules[int(since_s / STEP_S)])

    def samples(self, after_us: int) -> list[Sample]:
        now_us = _us(self.now_s)
        return [sample for sample in self._samples if after_us < sample.at_us <= now_us]

    def close(self) -> None:
        """Nothing to free."""


class SimulatedUse:
    """An `ActivitySource` of the simulated GPU, in which pid i + 1 is trial i."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        self._gpu = gpu
        self._utilisation = ProcessUtilisation(gpu.samples, lambda: _us(gpu.now_s))

    def begin(self, window: Window, now_s: float) -> None:
        """Do nothing: samples carry their own times."""

    def observe(self, windows: Mapping[str, Window], now_s: float) -> Activity:
        use_s = self._utilisation.read() or {}
        return Activity(
            use_s={name: use_s.get(window.pid, 0.0) for name, window in windows.items()},
            is_occupied=now_s >= EMPTY_S,
            is_active=any(use_s.values()),
        )


def main() -> None:
    """Print the table and write it to a dated file."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--repeats", type=int, default=200, help="of 60 s; a tenth as many of 600 s")
    flags.add_argument("--sample-ms", type=int, default=100, help="between the driver's samples")
    flags.add_argument("--seed", type=int, default=0)
    options = flags.parse_args()
    lines = [
        "Error of a trial's active energy: median / 95th percentile over all trials. "
        f"{options.sample_ms} ms between the driver's samples; "
        f"{options.repeats} runs of 60 s, {_num_long(options.repeats)} of 600 s.",
        "",
        f"| trials | seconds | {' | '.join(METHODS)} |",
        f"|---|---|{'---|' * len(METHODS)}",
    ]
    for num_trials in (2, 4):
        for seconds in (60, 600):
            repeats = options.repeats if seconds == 60 else _num_long(options.repeats)
            errors = measured(num_trials, seconds, repeats, options.sample_ms / 1000, options.seed)
            cells = " | ".join(_cell(errors[method]) for method in METHODS)
            lines.append(f"| {num_trials} | {seconds} | {cells} |")
    print("\n".join(lines))
    day = datetime.now(UTC).date().isoformat()
    file = ROOT / "benchmarks" / "results" / f"{day}-attribution-{options.sample_ms}ms.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def _num_long(repeats: int) -> int:
    return max(20, repeats // 10)


def measured(
    num_trials: int, seconds: int, repeats: int, sample_s: float, seed: int
) -> dict[str, list[float]]:
    """Relative errors of each trial's active energy, by method."""
    errors: dict[str, list[float]] = {method: [] for method in METHODS}
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, num_trials, seconds, repeat])
        trials = [_trial(rng) for _ in range(num_trials)]
        plain = SimulatedGpu(trials, _wants(trials, seconds, rng), sample_s, rng)
        sliced = SimulatedGpu(trials, _wants(trials, seconds, rng, has_slices=True), sample_s, rng)
        slices = {round(start_s): str(index) for index, start_s in _slice_starts(num_trials)}
        slices[round(_slice_starts(num_trials)[-1][1] + SLOT_S)] = ""
        moved_j = plain.true_active_j.sum()
        whole_j = plain.used_j(EMPTY_S)
        earlier_w = [trial.watts * rng.normal(1.0, EARLIER_SIGMA) for trial in trials]
        found = {
            "whole device": (plain, np.full(num_trials, whole_j)),
            "equal": (plain, np.full(num_trials, moved_j / num_trials)),
            "utilisation": (plain, _metered(plain, num_trials, known=_Known([None] * num_trials))),
            "calibrated": (sliced, _metered(sliced, num_trials, slices=slices)),
            "earlier": (plain, _metered(plain, num_trials, known=_Known(earlier_w))),
        }
        for method, (gpu, active_j) in found.items():
            errors[method] += [float(error) for error in np.abs(active_j / gpu.true_active_j - 1)]
    return errors


def _trial(rng: np.random.Generator) -> Trial:
    duty = rng.uniform(0.3, 1.0)
    period_s = rng.uniform(0.05, 2.0)
    return Trial(rng.uniform(120.0, 560.0), duty * period_s, (1 - duty) * period_s)


def _slice_starts(num_trials: int) -> list[tuple[int, float]]:
    """Each trial and the start of its exclusive slot, when it begins; the first is alone anyway."""
    return [(index, EMPTY_S + WAITING_S + index * STAGGER_S) for index in range(1, num_trials)]


def _wants(
    trials: Sequence[Trial], seconds: int, rng: np.random.Generator, *, has_slices: bool = False
) -> NDArray[np.bool_]:
    """Each trial's rhythm, with 10 % jitter, from its start on; with slices, others pause in its slot."""
    begin_s = EMPTY_S + WAITING_S
    num_steps = round((begin_s + seconds) / STEP_S)
    wants = np.zeros((len(trials), num_steps), dtype=bool)
    for index, trial in enumerate(trials):
        at_s = begin_s + index * STAGGER_S
        while at_s < begin_s + seconds:
            work_s, wait_s = np.array([trial.work_s, trial.wait_s]) * rng.normal(1.0, 0.1, 2).clip(0.1)
            wants[index, round(at_s / STEP_S) : round((at_s + work_s) / STEP_S)] = True
            at_s += max(work_s + wait_s, STEP_S)
    for index, start_s in _slice_starts(len(trials)) if has_slices else ():
        others = [other for other in range(len(trials)) if other != index]
        wants[others, round(start_s / STEP_S) : round((start_s + SLOT_S) / STEP_S)] = False
    return wants


class _Known:
    """Stands in for WattsPerUtilisation with given watts instead of learnt ones."""

    def __init__(self, watts: Sequence[float | None]) -> None:
        self._watts = watts

    def __call__(self, window: str) -> float | None:
        return self._watts[int(window)]


def _metered(
    gpu: SimulatedGpu,
    num_trials: int,
    *,
    known: _Known | None = None,
    slices: Mapping[int, str] | None = None,
) -> Floats:
    """The energy that the meter attributes to each trial, in J.

    Args:
        known: Watts to use in place of those that the meter would learn.
        slices: The trial that works alone from a given second on; "" ends the slot.
    """
    gpu.now_s = 0.0
    account = DeviceAccount(Device(name="gpu", kind="gpu", counter=gpu, activity=SimulatedUse(gpu)), 0.0)
    if known:
        setattr(account.watch.watts, "known_w", known)  # noqa: B010, mypy forbids to assign a method
    for second in range(round(gpu.num_steps * STEP_S)):
        if second == EMPTY_S:
            for index in range(num_trials):
                shares = {gpu.device: Fraction(1, num_trials)}
                account.open(Window(name=str(index), pid=index + 1, shares=shares), gpu.now_s)
        account.watch.watts.slot_of = (slices or {}).get(second, account.watch.watts.slot_of)
        gpu.now_s = second + 1.0
        account.tick(gpu.now_s)
    account.cut(gpu.now_s)
    return np.array([account.record(str(index)).active_mj / 1000 for index in range(num_trials)])


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _cell(errors: Sequence[float]) -> str:
    return f"{statistics.median(errors):.1%} / {float(np.percentile(errors, 95)):.1%}"


if __name__ == "__main__":
    main()
