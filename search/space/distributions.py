"""The entries under `parameters:`: W&B's distributions, and the parameter that each stands for."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator

from search.space.errors import KeyedError, Problems, did_you_mean, listed, shown, wrong_kind
from search.space.fields import AboveZero, Number, Text, validated
from search.space.parameters import Choice, Fixed, Integer, Normal, Parameter, Real, identity


def _values(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(wrong_kind("a list of values", value))
    if not value:
        raise ValueError("must not be empty")
    return value


def _probabilities(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(wrong_kind("a list of numbers", value))
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or item < 0:
            raise ValueError(f"must be numbers from 0 to 1, got {shown(item)}")
    if abs(sum(value) - 1) > 1e-6:
        raise ValueError(f"must sum to 1, got {sum(value):g}")
    return value


class Entry(BaseModel):
    """The keys W&B allows for one parameter; `to_parameter` decides which go together."""

    model_config = ConfigDict(extra="forbid")

    value: Any = None
    values: Annotated[list[Any] | None, PlainValidator(_values)] = None
    probabilities: Annotated[list[float] | None, PlainValidator(_probabilities)] = None
    min: Number | None = None
    max: Number | None = None
    mu: Number = 0.0
    sigma: AboveZero = 1.0
    q: AboveZero = 1
    a: Number = 1.0
    b: Number = 1.0
    distribution: Text | None = None

    @property
    def given(self) -> set[str]:
        """The given keys other than `distribution`; a bound of null counts as not given."""
        null_bounds = {key for key in ("min", "max") if getattr(self, key) is None}
        return self.model_fields_set - {"distribution"} - null_bounds

    @property
    def bounds(self) -> tuple[float, float]:
        """min and max, both of which must be given."""
        assert self.min is not None
        assert self.max is not None
        return self.min, self.max


_LARGEST_EXPONENT = 700  # exp(709.8) is the largest double
_MOST_DEVIATIONS = 5  # a draw is at most 4.8 from the mean, see search.sampling.axes
_MOST_STEPS = 2**53  # beyond it a double skips whole numbers
_RANGE = frozenset({"min", "max"})
_BELL = frozenset({"mu", "sigma"})
_OF_EXPONENTS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
_USUAL_EXPONENT = 12  # exp(12) is 160,000: more than any batch size, width or step count that is searched
_NOT_DRAWN: Mapping[str, str] = {
    "beta": "use uniform or normal, or values with probabilities",
    "q_beta": "use q_uniform or q_normal, or values with probabilities",
}


def to_parameter(entry: Entry) -> Parameter | Fixed:
    """The parameter that an entry stands for.

    Raises:
        ValueError: Its keys do not go together, or its bounds leave nothing to search.
    """
    name = entry.distribution or _inferred(entry)
    if name in _NOT_DRAWN:
        raise KeyedError("distribution", f"{name} is one of W&B's that is not supported; {_NOT_DRAWN[name]}")
    if name not in DISTRIBUTIONS:
        raise KeyedError("distribution", f"{shown(name)} is not known{did_you_mean(name, DISTRIBUTIONS)}")
    keys, read = DISTRIBUTIONS[name]
    _check_keys(name, keys, entry)
    return read(entry)


def notes_of(entry: Entry, parameter: Parameter | Fixed) -> Iterator[str]:
    """Yield what in an entry is read in a way that may surprise."""
    name = entry.distribution or ""
    if isinstance(parameter, Real) and name in _OF_EXPONENTS and _look_like_values(entry):
        low, high = parameter.low, parameter.high
        yield (
            f"{name} takes exponents of e, so this is {low:.4g} to {high:.4g}; for values from "
            f"{entry.min} to {entry.max} write {name}_values"
        )
    if (
        isinstance(parameter, Real)
        and parameter.step is not None
        and parameter.log
        and parameter.ends[0] == 0
    ):
        yield f"values are rounded to multiples of {parameter.step}, as W&B does, so some will be 0"
    if entry.values is not None and (twice := _repeated(entry.values)):
        yield f"{listed(twice)} given more than once, and drawn that much more often, as W&B does"


def _look_like_values(entry: Entry) -> bool:
    """Whether the bounds of a distribution of exponents look like values.

    Exponents are negative for rates, at most about 20 for inverses of rates, and positive for sizes.
    """
    low, high = entry.bounds
    is_inverse = (entry.distribution or "").startswith("inv")
    return low >= 0 and (high <= 1 if is_inverse else high <= 1 or high > _USUAL_EXPONENT)


def _repeated(values: Sequence[Any]) -> list[Any]:
    seen = [identity(value) for value in values]
    return [values[seen.index(key)] for key in dict.fromkeys(seen) if seen.count(key) > 1]


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
            "probabilities", f"must be as many as the values, {len(values)}, got {len(probabilities)}"
        )
    shares: dict[Hashable, float] = {}
    for value, share in zip(values, probabilities or [1 / len(values)] * len(values), strict=True):
        shares[identity(value)] = shares.get(identity(value), 0.0) + share
    once = tuple({identity(value): value for value in reversed(values)}.values())[::-1]
    is_even = probabilities is None and len(once) in (1, len(values))
    return Choice(once, None if is_even else tuple(shares[identity(value)] for value in once))


def _int_uniform(entry: Entry) -> Integer:
    low, high = entry.bounds
    for key, bound in (("min", low), ("max", high)):
        if not isinstance(bound, int):
            raise KeyedError(key, f"must be a whole number for int_uniform, got {bound}; or use uniform")
    return Integer(int(low), int(high))


def _uniform(entry: Entry) -> Real:
    low, high = entry.bounds
    if not math.isfinite(float(high) - float(low)):
        raise KeyedError("max", f"is too far from min for a number, got {low} and {high}")
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
    return Real(_exp("min", low), _exp("max", high), log=True)


def _inv_log_uniform(entry: Entry) -> Real:
    low, high = entry.bounds
    return Real(_exp("max", -high), _exp("min", -low), log=True, inverse=True)


def _inv_log_uniform_values(entry: Entry) -> Real:
    real = _log_uniform_values(entry)
    return Real(real.low, real.high, log=True, inverse=True)


def _exp(key: str, exponent: float) -> float:
    if abs(exponent) > _LARGEST_EXPONENT:
        raise KeyedError(key, f"must be an exponent of e from -700 to 700, got {exponent}")
    return math.exp(exponent)


def _stepped(read: Callable[[Entry], Real]) -> Callable[[Entry], Real]:
    """Wrap `read` to round to multiples of q. A whole q gives whole numbers, as in W&B."""

    def read_steps(entry: Entry) -> Real:
        real = replace(read(entry), step=entry.q)
        if max(map(abs, (real.low, real.high))) / entry.q > _MOST_STEPS:
            raise KeyedError("q", f"is too small for numbers up to {real.high:g}, got {entry.q}")
        low, high = real.ends
        if low >= high:
            raise KeyedError("q", f"leaves one value: {real.low:g} and {real.high:g} both round to {low:g}")
        return real

    return read_steps


def _normal(*, log: bool, stepped: bool) -> Callable[[Entry], Normal]:
    def read(entry: Entry) -> Normal:
        ends = [entry.mu + side * _MOST_DEVIATIONS * entry.sigma for side in (-1, 1)]
        if log:
            _exp("mu", entry.mu)
        if not all(map(math.isfinite, ends)) or (log and max(map(abs, ends)) > _LARGEST_EXPONENT):
            text = f"is too large: draws within {_MOST_DEVIATIONS} deviations of mu are beyond any number"
            raise KeyedError("sigma", f"{text}, got {entry.sigma}")
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
    """The entry that `to_parameter` turns back into `parameter`."""
    if isinstance(parameter, Choice):
        entry: dict[str, Any] = {"values": list(parameter.values)}
        return entry | ({"probabilities": list(parameter.probabilities)} if parameter.probabilities else {})
    if isinstance(parameter, Normal):
        name = "log_normal" if parameter.log else "normal"
        return _with_step(name, {"mu": parameter.mean, "sigma": parameter.deviation}, parameter.step)
    name = "log_uniform_values" if parameter.log else "uniform"
    bounds = {"min": parameter.low, "max": parameter.high}
    if isinstance(parameter, Integer):
        return {"distribution": "int_uniform", **bounds}
    if parameter.inverse:
        return {"distribution": f"inv_{name}", **bounds}
    return _with_step(name, bounds, parameter.step)


def _with_step(name: str, entry: dict[str, Any], step: float | None) -> dict[str, Any]:
    if step is None:
        return {"distribution": name, **entry}
    return {"distribution": f"q_{name}", **entry, "q": step}


@dataclass
class Declared:
    """The parameters of a space by name, which is dotted in a nested group: `optimizer.lr`.

    Attributes:
        broken: Names of parameters with problems of their own.
        groups: The keys of each parameter in a nested group, from the outermost on.
        notes: What is read in a way that may surprise.
    """

    entries: dict[str, Parameter | Fixed] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_parameters(
    raw: Any, problems: Problems, *, may_be_fixed: bool = False, is_listed: bool = False
) -> Declared:
    """Read all parameters of a space.

    Args:
        may_be_fixed: Accept parameters that leave nothing to search.
        is_listed: Each value is tried once, however often it is given.
    """
    declared = Declared()
    if not isinstance(raw, dict):
        got = "is missing" if raw is None else f"must be a mapping, got {shown(raw)}"
        problems.add("parameters", f"{got}; write parameters: {{lr: {{min: 0.001, max: 0.1}}}}")
        return declared
    for path, fields in _flattened(raw, ()):
        name = ".".join(path)
        if name in declared.entries or name in declared.broken:
            group = ".".join((path if len(path) > 1 else declared.groups.get(name, path))[:-1])
            text = f"is given twice, as {name} and in the group {group}; give one of them"
            problems.add(f"parameters.{name}", text)
            continue
        _declare(declared, path, fields, problems, is_listed)
    is_fixed = all(isinstance(entry, Fixed) for entry in declared.entries.values())
    if not may_be_fixed and not problems.concern("parameters") and is_fixed:
        problems.add(
            "parameters", "there is nothing to search; give at least one parameter values, or min and max"
        )
    return declared


def _declare(
    declared: Declared, path: tuple[str, ...], fields: Any, problems: Problems, is_listed: bool
) -> None:
    name = ".".join(path)
    is_known = problems.concern(f"parameters.{name}")  # such as an object of Python's, which became null
    read = None if is_known else _read(f"parameters.{name}", fields, problems)
    if read is None:
        declared.broken.append(name)
        return
    entry, parameter = read
    if is_listed and isinstance(parameter, Choice) and entry.probabilities is None:
        parameter = replace(parameter, probabilities=None)
    else:
        declared.notes += [f"parameters.{name}: {note}" for note in notes_of(entry, parameter)]
    declared.entries[name] = parameter
    if len(path) > 1:
        declared.groups[name] = path


def _flattened(raw: Mapping[str, Any], groups: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every parameter with its keys, from the outermost group on."""
    for name, fields in raw.items():
        if isinstance(fields, dict) and isinstance(fields.get("parameters"), dict) and len(fields) == 1:
            yield from _flattened(fields["parameters"], (*groups, name))
        else:
            yield (*groups, name), fields


def _read(where: str, fields: Any, problems: Problems) -> tuple[Entry, Parameter | Fixed] | None:
    if not isinstance(fields, dict):
        key = "values" if isinstance(fields, list) else "value"
        problems.add(where, f"must be a mapping, got {shown(fields)}; write {{{key}: {shown(fields)}}}")
        return None
    entry = validated(Entry, fields, where, problems)
    if problems.concern(where):
        return None
    try:
        return entry, to_parameter(entry)
    except KeyedError as error:
        problems.add(f"{where}.{error.key}", str(error))
    except ValueError as error:
        problems.add(where, str(error))
    return None
