"""The distributions of Weights & Biases, and the parameter that each of them means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from search.space.entry import Entry, Fixed
from search.space.parameters import Choice, Integer, Normal, Parameter, Real
from search.space.problems import KeyedError, did_you_mean, listed, shown

_LARGEST_EXPONENT = 700  # exp(709.8) is the largest double
_RANGE = frozenset({"min", "max"})
_BELL = frozenset({"mu", "sigma"})


def to_parameter(entry: Entry) -> Parameter | Fixed:
    """The parameter that an entry means.

    Raises:
        ValueError: Its keys do not go together, or its bounds hold nothing to search.
    """
    name = entry.distribution or _inferred(entry)
    if name not in DISTRIBUTIONS:
        raise KeyedError("distribution", f"{shown(name)} is not known{did_you_mean(name, DISTRIBUTIONS)}")
    keys, read = DISTRIBUTIONS[name]
    _check_keys(name, keys, entry)
    return read(entry)


def _inferred(entry: Entry) -> str:
    given = entry.given
    kinds = [kind for kind in (("value",), ("values",), ("min", "max"), ("mu", "sigma")) if given & set(kind)]
    if len(kinds) != 1:
        got = f"got {listed(sorted(given))}" if given else "got nothing"
        raise ValueError(f"give value, or values, or min and max, or mu and sigma; {got}")
    if kinds[0] == ("min", "max"):
        is_whole = isinstance(entry.min, int) and isinstance(entry.max, int)
        return "q_uniform" if "q" in given else "int_uniform" if is_whole else "uniform"
    if kinds[0] == ("mu", "sigma"):
        return "q_normal" if "q" in given else "normal"
    return "constant" if kinds[0] == ("value",) else "categorical"


def _check_keys(name: str, keys: frozenset[str], entry: Entry) -> None:
    order = list(Entry.model_fields)
    if entry.given - keys:
        allowed, extra = sorted(keys, key=order.index), sorted(entry.given - keys, key=order.index)
        raise ValueError(f"{name} takes {listed(allowed)}, not {listed(extra)}")
    missing = [key for key in ("value", "values", "min", "max") if key in keys - entry.given]
    if missing:
        raise ValueError(f"{listed(missing)} must be given for {name}")
    if "min" in keys:
        _check_order(*entry.bounds)


def _check_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"min {low} is above max {high}")
    if low == high:
        raise ValueError(f"min and max are both {low}; write value: {low}")


def _categorical(entry: Entry) -> Choice:
    values, probabilities = entry.values, entry.probabilities
    assert values is not None
    if probabilities is not None and len(probabilities) != len(values):
        raise KeyedError(
            "probabilities", f"must be as many as values, {len(values)}, got {len(probabilities)}"
        )
    return Choice(tuple(values), None if probabilities is None else tuple(map(float, probabilities)))


def _int_uniform(entry: Entry) -> Integer:
    low, high = entry.bounds
    for key, bound in (("min", low), ("max", high)):
        if not isinstance(bound, int):
            raise KeyedError(key, f"must be a whole number for int_uniform, got {bound}; or use uniform")
    return Integer(int(low), int(high))


def _uniform(entry: Entry) -> Real:
    low, high = entry.bounds
    return Real(float(low), float(high))


def _log_uniform_values(entry: Entry) -> Real:
    for key, bound in zip(("min", "max"), entry.bounds, strict=True):
        if bound <= 0:
            exponents = (entry.distribution or "").removesuffix("_values")
            fix = f"; if these are exponents of e, use {exponents}" if bound < 0 else ""
            raise KeyedError(key, f"must be above 0 on a logarithmic scale, got {bound}{fix}")
    low, high = entry.bounds
    return Real(float(low), float(high), log=True)


def _log_uniform(entry: Entry) -> Real:
    low, high = entry.bounds
    if low > 0 and high / low >= 10:
        raise ValueError(_exponents_expected(entry))
    return Real(_exp("min", low), _exp("max", high), log=True)


def _inv_log_uniform(entry: Entry) -> Real:
    low, high = entry.bounds
    if low > 0 and high <= 1 and high / low >= 10:  # 0.69 to 9.2 is usual here: 1e-4 to 0.5
        raise ValueError(_exponents_expected(entry))
    return Real(_exp("max", -high), _exp("min", -low), log=True, inverse=True)


def _exponents_expected(entry: Entry) -> str:
    return (
        f"{entry.distribution} takes exponents of e, and {entry.min} to {entry.max} look like values; "
        f"write distribution: {entry.distribution}_values"
    )


def _inv_log_uniform_values(entry: Entry) -> Real:
    real = _log_uniform_values(entry)
    return Real(real.low, real.high, log=True, inverse=True)


def _exp(key: str, exponent: float) -> float:
    if abs(exponent) > _LARGEST_EXPONENT:
        raise KeyedError(key, f"must be an exponent of e from -700 to 700, got {exponent}")
    return math.exp(exponent)


def _stepped(read: Callable[[Entry], Real]) -> Callable[[Entry], Real | Integer]:
    """The same range in steps of q. A whole q gives whole numbers, as it does in W&B."""

    def read_steps(entry: Entry) -> Real | Integer:
        real = read(entry)
        low, high = _snapped(real, entry.q)
        if low >= high:
            raise KeyedError(
                "q", f"leaves fewer than two multiples of {entry.q} from {real.low} to {real.high}"
            )
        if isinstance(entry.q, int):
            return Integer(int(low), int(high), log=real.log, step=entry.q)
        return Real(float(low), float(high), log=real.log, step=entry.q)

    return read_steps


def _snapped(real: Real, step: float) -> tuple[Decimal, Decimal]:
    """The lowest and highest multiple of the step in the range, above 0 on a logarithmic scale."""
    unit = Decimal(repr(step))  # by its digits: 0.3 is three times 0.1, which in binary it is not
    lowest = _whole(Decimal(repr(real.low)) / unit, ROUND_CEILING)
    highest = _whole(Decimal(repr(real.high)) / unit, ROUND_FLOOR)
    return lowest * unit, highest * unit


def _whole(count: Decimal, rounding: str) -> Decimal:
    nearest = count.to_integral_value()  # a multiple that was stored as a float is a little off
    return nearest if abs(count - nearest) < Decimal("1e-6") else count.to_integral_value(rounding)


def _normal(*, log: bool, stepped: bool) -> Callable[[Entry], Normal]:
    def read(entry: Entry) -> Normal:
        if log:
            _exp("mu", entry.mu)
        return Normal(float(entry.mu), float(entry.sigma), log=log, step=entry.q if stepped else None)

    return read


DISTRIBUTIONS: Mapping[str, tuple[frozenset[str], Callable[[Entry], Parameter | Fixed]]] = {
    "constant": (frozenset({"value"}), lambda entry: Fixed(entry.value)),
    "categorical": (frozenset({"values", "probabilities"}), _categorical),
    "categorical_w_probabilities": (frozenset({"values", "probabilities"}), _categorical),
    "int_uniform": (_RANGE, _int_uniform),
    "uniform": (_RANGE, _uniform),
    "q_uniform": (_RANGE | {"q"}, _stepped(_uniform)),
    "log_uniform": (_RANGE, _log_uniform),
    "q_log_uniform": (_RANGE | {"q"}, _stepped(_log_uniform)),
    "inv_log_uniform": (_RANGE, _inv_log_uniform),
    "log_uniform_values": (_RANGE, _log_uniform_values),
    "q_log_uniform_values": (_RANGE | {"q"}, _stepped(_log_uniform_values)),
    "inv_log_uniform_values": (_RANGE, _inv_log_uniform_values),
    "normal": (_BELL, _normal(log=False, stepped=False)),
    "q_normal": (_BELL | {"q"}, _normal(log=False, stepped=True)),
    "log_normal": (_BELL, _normal(log=True, stepped=False)),
    "q_log_normal": (_BELL | {"q"}, _normal(log=True, stepped=True)),
}


def to_entry(parameter: Parameter) -> dict[str, Any]:
    """The entry that means `parameter`: what `to_parameter` turns back into it."""
    if isinstance(parameter, Choice):
        entry: dict[str, Any] = {"values": list(parameter.values)}
        return entry | ({"probabilities": list(parameter.probabilities)} if parameter.probabilities else {})
    if isinstance(parameter, Normal):
        name = "log_normal" if parameter.log else "normal"
        return _with_step(name, {"mu": parameter.mean, "sigma": parameter.deviation}, parameter.step)
    name = "log_uniform_values" if parameter.log else "uniform"
    bounds = {"min": parameter.low, "max": parameter.high}
    if isinstance(parameter, Integer) and parameter.step == 1 and not parameter.log:
        return {"distribution": "int_uniform", **bounds}
    if isinstance(parameter, Real) and parameter.inverse:
        return {"distribution": f"inv_{name}", **bounds}
    return _with_step(name, bounds, parameter.step)


def _with_step(name: str, entry: dict[str, Any], step: float | None) -> dict[str, Any]:
    if step is None:
        return {"distribution": name, **entry}
    return {"distribution": f"q_{name}", **entry, "q": step}
