"""What a sampler is asked for and told: its contract, and the sampler that reads from a list."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search.history import Origin, Status
from search.space import Choice, Integer, Parameter, Space


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A configuration to train: all hparams of the trainable, and who proposed it.

    Attributes:
        seed: The trial's seed; None is the run's own, so that trials differ in hparams alone.
        source: The trial of an earlier run that this one repeats (promotion).
    """

    hparams: Mapping[str, Any]
    origin: Origin
    seed: int | None = None
    source: str = ""


class Sampler(Protocol):
    """Proposes configurations and is told the truth about every one of them."""

    def ask(self, trial_id: str) -> Proposal | None:
        """The configuration that trial `trial_id` shall train; None when there are no more."""
        ...

    def report(self, trial_id: str, rung: int, value: float) -> None:
        """Tell the value at the end of a rung, the one the trial is stopped at too."""
        ...

    def finish(self, trial_id: str, status: Status) -> None:
        """Tell how the trial ended. Every trial asked for is finished exactly once."""
        ...


class FixedList:
    """Proposes a given list in its order and learns nothing: promotion and explicit lists."""

    def __init__(self, proposals: Sequence[Proposal]) -> None:
        self._proposals = deque(proposals)

    def ask(self, trial_id: str) -> Proposal | None:
        return self._proposals.popleft() if self._proposals else None

    def report(self, trial_id: str, rung: int, value: float) -> None:
        return None

    def finish(self, trial_id: str, status: Status) -> None:
        return None


Point = tuple[dict[str, Any], Origin]


def first_points(space: Space, defaults: Mapping[str, Any]) -> list[Point]:
    """What every search begins with: the default configuration, then the space's start points."""
    starts: list[Point] = [({**defaults, **point}, "start") for point in space.start]
    return [(dict(defaults), "default"), *starts]


def grid_points(space: Space, defaults: Mapping[str, Any]) -> list[Point]:
    """Every combination of the listed values once, without those that a search begins with.

    A parameter that its condition switches off keeps its default, so combinations that differ in
    it alone are one.
    """
    seen = [point for point, _ in first_points(space, defaults)]
    grid: list[Point] = []
    for values in itertools.product(*(_listed(parameter) for parameter in space.parameters.values())):
        chosen = dict(zip(space.parameters, values, strict=True))
        point = dict(defaults)
        for name in space.search_order():
            if space.is_active(name, point):
                point[name] = chosen[name]
        if point not in seen:
            seen.append(point)
            grid.append((point, "sampler"))
    return grid


def _listed(parameter: Parameter) -> Sequence[Any]:
    if isinstance(parameter, Choice):
        return parameter.values
    assert isinstance(parameter, Integer), "the space lets nothing else into a grid"
    return range(parameter.low, parameter.high + 1, parameter.step)
