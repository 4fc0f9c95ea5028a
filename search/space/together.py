"""Which values of a space go together, and the configuration of trial 0.

A trainable's rules are about whole configurations: resnet20 has no weights on a hub, resnet18 does. So values
are checked with the other values of the space, not with the trainable's defaults, which it may never train.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from search.space.conditions import Conditions, is_active
from search.space.errors import Problems, listed, shown
from search.space.hparams import HparamsCheck, probes
from search.space.parameters import Choice, Fixed, Parameter, identity, is_same

Point = Mapping[str, Any]
Entries = Mapping[str, Parameter | Fixed]

_MOST_TRIED = 500  # combinations of names; above that only pairs of values, with the first of all others
_MOST_PER_NUMBER = 100


def is_name(value: Any) -> bool:
    """Whether a value decides what is built rather than how much of it: text, true, false or null."""
    return value is None or isinstance(value, str | bool)


def combinations(parameters: Entries, *, most: int) -> Iterator[dict[str, Any]]:
    """Every combination of the choices that have names among their values.

    Args:
        most: If there are more combinations, yield only those of each pair of choices.
    """
    choices = {
        name: parameter.values
        for name, parameter in parameters.items()
        if isinstance(parameter, Choice) and any(map(is_name, parameter.values))
    }
    groups: Iterable[tuple[str, ...]] = [tuple(choices)]
    if math.prod(map(len, choices.values())) > most:
        groups = itertools.combinations(choices, 2)
    for names in groups:
        for values in itertools.product(*(choices[name] for name in names)):
            yield dict(zip(names, values, strict=True))


class ValuesTogether:
    """Checks the values of one space with each other.

    Args:
        entries: The parameters, under the trainable's own names and of kinds that it accepts.
    """

    def __init__(self, entries: Entries, when: Conditions, check: HparamsCheck) -> None:
        self._entries, self._when, self._check = entries, when, check
        self._fixed = {name: each.value for name, each in entries.items() if isinstance(each, Fixed)}
        first = {name: each.values[0] for name, each in entries.items() if isinstance(each, Choice)}
        points = [
            self._active({**{name: value for name, value in first.items() if is_name(value)}, **chosen})
            for chosen in combinations(entries, most=_MOST_TRIED)
        ]
        self._points = list({identity(point): point for point in points}.values())

    def run(self, problems: Problems) -> None:
        """Add to `problems` every value that the trainable rejects with the other values of the space.

        If it accepts the value with some of them, the problem says which condition to write.
        """
        refusals = [self._check.refusal({**self._fixed, **point}) for point in self._points]
        accepted = [point for point, refusal in zip(self._points, refusals, strict=True) if refusal is None]
        if not accepted:
            self._blame(str(refusals[0]), problems)
            return
        refused = [(point, refusal) for point, refusal in zip(self._points, refusals, strict=True) if refusal]
        for name, value in self._named_values():
            self._judge(
                name, value, accepted, [each for each in refused if _has(each[0], name, value)], problems
            )
        for name, entry in self._entries.items():
            if not isinstance(entry, Fixed) and not (isinstance(entry, Choice) and name in accepted[0]):
                self._try_numbers(name, entry, accepted[:_MOST_PER_NUMBER], problems)

    def default(self, given: Point, candidates: Sequence[Point]) -> Point | None:
        """Values of trial 0 that replace the trainable's defaults, fixed ones aside; None if none fit.

        A choice among names gets its first name if the default is not one of them. If the trainable rejects
        that, the first of `candidates` that it accepts is used, or else the first values that go together.

        Args:
            given: The space's own values for trial 0.
            candidates: Points of the space, each partial, the best first.
        """
        own = {name: value for name, value in self._first_names() if name not in given}
        if self._check.refusal({**own, **given, **self._fixed}) is None:
            return {**own, **given}
        needed = [
            {name: value for name, value in point.items() if self._lacks_default(name)}
            for point in self._points
        ]
        for point in (*candidates, *needed, *self._points):
            tried = {**point, **given}
            if self._check.refusal({**tried, **self._fixed}) is None:
                return {name: value for name, value in tried.items() if name not in self._fixed}
        return None

    def _first_names(self) -> Iterator[tuple[str, str]]:
        """Yield the first name of each choice that lacks the trainable's default, such as one of models."""
        for name, value in self._points[0].items():
            if isinstance(value, str) and self._lacks_default(name):
                yield name, value

    def _lacks_default(self, name: str) -> bool:
        """Whether the parameter is a choice without the trainable's own default."""
        entry = self._entries[name]
        return isinstance(entry, Choice) and not entry.contains(self._check.default(name))

    def _active(self, chosen: Point) -> dict[str, Any]:
        """The chosen values that are active, with the other values that their conditions require."""
        numbers = {
            other: values[0]
            for name in chosen
            for other, values in self._when.get(name, {}).items()
            if other not in chosen and other not in self._fixed and values
        }
        whole = {**self._fixed, **numbers, **chosen}
        active = {name: value for name, value in chosen.items() if is_active(name, whole, self._when)}
        return {**{name: value for name, value in numbers.items() if name in self._entries}, **active}

    def _named_values(self) -> Iterator[tuple[str, Any]]:
        for name, entry in self._entries.items():
            if isinstance(entry, Choice) and any(map(is_name, entry.values)):
                yield from ((name, value) for value in entry.values)

    def _judge(
        self,
        name: str,
        value: Any,
        accepted: Sequence[Point],
        refused: Sequence[tuple[Point, str]],
        problems: Problems,
    ) -> None:
        """Report a value that is refused with all others, or with certain values of another choice."""
        if not refused:
            return
        if not any(_has(point, name, value) for point in accepted):
            problems.add(f"parameters.{name}", refused[0][1])
            return
        for other in list(self._entries)[: list(self._entries).index(name)]:
            bad = self._refused_values(other, accepted, [point for point, _ in refused], name, value)
            if bad:
                self._advise(name, value, other, bad, refused[0][1], problems)
                return

    def _refused_values(
        self, other: str, accepted: Sequence[Point], refused: Sequence[Point], name: str, value: Any
    ) -> list[Any]:
        """Values of another choice that are accepted, but never together with this value."""
        entry = self._entries[other]
        if not isinstance(entry, Choice):
            return []
        goes_at_all = [each for each in entry.values if any(_has(point, other, each) for point in accepted)]
        return [
            each
            for each in goes_at_all
            if any(_has(point, other, each) for point in refused)
            and not any(_has(point, other, each) and _has(point, name, value) for point in accepted)
        ]

    def _try_numbers(
        self, name: str, entry: Parameter, accepted: Sequence[Point], problems: Problems
    ) -> None:
        for value in probes(entry):
            needed = {other: values[0] for other, values in self._when.get(name, {}).items() if values}
            points = [{**needed, **point} for point in accepted]
            points = [point for point in points if self._is_searched(name, point)] or [
                {**point, **needed} for point in accepted[:1]
            ]
            refusals = [self._check.refusal({**self._fixed, **point, name: value}) for point in points]
            refused = [(point, text) for point, text in zip(points, refusals, strict=True) if text]
            if len(refused) == len(points):
                problems.add(f"parameters.{name}", refused[0][1])
            elif refused:
                self._advise_number(name, value, points, refused, problems)

    def _is_searched(self, name: str, point: Point) -> bool:
        return is_active(name, {**self._fixed, **point}, self._when)

    def _advise_number(
        self,
        name: str,
        value: Any,
        points: Sequence[Point],
        refused: Sequence[tuple[Point, str]],
        problems: Problems,
    ) -> None:
        """Report with which values of a choice a number is refused, if that explains every refusal."""
        bad_points = [point for point, _ in refused]
        for other, entry in self._entries.items():
            if not isinstance(entry, Choice) or other == name:
                continue
            bad = [each for each in entry.values if any(_has(point, other, each) for point in bad_points)]
            with_bad = [point for point in points if any(_has(point, other, each) for each in bad)]
            if bad and len(bad) < len(entry.values) and len(with_bad) == len(bad_points):
                self._advise(name, value, other, bad, refused[0][1], problems)
                return
        problems.add(f"parameters.{name}", refused[0][1])

    def _advise(
        self, name: str, value: Any, other: str, bad: Sequence[Any], refusal: str, problems: Problems
    ) -> None:
        entry = self._entries[other]
        assert isinstance(entry, Choice)
        good = [each for each in entry.values if not any(is_same(each, one) for one in bad)]
        text = f"{shown(value)} does not go with {other} {listed(map(str, bad))}: {refusal}"
        condition = f"write search.when: {{{name}: {{{other}: [{', '.join(map(shown, good))}]}}}}"
        problems.add(f"parameters.{name}", f"{text}; or {condition}")

    def _blame(self, refusal: str, problems: Problems) -> None:
        """When nothing is accepted, report the values that are refused on their own for that reason."""
        values = {name: [value] for name, value in self._fixed.items()}
        values |= {
            name: list(each.values) for name, each in self._entries.items() if isinstance(each, Choice)
        }
        guilty = {}
        for name, those in values.items():
            alone = [self._check.refusal({name: value}) for value in those]
            if all(alone) and str(alone[0]) in refusal:
                guilty[f"parameters.{name}"] = str(alone[0])
        for where, text in (guilty or {"parameters": refusal}).items():
            problems.add(where, text)


def _has(point: Point, name: str, value: Any) -> bool:
    return name in point and is_same(point[name], value)
