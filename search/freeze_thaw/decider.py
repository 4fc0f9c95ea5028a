"""Freeze-thaw search: which paused trial is trained a little further, or which new one is started. Pure.

After Swersky, Snoek and Adams 2014 (arXiv 1406.3896): a model of all curves predicts what each trial, paused
or not yet started, would reach at the end, and the one with the largest expected improvement is trained, for
a third more epochs than it has and not to its end. DyHPO (Wistuba et al. 2022, arXiv 2202.09774) and ifBO
(Rakotoarison et al. 2024, arXiv 2404.16795) do the same. Here the choice is hedged: half of the decisions
follow the ranks at rungs until the model has shown how well it ranks trials (see guard.py), and three in ten
of the others are a random point.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from scipy.stats import qmc

from search.budget import grid_of
from search.freeze_thaw.curve_model import (
    CurveModel,
    log_expected_improvement,
    probability_of_improvement,
)
from search.freeze_thaw.curves import MOST_ROWS, THINNED_ROWS, Curves
from search.freeze_thaw.guard import Guard
from search.freeze_thaw.points import Points, candidates
from search.space import Space
from search.space.parameters import identity

Decider = Literal["rung", "model", "random"]
_DESIGN = 8  # trials before the model is asked
# BOHB draws 1/3 of its points at random, DyHPO 1/10. Without any, expected improvement keeps to the regions
# of fast starters.
_RANDOM = 0.3
_NUM_BEST = 5
_FIRST_FIT, _GROWTH = 8, 1.3
# Fraction of decisions by rank before the guard has seen anything: at 0.8 a search took 50 % more epochs.
_RUNGS_SHARE = 0.5
MOST_DRAWS = 20  # attempts at a point that was not tried before
_WITHIN_80 = 1.2816  # deviations on either side
_KEPT, _LEAST_CHANCE = 20, 0.01  # paused trials that keep their state


@dataclass(frozen=True)
class Choice:
    """The trial that is trained next.

    Attributes:
        trial_id: A paused trial; None means a new one at `hparams`.
        decided_by: What made the choice: ranks at a rung, the model, or chance.
        score: The model's log expected improvement; None if it was not asked.
    """

    trial_id: str | None
    decided_by: Decider
    hparams: Mapping[str, Any] | None = None
    score: float | None = None


@dataclass(frozen=True)
class Foreseen:
    """The model's prediction of a value, and the value observed, in units of the metric.

    Attributes:
        low, high: Ends of the 80 % interval.
    """

    low: float
    expected: float
    high: float
    value: float


class FreezeThaw:
    """The values of every trial, and the choices that follow; the same events in order give the same choices.

    Args:
        defaults: The default configuration: every hparam of the trainable.
        ends: Epochs at the end of each rung.
    """

    def __init__(
        self,
        space: Space,
        defaults: Mapping[str, Any],
        ends: Sequence[int],
    ) -> None:
        self._points = Points(space, defaults)
        self._seen: set[Hashable] = set()
        self._curves = Curves(grid_of(ends))
        self._ends, self._seed, self._eta = list(ends), space.training.seed, space.scheduler.eta
        self._sign = 1.0 if space.mode == "max" else -1.0
        self.guard = Guard(_RUNGS_SHARE)
        self._shares: dict[str, Any] = {}
        self._running: dict[str, None] = {}
        self._gone: set[str] = set()
        self._num_decisions = 0
        self._model = CurveModel(self._points.num_features)
        self._fitted_at = 0
        self._fitted: list[int] = []
        self._rows: list[int] = []  # those that the model has been given

    def on_asked(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        """Record that a trial starts."""
        self._num_decisions += 1
        self._seen.add(identity(hparams))
        self._curves.start(trial_id, self._points.features(hparams))
        self._shares[trial_id] = self._points.shares(hparams)
        self._running[trial_id] = None

    def on_resumed(self, trial_id: str) -> None:
        """Record that a paused trial is trained further."""
        self._num_decisions += 1
        self._gone.discard(trial_id)
        self._running[trial_id] = None

    def on_epoch(self, trial_id: str, epoch: int, value: float) -> Foreseen | None:
        """Record the value of an epoch and return the model's prediction of it, if there was one."""
        score, foreseen = self._sign * value, None
        if math.isfinite(value) and self._curves.next_epoch(trial_id) == epoch:
            foreseen = self._compare(trial_id, epoch, score)
        self._curves.add(trial_id, epoch, score)
        return foreseen

    def _compare(self, trial_id: str, epoch: int, score: float) -> Foreseen | None:
        """Show the guard how ranks and the model had ranked this trial; for its first epoch neither had."""
        before = self._curves.reached(trial_id)
        if not before or not self._has_model:
            return None
        at, at_before = self._curves.value_at(epoch), self._curves.value_at(before)
        self._fit()
        expected, deviation = self._model.beliefs(
            self._curves.rows(self._rows),
            self._curves.scaled(self._rows),
            self._curves.point(trial_id)[None],
            np.array([self._curves.number(trial_id)]),
            self._curves.time(epoch),
        )
        reach = _WITHIN_80 * math.hypot(float(deviation[0]), math.sqrt(self._model.kernel.noise))
        low, middle, high = (
            self._curves.unscaled(float(expected[0]) + off, self._rows) for off in (-reach, 0.0, reach)
        )
        self.guard.on_arrival(
            score,
            middle,
            list(at.values()),
            at_before[trial_id],
            [at_before[each] for each in at],
            is_covered=low <= score <= high,
        )
        low, high = sorted((self._sign * low, self._sign * high))
        return Foreseen(low, self._sign * middle, high, self._sign * score)

    def on_paused(self, trial_id: str) -> None:
        """Record that a trial no longer runs."""
        self._running.pop(trial_id, None)

    def on_diverged(self, trial_id: str) -> None:
        """Record that a trial's value is NaN or infinite: its next epoch counts as the lowest value seen."""
        if (epoch := self._curves.next_epoch(trial_id)) is not None:
            self._curves.add(trial_id, epoch, math.nan)

    def learn_feasibility(self, hparams: Mapping[str, Any], *, fits: bool) -> None:
        """Record whether a trial was feasible: it had enough memory and broke no constraint.

        New points keep away from infeasible ones.
        """
        if self._points.contains(hparams):
            self._points.feasibility.learn(self._points.codes(hparams), fits=fits)

    def new_point(self, chosen: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the chosen point, or a random one if that was tried before or is unlikely to be feasible.

        If no draw is likely to be feasible, return the likeliest; None if each repeats a point tried before.
        """
        feasibility, unlikely = self._points.feasibility, []
        for draw in range(MOST_DRAWS):
            point = self._random_point(draw) if chosen is None or draw else chosen
            if identity(point) in self._seen:
                continue
            codes = self._points.codes(point)
            if feasibility.is_likely(codes):
                return point
            unlikely.append((feasibility.clearance(codes), point))
        return max(unlikely, key=itemgetter(0))[1] if unlikely else None

    def _random_point(self, draw: int) -> Mapping[str, Any]:
        chance = np.random.default_rng([self._seed, self._num_decisions, draw])
        return self._points.hparams(chance.uniform(size=self._points.num_parameters))

    def furthest(self) -> str | None:
        """Return the best of the paused trials that have reached the highest epoch, or None."""
        reached = {trial_id: self._curves.reached(trial_id) for trial_id in self._paused}
        if not (top := max(reached.values(), default=0)):
            return None
        values = self._curves.value_at(top)
        return max((each for each, epoch in reached.items() if epoch == top), key=lambda each: values[each])

    def withdraw(self, trial_id: str) -> None:
        """Never choose this trial: it failed, diverged, ended or lost its checkpoint. Its values stay."""
        self._running.pop(trial_id, None)
        self._gone.add(trial_id)

    def choose(self, *, may_start: bool = True, lowest_rung: int = 0) -> Choice | None:
        """Return what a free worker trains; None if no trial may start and ranks let none continue.

        Args:
            lowest_rung: Ranks at rungs below this one are not followed.
        """
        chance = np.random.default_rng([self._seed, self._num_decisions])
        first, second = chance.uniform(size=2)
        if may_start and len(self._curves.trials) < _DESIGN:
            return self._start(self._design_point(), "random")
        if first < self.guard.share and (due := self._due_by_rungs(lowest_rung)) is not None:
            return Choice(due, "rung")
        # If low ranks mislead, so does a model that has seen ten short curves for each long one.
        is_misled = lowest_rung > 0 or not self._has_model
        if may_start and (second < _RANDOM or is_misled):
            return self._start(chance.uniform(size=self._points.num_parameters), "random")
        if not may_start:  # the search is ending: only what ranks have chosen
            due = self._due_by_rungs(lowest_rung)
            return None if due is None else Choice(due, "rung")
        return self._best_by_model(chance)

    def _start(self, shares: Any, decided_by: Decider, score: float | None = None) -> Choice:
        return Choice(None, decided_by, self._points.hparams(shares), score)

    def _design_point(self) -> Any:
        """Return the next point of a Sobol sequence, which spreads the first few trials evenly."""
        number = len(self._curves.trials)
        sequence = qmc.Sobol(self._points.num_parameters, seed=self._seed)
        return sequence.random(_DESIGN)[number]

    @property
    def _has_model(self) -> bool:
        return len(self._curves) >= _FIRST_FIT

    @property
    def _paused(self) -> list[str]:
        """Trials that are paused below the top."""
        return [
            trial_id
            for trial_id in self._curves.trials
            if trial_id not in self._running
            and trial_id not in self._gone
            and self._curves.next_epoch(trial_id) is not None
        ]

    def _due_by_rungs(self, lowest_rung: int) -> str | None:
        """Return the best waiting trial in the top 1/eta of its rung, of the highest rung that has one."""
        waiting = set(self._paused)
        for rung in reversed(range(lowest_rung, len(self._ends) - 1)):
            for trial_id in self._passing(rung):
                if trial_id in waiting and self._curves.reached(trial_id) < self._ends[rung + 1]:
                    return trial_id
        return None

    def _passing(self, rung: int) -> list[str]:
        """Return the best 1/eta of the trials that completed a rung."""
        results = self._curves.value_at(self._ends[rung])
        num = int(len(results) / self._eta)
        return heapq.nsmallest(num, results, key=lambda trial_id: -results[trial_id]) if num else []

    def _chosen_by_ranks(self) -> set[str]:
        return {trial_id for rung in range(len(self._ends) - 1) for trial_id in self._passing(rung)}

    def _best_by_model(self, chance: np.random.Generator) -> Choice:
        self._fit()
        forgotten = self._curves.without_rows(self._rows)
        paused = [each for each in self._paused if each not in forgotten]
        rows, values = self._rows_with_running()
        known = [each for each in self._curves.trials if each not in forgotten]
        features = [self._curves.point(trial_id) for trial_id in known]
        means, deviations = self._beliefs(
            rows, values, features, [self._curves.number(each) for each in known]
        )
        best = [known[place] for place in np.argsort(-means, kind="stable")[:_NUM_BEST]]
        at = {trial_id: place for place, trial_id in enumerate(known)}
        best_seen = float(values.max())
        scores = log_expected_improvement(means, deviations, best_seen)
        found: list[tuple[float, str | None, Any]] = [
            (float(scores[at[each]]), each, None) for each in paused
        ]
        if untried := self._untried(chance, best):
            shares, new = zip(*untried, strict=True)
            new_means, new_deviations = self._beliefs(rows, values, new, [-1] * len(new))
            new_scores = log_expected_improvement(new_means, new_deviations, best_seen)
            place = int(np.argmax(np.round(new_scores, 6)))
            found.append((float(new_scores[place]), None, shares[place]))
        score, trial_id, chosen = max(found, key=lambda each: round(each[0], 6))
        if trial_id is not None:
            return Choice(trial_id, "model", score=score)
        return self._start(chosen, "model", score)

    def _untried(self, chance: np.random.Generator, best: Sequence[str]) -> list[tuple[Any, Any]]:
        """Return shares and features of candidates that were not tried and are likely to be feasible."""
        found = []
        centres = [self._shares[trial_id] for trial_id in best]
        for shares in candidates(chance, self._points.num_parameters, centres):
            hparams = self._points.hparams(shares)
            is_new = identity(hparams) not in self._seen
            if is_new and self._points.feasibility.is_likely(self._points.codes(hparams)):
                found.append((shares, self._points.features(hparams)))
        return found

    def hopeless(self) -> list[str]:
        """Return the paused trials whose state is not worth its disk space, least likely to improve first.

        Their probability of ending above every value seen is below 1 %, and they are not among the 20
        likeliest, not the furthest, and not among those that ranks may choose. Empty while the model has too
        few rows.
        """
        paused = self._paused
        if len(paused) <= _KEPT or not self._has_model:
            return []
        self._fit()
        rows, values = self._rows_with_running()
        features = [self._curves.point(each) for each in paused]
        means, deviations = self._beliefs(
            rows, values, features, [self._curves.number(each) for each in paused]
        )
        chances = np.round(probability_of_improvement(means, deviations, float(values.max())), 6)
        forgotten = self._curves.without_rows(self._rows)  # the worst, which the model takes for new points
        chances[[each in forgotten for each in paused]] = 0.0
        likeliest = np.argsort(-chances, kind="stable")
        kept = self._chosen_by_ranks() | {self.furthest()}
        given_up = [place for place in likeliest[_KEPT:] if chances[place] < _LEAST_CHANCE]
        return [paused[place] for place in reversed(given_up) if paused[place] not in kept]

    def _fit(self) -> None:
        """Update the model. Fits come at fixed numbers of rows, so that they depend on the rows alone."""
        num = len(self._curves)
        if (at := _last_fit(num)) != self._fitted_at:
            self._fitted = self._curves.kept(at, at if at <= MOST_ROWS else THINNED_ROWS)
            self._model.fit(self._curves.rows(self._fitted), self._curves.scaled(self._fitted))
            self._fitted_at = at
        self._rows = [*self._fitted, *range(at, num)]
        self._model.extend(self._curves.rows(self._rows))

    def _rows_with_running(self) -> tuple[Any, Any]:
        """Return all rows followed by one for each running trial, and the values of the former."""
        further = [
            (trial_id, epoch)
            for trial_id in self._running
            if (epoch := self._curves.next_epoch(trial_id)) is not None
        ]
        return self._curves.rows(self._rows, further), self._curves.scaled(self._rows)

    def _beliefs(self, rows: Any, values: Any, features: Sequence[Any], numbers: Sequence[int]) -> Any:
        return self._model.beliefs(rows, values, np.array(features), np.array(numbers, np.int64), 1.0)


def _last_fit(num_rows: int) -> int:
    """Return the number of rows at the last fit, given that there are `num_rows` now."""
    at = _FIRST_FIT
    while (following := _next_fit(at)) <= num_rows:
        at = following
    return at


def _next_fit(at: int) -> int:
    if at > MOST_ROWS:
        return at + MOST_ROWS - THINNED_ROWS
    return min(max(at + 1, round(at * _GROWTH)), MOST_ROWS + 1)
