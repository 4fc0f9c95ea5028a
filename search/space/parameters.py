"""The kinds of parameter that can be searched. They describe; `search.sampling.sampler` draws from them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

_STEP_TOLERANCE = 1e-6  # of a step: 3 * 0.1 is 0.30000000000000004


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, both included.

    Attributes:
        log: Equal ratios are equally likely, not equal differences.
        step: Only its multiples are tried; `low` and `high` are multiples themselves.
        inverse: Written with one of W&B's inv_ distributions. log(1/x) is uniform exactly when
            log(x) is, so it draws as `log` does.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    inverse: bool = False

    def contains(self, value: Any) -> bool:
        return is_number(value) and self.low <= value <= self.high and _is_multiple(value, self.step)


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, both included, in steps counted from `low`."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def contains(self, value: Any) -> bool:
        is_whole = is_number(value) and isinstance(value, int)
        return is_whole and self.low <= value <= self.high and (value - self.low) % self.step == 0


@dataclass(frozen=True)
class Choice:
    """One of `values`, which may be of any kind; equally likely unless `probabilities` are given."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None

    @property
    def is_ordered(self) -> bool:
        """Numbers have an order, and a sampler finds a good region of it sooner than a good name."""
        return len(self.values) > 2 and all(type(value) in (int, float) for value in self.values)

    def contains(self, value: Any) -> bool:
        return any(is_same(value, choice) for choice in self.values)


@dataclass(frozen=True)
class Normal:
    """A number whose value (or, with `log`, whose natural logarithm) is normally distributed.

    Attributes:
        step: Only its multiples are tried; a whole step gives whole numbers.
    """

    mean: float
    deviation: float
    log: bool = False
    step: float | int | None = None

    def contains(self, value: Any) -> bool:
        if not is_number(value) or not math.isfinite(value):
            return False
        is_possible = value > 0 or not self.log or (self.step is not None and value == 0)
        return is_possible and _is_multiple(value, self.step)


Parameter = Real | Integer | Choice | Normal


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values mean the same setting: 1 and 1.0 do, (1, 2) and [1, 2] too, 1 and true not."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def identity(value: Any) -> Hashable:
    """A key that is equal for the same settings, as `is_same` sees them."""
    if isinstance(value, list | tuple):
        return tuple(identity(item) for item in value)
    if isinstance(value, Mapping):
        return tuple(sorted((name, identity(item)) for name, item in value.items()))
    return isinstance(value, bool), value


def described(parameter: Parameter) -> str:
    """What the parameter allows, for a message."""
    if isinstance(parameter, Choice):
        return f"one of {', '.join(map(str, parameter.values))}"
    if isinstance(parameter, Normal):
        return "a number above 0" if parameter.log else "a number"
    kind = "a whole number" if isinstance(parameter, Integer) else "a number"
    step = f" in steps of {parameter.step}" if parameter.step not in (None, 1) else ""
    return f"{kind} from {parameter.low} to {parameter.high}{step}"


def _is_multiple(value: float, step: float | None) -> bool:
    return step is None or abs(math.remainder(value, step)) <= _STEP_TOLERANCE * step
