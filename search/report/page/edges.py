"""Whether a value lies where its parameter's range ends. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from search.ledger.history import TrialRecord
from search.space import Choice, Integer, Normal, Parameter, Real, Space
from search.space.parameters import is_number, is_same

_NEAR_SHARE = 0.02  # of a range in its own scale: a random point is that near to an end once in 25 times

Edge = Literal["lower", "upper"]


def edges(
    space: Space, best: TrialRecord, accepts: Callable[[Mapping[str, Any]], bool] = lambda hparams: True
) -> dict[str, Edge]:
    """The searched parameters at whose lower or upper end the best trial lies.

    Args:
        accepts: Whether there is anything beyond: a rate of 0 is at the end of what can be.
    """
    found = {
        name: edge_of(parameter, best.hparams[name])
        for name, parameter in space.parameters.items()
        if name in best.hparams and space.is_active(name, best.hparams)
    }
    return {
        name: edge
        for name, edge in found.items()
        if edge and accepts({**best.hparams, name: beyond(space.parameters[name], edge)})
    }


def edge_of(parameter: Parameter, value: Any) -> Edge | None:
    """The end that `value` lies at; None within the range, and where there is no order or no end."""
    if isinstance(parameter, Choice):
        ordered = sorted(parameter.values) if parameter.is_ordered else []
        ends: list[tuple[Edge, Any]] = [("lower", ordered[0]), ("upper", ordered[-1])] if ordered else []
        return next((edge for edge, end in ends if is_same(end, value)), None)
    if isinstance(parameter, Normal) or not is_number(value):
        return None
    low, high = parameter.ends
    if parameter.log and low == 0:  # where a step rounds to; a logarithmic scale has no place for it
        low, value = parameter.low, max(value, parameter.low)
    low, high, at = (_scaled(number, parameter.log) for number in (low, high, value))
    share = (at - low) / (high - low)
    if share <= _NEAR_SHARE:
        return "lower"
    return "upper" if share >= 1 - _NEAR_SHARE else None


def beyond(parameter: Parameter, edge: Edge) -> float | int:
    """A value as far outside the range as the next one within, or a tenth of a range without steps.

    Args:
        parameter: One that `edge_of` has found an end of.
    """
    assert not isinstance(parameter, Normal)
    ordered = sorted(parameter.values) if isinstance(parameter, Choice) else _points(parameter)
    end, inner = ordered[:2] if edge == "lower" else ordered[:-3:-1]
    is_ratio = min(ordered) > 0 and (isinstance(parameter, Choice) or parameter.log)
    outer = end * end / inner if is_ratio else end + (end - inner)
    return math.floor(outer) if isinstance(end, int) and isinstance(inner, int) else outer


def _points(parameter: Real | Integer) -> list[float]:
    low, high = parameter.ends
    if parameter.step is not None:
        return [low, low + parameter.step, high - parameter.step, high]
    share = (high / low) ** 0.1 if parameter.log else 0.1 * (high - low)
    inner = (low * share, high / share) if parameter.log else (low + share, high - share)
    return [low, *inner, high]


def edge_sentence(name: str) -> str:
    """What a person is told of it."""
    return f"best point lies on the edge of {name}: widen it"


def _scaled(number: float, is_log: bool) -> float:
    return math.log(number) if is_log and number > 0 else number
