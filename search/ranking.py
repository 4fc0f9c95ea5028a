"""Which configuration is better: the largest budget first, then the metric. Pure."""

from __future__ import annotations

import statistics
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from search.energy.reading import whole_mj
from search.ledger.history import TrialRecord
from search.space.parameters import identity
from trainables.core.contract import Mode

# The negated rung, the mean with smaller being better, and the first trial's number.
_Place = tuple[int, float, int]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One point of the space with its repeats: trials that differ in nothing but their seed.

    Attributes:
        trials: All its trials, in the order in which they were asked for.
        scored: The trials that can be compared, at least one.
        rung: The highest rung that all scored trials completed. If a rung let one repeat pass and stopped
            another, both are compared at that rung: the one that passed may just have been luckier.
        values: The metric of the scored trials at `rung`.
    """

    trials: tuple[TrialRecord, ...]
    scored: tuple[TrialRecord, ...]
    rung: int
    values: tuple[float, ...]

    @property
    def first(self) -> TrialRecord:
        """The repeat that represents all: the oldest with a score, never the luckiest."""
        return self.scored[0]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over repeats; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def energy_mj(self) -> int | None:
        """Millijoules of all repeats, failed ones included; None if those of one are unknown."""
        return whole_mj(trial.energy.total_mj for trial in self.trials)

    @property
    def num_failed(self) -> int:
        return sum(trial.status in _NO_RESULT for trial in self.trials)

    @property
    def num_open(self) -> int:
        """Repeats that have completed no rung and did not fail: they wait, or were interrupted."""
        return len(self.trials) - len(self.scored) - self.num_failed

    @property
    def num_higher(self) -> int:
        """Repeats that completed a higher rung than the one they are all compared at."""
        return sum((trial.rung or 0) > self.rung for trial in self.scored)


_NO_RESULT = {"failed", "diverged", "infeasible"}


def configurations(
    trials: Iterable[TrialRecord], metric: str, mode: Mode, *, repeats: int = 1
) -> list[Configuration]:
    """Return the configurations with a score, best first.

    A score from a larger budget ranks before any from a smaller one: cheap scores are noisier and favour
    fast starters. Repeats count by their mean. Of equals the older comes first. Failed, diverged and
    infeasible trials, and those that completed no rung, enter no mean, but each configuration counts them.

    Args:
        repeats: The space's number of repeats. With 1 each trial is a configuration of its own.
    """
    found = [_configuration(group, metric) for group in _groups(trials, repeats)]
    return sorted(filter(None, found), key=lambda each: _place(each, mode))


class Ranking:
    """The configurations of a run as `configurations` returns them, kept up to date trial by trial.

    An update reads only the trial and its repeats, and finds their place by bisection.
    """

    def __init__(self, trials: Iterable[TrialRecord], metric: str, mode: Mode, *, repeats: int = 1) -> None:
        self._metric, self._mode, self._repeats = metric, mode, repeats
        self._groups: dict[object, dict[str, TrialRecord]] = {}  # repeats of each point, in their order
        self._points: dict[str, object] = {}
        self._places: dict[object, _Place] = {}
        self._ordered: list[tuple[_Place, Configuration]] = []
        for trial in trials:
            self.update(trial)

    def configurations(self) -> list[Configuration]:
        """Return the configurations with a score, best first."""
        return [each for _, each in self._ordered.copy()]  # the live view calls this from its own thread

    def ranked(self) -> list[TrialRecord]:
        """Return the trials that have a score, those of the best configuration first."""
        return [trial for each in self.configurations() for trial in each.scored]

    def best(self) -> TrialRecord | None:
        """Return the trial that represents the best configuration, or None."""
        return next((each.first for _, each in self._ordered[:1]), None)

    def place_of(self, trial: TrialRecord) -> tuple[float, ...]:
        """Return the key by which the trial is ordered; smaller is better.

        Raises:
            KeyError: The trial is in no configuration that has a score.
        """
        return *self._places[self._points[trial.trial_id]], trial.number

    def update(self, trial: TrialRecord) -> None:
        """Add a new trial, or update one that has changed."""
        if trial.trial_id not in self._points:
            self._points[trial.trial_id] = identity(trial.hparams) if self._repeats > 1 else trial.trial_id
        point = self._points[trial.trial_id]
        group = self._groups.setdefault(point, {})
        group[trial.trial_id] = trial
        if (place := self._places.pop(point, None)) is not None:
            del self._ordered[bisect_left(self._ordered, place, key=itemgetter(0))]
        if found := _configuration(list(group.values()), self._metric):
            self._places[point] = _place(found, self._mode)
            insort(self._ordered, (self._places[point], found), key=itemgetter(0))


def _place(each: Configuration, mode: Mode) -> _Place:
    sign = 1 if mode == "max" else -1
    return -each.rung, -sign * each.mean, each.first.number


def is_comparable(trial: TrialRecord, metric: str) -> bool:
    """Whether the trial has a score at a rung and did not fail."""
    is_sound = trial.status not in _NO_RESULT
    return is_sound and trial.rung is not None and trial.value(metric) is not None


def _groups(trials: Iterable[TrialRecord], repeats: int) -> Iterable[list[TrialRecord]]:
    if repeats == 1:
        return ([trial] for trial in trials)
    groups: dict[object, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(identity(trial.hparams), []).append(trial)
    return groups.values()


def _configuration(trials: list[TrialRecord], metric: str) -> Configuration | None:
    scored = [trial for trial in trials if is_comparable(trial, metric)]
    if not scored:
        return None
    rung = min(trial.rung for trial in scored if trial.rung is not None)
    values = [_value_from(trial, metric, rung) for trial in scored]
    return Configuration(trials=tuple(trials), scored=tuple(scored), rung=rung, values=tuple(values))


def _value_from(trial: TrialRecord, metric: str, rung: int) -> float:
    """Return the metric at `rung`, or at the next rung that the trial completed: some may be skipped."""
    assert trial.rung is not None, "is_comparable"
    if rung == trial.rung:
        value = trial.value(metric)
    else:
        values = (trial.value_at(metric, each) for each in range(rung, trial.rung + 1))
        value = next((found for found in values if found is not None), None)
    assert value is not None, "is_comparable"
    return value
