"""Parameters as a sampler sees them: ranges of codes, and conversions between codes and values. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from search.space import Choice, Integer, Normal, Parameter, Real
from search.space.parameters import is_same, rounded

_TAIL = 1e-6


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Codes from `low` to `high`, both included.

    Attributes:
        is_whole: Codes are whole numbers.
        is_ordered: Near codes mean near values. Otherwise codes are the indices of names, and whole.
    """

    low: float
    high: float
    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any]
    log: bool = False
    is_whole: bool = False
    is_ordered: bool = True

    def at(self, share: float) -> Any:
        """Return the value at `share`, from 0 to 1, of the way along the axis, on the axis's own scale."""
        if self.log:
            code = self.low * (self.high / self.low) ** share
        else:
            code = self.low * (1 - share) + self.high * share
        if self.is_whole:
            code = self.low + round(code - self.low)
        written = float(f"{code:.12g}")  # 0.01, not 0.010000000000000004
        return self.decode(_clipped(written, self.low, self.high))


def axis_of(parameter: Parameter) -> Axis:
    if isinstance(parameter, Choice):
        return _choice_axis(parameter)
    if isinstance(parameter, Integer):
        return _integer_axis(parameter)
    return _normal_axis(parameter) if isinstance(parameter, Normal) else _real_axis(parameter)


def suggested(trial: Any, name: str, axis: Axis) -> Any:
    """Return the code that an Optuna trial suggests for an axis."""
    if not axis.is_ordered:
        return trial.suggest_categorical(name, list(range(int(axis.high) + 1)))
    if axis.is_whole:
        return trial.suggest_int(name, int(axis.low), int(axis.high))
    return trial.suggest_float(name, axis.low, axis.high, log=axis.log)


def _real_axis(real: Real) -> Axis:
    """Return an axis whose stepless codes round to values; its ends are half as likely, as in W&B."""
    return Axis(
        low=real.low,
        high=real.high,
        log=real.log,
        decode=lambda code: _clipped(rounded(code, real.step), *real.ends),
        encode=lambda value: _clipped(float(value), real.low, real.high),
    )


def _integer_axis(integer: Integer) -> Axis:
    return Axis(low=integer.low, high=integer.high, is_whole=True, decode=int, encode=int)


def _choice_axis(choice: Choice) -> Axis:
    if choice.probabilities is not None:
        return _weighted_axis(choice.values, choice.probabilities)
    values = sorted(choice.values) if choice.is_ordered else list(choice.values)
    return Axis(
        low=0,
        high=len(values) - 1,
        is_whole=True,
        is_ordered=choice.is_ordered,
        decode=lambda code: values[int(code)],
        encode=lambda value: _index(values, value),
    )


def _weighted_axis(values: Sequence[Any], probabilities: Sequence[float]) -> Axis:
    edges = list(itertools.accumulate(probabilities))
    starts = [0.0, *edges[:-1]]

    def encode(value: Any) -> float:
        index = _index(values, value)
        return (starts[index] + edges[index]) / 2

    def decode(code: float) -> Any:
        return values[min(bisect.bisect_right(edges, code), len(values) - 1)]

    return Axis(low=0.0, high=1.0, decode=decode, encode=encode)


def _normal_axis(normal: Normal) -> Axis:
    """Return a normal distribution as an axis of its quantiles, cut at 1e-6 on either side."""
    curve = statistics.NormalDist(normal.mean, normal.deviation)

    def decode(code: float) -> float:
        value = curve.inv_cdf(code)
        return rounded(math.exp(value) if normal.log else value, normal.step)

    def encode(value: float) -> float:
        if normal.log and value == 0:  # a step rounds small values down to 0
            return _TAIL
        return _clipped(curve.cdf(math.log(value) if normal.log else value), _TAIL, 1 - _TAIL)

    return Axis(low=_TAIL, high=1 - _TAIL, decode=decode, encode=encode)


def _index(values: Sequence[Any], value: Any) -> int:
    return next(index for index, known in enumerate(values) if is_same(known, value))


def _clipped(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
