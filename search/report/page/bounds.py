"""Whether a value lies at a bound of its parameter's range. Pure.

A best value at the end of its range is the most useful hint of a search: the optimum probably lies beyond. It
is given only where something can be done about it: where the trainable accepts values beyond the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from search.ledger.history import TrialRecord
from search.space import Choice, Normal, Parameter, Space
from search.space.parameters import Edge, beyond, is_number, is_same

# Share of the range, on its own scale. A random value is that close to one of the two bounds once in 25
# times, so with five parameters one search in five warns by chance: a hint, not a test.
_NEAR_SHARE = 0.02


def reached_bounds(
    space: Space, best: TrialRecord, accepts: Callable[[Mapping[str, Any]], bool] = lambda hparams: True
) -> dict[str, Edge]:
    """The searched parameters whose lower or upper bound the best trial has reached.

    Args:
        accepts: Whether the trainable accepts these hparams: a dropout of 0, for one, cannot be lowered.
    """
    found = {
        name: reached_bound(parameter, best.hparams[name])
        for name, parameter in space.parameters.items()
        if name in best.hparams and space.is_active(name, best.hparams)
    }
    return {
        name: edge
        for name, edge in found.items()
        if edge and accepts({**best.hparams, name: beyond(space.parameters[name], edge)})
    }


def reached_bound(parameter: Parameter, value: Any) -> Edge | None:
    """The bound that `value` has reached; None inside the range, and if there is no order or no bound.

    An ordered choice has bounds too, its smallest and largest value, and only those values themselves reach
    them. A normal distribution has none.
    """
    if isinstance(parameter, Choice):
        ordered = sorted(parameter.values) if parameter.is_ordered else []
        ends: list[tuple[Edge, Any]] = [("lower", ordered[0]), ("upper", ordered[-1])] if ordered else []
        return next((edge for edge, end in ends if is_same(end, value)), None)
    if isinstance(parameter, Normal) or not is_number(value):
        return None
    low, high = parameter.ends
    if parameter.log and low == 0:  # a step rounded it down to 0, which a logarithmic scale does not have
        low, value = parameter.low, max(value, parameter.low)
    low, high, at = (_scaled(number, parameter.log) for number in (low, high, value))
    share = (at - low) / (high - low)
    if share <= _NEAR_SHARE:
        return "lower"
    return "upper" if share >= 1 - _NEAR_SHARE else None


def bound_sentence(name: str) -> str:
    """The advice for a parameter whose bound was reached."""
    return f"the best {name} is at a bound of its range: widen it"


def _scaled(number: float, is_log: bool) -> float:
    """The place of a number on its own scale: on a range from 0.001 to 1, log, 0.03 is in the middle."""
    return math.log(number) if is_log and number > 0 else number
