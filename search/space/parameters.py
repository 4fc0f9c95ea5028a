"""The kinds of parameter that can be searched; `search.sampling.sampler` draws from them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal

Edge = Literal["lower", "upper"]
_STEP_TOLERANCE = 1e-6  # of a step: 3 * 0.1 is 0.30000000000000004


@dataclass(frozen=True)
class Fixed:
    """A parameter that has one value in every trial."""

    value: Any


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, rounded to the nearest multiple of `step` if given, as in W&B.

    Attributes:
        log: Equal ratios are equally likely, not equal differences.
        step: Rounding may leave the range by half a step: 1 to 8 in steps of 16 is 0 or 16. A whole
            step gives whole numbers.
        inverse: Written with one of W&B's inv_ distributions. log(1/x) is uniform exactly when
            log(x) is, so it draws as `log` does.
    """

    low: float
    high: float
    log: bool = False
    step: float | int | None = None
    inverse: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest possible value."""
        if self.step is None:
            return self.low, self.high
        # A bound half-way between two multiples is never drawn, so it rounds into the range.
        first, last = math.floor(self.low / self.step + 0.5), math.ceil(self.high / self.step - 0.5)
        return multiple(first, self.step), multiple(last, self.step)

    def contains(self, value: Any) -> bool:
        low, high = self.ends
        slack = _STEP_TOLERANCE * (self.step or 0)
        return is_number(value) and low - slack <= value <= high + slack and _fits(value, self.step)


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, both included, each equally likely."""

    low: int
    high: int
    log: ClassVar[bool] = False
    step: ClassVar[int] = 1

    @property
    def ends(self) -> tuple[int, int]:
        return self.low, self.high

    def contains(self, value: Any) -> bool:
        return is_number(value) and isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of `values`, which may be of any kind; equally likely unless `probabilities` are given."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None

    @property
    def is_ordered(self) -> bool:
        """Whether these are more than two numbers: a sampler finds a good region sooner than a good name."""
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
        return is_possible and _fits(value, self.step)


Parameter = Real | Integer | Choice | Normal


def num_values(parameter: Parameter) -> int | None:
    """How many values a parameter can have; None where they cannot be counted."""
    if isinstance(parameter, Choice):
        return len(parameter.values)
    if isinstance(parameter, Normal) or parameter.step is None:
        return None
    low, high = (round(end / parameter.step) for end in parameter.ends)
    return high - low + 1


def range_values(parameter: Parameter) -> list[Any]:
    """Every value of a countable range, in ascending order."""
    assert not isinstance(parameter, Choice | Normal)
    assert parameter.step is not None
    low, high = (round(end / parameter.step) for end in parameter.ends)
    return [multiple(count, parameter.step) for count in range(low, high + 1)]


def middle(parameter: Parameter) -> Any:
    """A value near the middle of the parameter's scale, to two digits; the first value of a choice."""
    if isinstance(parameter, Choice):
        return parameter.values[0]
    if isinstance(parameter, Integer):
        return (parameter.low + parameter.high) // 2
    if isinstance(parameter, Normal):
        return rounded(math.exp(parameter.mean) if parameter.log else parameter.mean, parameter.step)
    low, high = parameter.low, parameter.high
    centre = math.sqrt(low) * math.sqrt(high) if parameter.log else (low + high) / 2
    return rounded(float(f"{centre:.2g}"), parameter.step)


def beyond(parameter: Parameter, edge: Edge) -> float | int:
    """A value as far outside the range as its neighbour is inside, or a tenth of a range without steps.

    Args:
        parameter: A range, or a choice that has an order.
    """
    assert not isinstance(parameter, Normal)
    ordered = sorted(parameter.values) if isinstance(parameter, Choice) else _points(parameter)
    end, inner = ordered[:2] if edge == "lower" else ordered[:-3:-1]
    is_ratio = min(ordered) > 0 and (isinstance(parameter, Choice) or parameter.log)
    outer = end * end / inner if is_ratio else end + (end - inner)
    return math.floor(outer) if isinstance(end, int) and isinstance(inner, int) else outer


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values mean the same setting: 1 and 1.0 do, as do (1, 2) and [1, 2]; 1 and true do not."""
    if isinstance(one, list | tuple | Mapping):
        return identity(one) == identity(other)
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
    kind = "a whole number" if isinstance(parameter.step, int) else "a number"
    step = f" in steps of {parameter.step}" if parameter.step not in (None, 1) else ""
    low, high = parameter.ends
    return f"{kind} from {low} to {high}{step}"


def rounded(value: float, step: float | None) -> float:
    """The nearest multiple of the step, ties to even; the value itself without a step."""
    return value if step is None else multiple(round(value / step), step)


def multiple(count: int, step: float) -> float:
    """`count` times `step` in decimal arithmetic: 3 times 0.1 is 0.3, which it is not in binary."""
    return count * step if isinstance(step, int) else float(count * Decimal(repr(step)))


def _fits(value: float, step: float | None) -> bool:
    if isinstance(step, int):
        return isinstance(value, int) and value % step == 0
    return step is None or abs(math.remainder(value, step)) <= _STEP_TOLERANCE * step


def _points(parameter: Real | Integer) -> list[float]:
    low, high = parameter.ends
    if parameter.step is not None:
        return [low, low + parameter.step, high - parameter.step, high]
    share = (high / low) ** 0.1 if parameter.log else 0.1 * (high - low)
    inner = (low * share, high / share) if parameter.log else (low + share, high - share)
    return [low, *inner, high]
