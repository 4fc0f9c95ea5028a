"""The objectives of a space beside its metric, and its constraints: numbers that each trial reports.

`objective: [val_accuracy, latency_ms]` and `constraints: {params_m: {max: 5}}` name them. If a trainable
declares its `measures`, only these may be named, so that a mistyped name is found before anything is trained;
for one that declares none, such as a script, each is named with its direction: `{latency_ms: min}`. Every
trainable has joules. They come last among the objectives: only they have an uncertainty, and rungs allow one
for the last objective only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args

from pydantic import PlainValidator

from search.space.errors import Problems, did_you_mean, listed, shown
from search.space.fields import Number, Section, validated
from trainables.core.contract import Measure, Mode, Trainable

JOULES: Mapping[str, Measure] = {
    "energy": Measure(mode="min", unit="J"),  # of full training
    "energy_per_example": Measure(mode="min", unit="J"),
}
# With four or more objectives nearly all trials are on the front: Deb and Jain 2014, NSGA-III.
_MOST_BESIDE = 2


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A number that is optimised beside the metric.

    Attributes:
        unit: As written on an axis; empty if there is none or it is unknown.
    """

    name: str
    mode: Mode
    unit: str = ""

    @property
    def is_joules(self) -> bool:
        return self.name in JOULES

    @property
    def title(self) -> str:
        """The name with its unit, where the name does not end with it: "energy (J)", "latency_ms"."""
        is_in_name = not self.unit or self.name.endswith(f"_{self.unit.lower()}")
        return self.name if is_in_name else f"{self.name} ({self.unit})"

    def to_item(self) -> str | dict[str, str]:
        """The objective as a space file may write it, whether or not the trainable is known."""
        return self.name if self.is_joules else {self.name: self.mode}


class Bound(Section):
    """The range allowed for a number: at least `min`, at most `max`, or both."""

    EXAMPLE: ClassVar[str] = "{max: 5}"

    min: Number | None = None
    max: Number | None = None

    def broken_by(self, value: float) -> bool:
        """Whether `value` is out of bounds, as any value that is not finite is."""
        return self.violation(value) > 0

    def violation(self, value: float) -> float:
        """How far `value` is out of bounds: 0 or less inside, infinite for a value that is not finite."""
        if not math.isfinite(value):
            return math.inf
        below = -math.inf if self.min is None else self.min - value
        above = -math.inf if self.max is None else value - self.max
        return max(below, above)

    def __str__(self) -> str:
        """The bounds in words, such as "at least 1 and at most 5"."""
        ends = {"at least": self.min, "at most": self.max}
        return " and ".join(f"{words} {end:g}" for words, end in ends.items() if end is not None)


Named = tuple[str, Mode | None]  # an objective as the file names it, with its direction if given


def _named(value: Any) -> tuple[Named, ...]:
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(_item(item) for item in items)


def _item(item: Any) -> Named:
    if isinstance(item, str) and item.strip():
        return item, None
    if isinstance(item, Mapping) and len(item) == 1:
        ((name, mode),) = item.items()
        if isinstance(name, str) and mode in get_args(Mode):
            return name, mode
    raise ValueError(
        f"must be names, or names with min or max such as {{latency_ms: min}}, got {shown(item)}"
    )


NamedObjectives = Annotated[tuple[Named, ...], PlainValidator(_named)]


def objectives_of(
    given: Sequence[Named], metric: str, mode: Mode, trainable: Trainable, problems: Problems
) -> tuple[Objective, ...]:
    """The objectives beside the metric, joules last; adds what is wrong with them to `problems`."""
    where = "search.objective"
    (first, first_mode), *rest = given or ((metric, None),)
    if first != metric:
        problems.add(where, f"must begin with the metric, {metric}, got {first!r}")
    elif first_mode not in (None, mode):
        problems.add(where, f"must be {mode} for {metric}, got {first_mode}")
    names = [name for name, _ in rest]
    if len(rest) > _MOST_BESIDE:
        problems.add(where, f"takes one or two numbers beside the metric, got {listed(names)}")
    if twice := sorted({name for name in names if names.count(name) > 1 or name == metric}):
        problems.add(where, f"names {listed(twice)} twice")
    if set(JOULES) <= set(names):
        problems.add(where, f"takes only one of {listed(JOULES)}")
    found = [_objective(where, name, given_mode, trainable, problems) for name, given_mode in rest]
    return tuple(sorted(filter(None, found), key=lambda each: each.is_joules))


def _objective(
    where: str, name: str, mode: Mode | None, trainable: Trainable, problems: Problems
) -> Objective | None:
    known = {**trainable.measures, **JOULES}
    if name in known:
        measure = known[name]
        if mode not in (None, measure.mode):
            problems.add(where, f"must be {measure.mode} for {name}, got {mode}")
        return Objective(name=name, mode=measure.mode, unit=measure.unit)
    if trainable.measures:
        problems.add(where, _unknown(name, known))
    elif mode is None:
        text = f"{name} is not known; if the trainable reports it, say whether less or more is better: "
        problems.add(where, f"{text}{{{name}: min}}{did_you_mean(name, known)}")
    else:
        return Objective(name=name, mode=mode)
    return None


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    return f"{name} is not declared by this trainable (there are {listed(known)}){_near(name, known)}"


def _near(name: str, known: Mapping[str, Any]) -> str:
    hint = did_you_mean(name, known)
    return hint if hint.startswith(";") else ""


def constraints_of(
    given: Mapping[str, Any], metric: str, trainable: Trainable, problems: Problems
) -> dict[str, Bound]:
    """The bounds by the name of what they constrain; adds what is wrong with them to `problems`."""
    found = {}
    for name, raw in given.items():
        where = f"search.constraints.{name}"
        if name == metric:
            text = "is the metric, which is worst in the first epochs; use search.early_stop_threshold"
            problems.add(where, text)
        elif name in JOULES:
            problems.add(
                where, "joules cannot be constrained; use them as an objective, or a ladder of joules"
            )
        elif trainable.measures and name not in trainable.measures:
            problems.add(where, _unknown(name, trainable.measures))
        else:
            found[name] = _bound(where, raw, problems)
    return {name: bound for name, bound in found.items() if bound is not None}


def _bound(where: str, raw: Any, problems: Problems) -> Bound | None:
    bound = validated(Bound, raw, where, problems)
    if problems.concern(where):
        return None
    if bound.min is None and bound.max is None:
        problems.add(where, "must have min or max, such as {max: 5}")
    elif bound.min is not None and bound.max is not None and bound.min > bound.max:
        problems.add(f"{where}.min", f"is above max, {bound.max:g}, got {bound.min:g}")
    else:
        return bound
    return None
