"""A backend in virtual time: real decisions on random scores, with measured costs of epochs.

The forecast simulates a search many times. What cannot be known before a search is drawn again each time (how
good configurations are, whether expensive ones are better, how long a later start takes), so that the spread
of the simulated searches is the range that the forecast prints.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.backends.costs import Costs, PointCost
from search.energy.reading import EnergyReading
from search.energy.units import to_millijoules
from search.ledger import Ledger
from search.ledger.journal import Journal
from search.run import Run
from search.sampling.proposal import Sampler
from search.space import Space
from search.trial import EpochRow
from search.trial.background import Background
from search.trial.task import TrialTask

MOST_TRIALS = 500  # a search without a limit on trials would be simulated forever

# In units of the standard deviation of random trials' quality, except for `_WARM_SHARE`.

# Most by which the last trial of a learning sampler is better than the first.
_MOST_GAIN = 3.0
# How much better a trial is whose epochs take e times as long: smaller batches take longer and learn more. In
# 16 real searches it was 0.6 (-1.4 to 3.2).
_FOR_COST = -1.0, 2.0
# Time of a later start relative to the first one in a worker: imports and data are already there.
_WARM_SHARE = 0.01, 0.5
# Most by which the default configuration is better than random ones: many defaults are well tuned and win.
_MOST_LEAD = 3.0
# Noise of a score: neighbouring rungs then rank trials with a correlation of about 0.9.
_NOISE = 0.3


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """The outcome of one simulated search.

    Attributes:
        epochs: Epochs run at each rung.
        trials: Trials that completed each rung.
        seconds: Time from the command to the last result.
        kwh: Energy used; None if no joules are known.
        reason: Why the search ended.
    """

    num_trials: int
    epochs: tuple[int, ...]
    trials: tuple[int, ...]
    seconds: float
    kwh: float | None
    reason: str


class MemoryJournal(Journal):
    """A journal that keeps its events in memory."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self._events: list[dict[str, Any]] = []

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self._events.append({"time": 0.0, **event})
        return self._events[-1]

    def events(self) -> list[dict[str, Any]]:
        return list(self._events)


class MemoryLedger(Ledger):
    """The ledger of a run that leaves nothing on disk."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.journal = MemoryJournal()


@dataclass
class _Training:
    """A trial in progress: its cost, and the quality of its scores."""

    task: TrialTask
    cost: PointCost
    epochs_done: int
    quality: float
    start_j: float = 0.0


@dataclass
class VirtualClock:
    """A clock that only the simulation advances."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class SimulatedBackend:
    """Trains nothing: each epoch takes what its cost says, and the clock jumps from one end to the next.

    Args:
        clock: The run's own clock, which the backend advances.
        chance: Draws everything that cannot be known.
        is_learning: Whether later trials are better and resemble the best, to a degree drawn for each search,
            so that more of them continue past rungs.

    Attributes:
        epochs: Epochs run at each rung.
    """

    def __init__(
        self, costs: Costs, clock: VirtualClock, chance: random.Random, *, is_learning: bool
    ) -> None:
        self._costs, self._clock, self._chance = costs, clock, chance
        self._gain = chance.uniform(0, _MOST_GAIN) if is_learning else 0.0
        self._for_cost = chance.uniform(*_FOR_COST)
        self._warm_share = math.exp(chance.uniform(*map(math.log, _WARM_SHARE)))
        self._lead = chance.uniform(0, _MOST_LEAD)
        self._usual_s = statistics.median(point.epoch_s[-1] or 1.0 for point in costs.points) or 1.0
        self._num_started = 0
        self._own_costs: dict[str, PointCost] = {}
        self._qualities: dict[str, float] = {}
        self._under_way: list[tuple[float, int, _Training]] = []  # a heap by the end of the epoch
        self._order = itertools.count()  # of two epochs that end at the same time, the earlier start is first
        self.epochs: list[int] = []

    def execute(
        self,
        run: Run,
        *,
        background: Background | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> str:
        """Give tasks to free workers and end epochs, in order of their ends."""
        self.epochs = [0] * len(run.space.ladder.rungs)
        while self._has_started(run) or self._under_way:
            self._clock.now_s, _, training = heapq.heappop(self._under_way)
            if run.on_epoch(training.task.trial_id, self._row(run.space, training)) == "continue":
                self._schedule(run.space, training, before_s=0.0)
        return run.end()

    def _has_started(self, run: Run) -> bool:
        """Give every free worker a task while there are tasks, and return whether any worker is busy."""
        workers = run.space.resources.workers or 1
        while len(self._under_way) < workers and len(run.history.trials) <= MOST_TRIALS:
            task = run.next_task()
            if task is None:
                break
            if task.trial_id not in self._qualities:
                self._draw(run, task)
            cost, quality = self._own_costs[task.trial_id], self._qualities[task.trial_id]
            done = run.history.trials[task.trial_id].epochs
            training = _Training(task, cost, done, quality)
            self._schedule(run.space, training, before_s=self._start(run, training))
        return bool(self._under_way)

    def _start(self, run: Run, training: _Training) -> float:
        """Return how long a training's start takes; first starts are over when the simulation begins."""
        cost, is_first = training.cost, self._num_started < (run.space.resources.workers or 1)
        self._num_started += 1
        training.start_j = self._costs.first_j if is_first else cost.start_j
        unsure_s = self._warm_share * self._costs.unsure_start_s
        return cost.warm_up_s + (0.0 if is_first else cost.start_s + unsure_s)

    def _draw(self, run: Run, task: TrialTask) -> None:
        """Draw a new trial's cost and quality: the later the trial, the closer to the best so far."""
        number = run.history.trials[task.trial_id].number
        learnt = self._gain * number / max(1, run.space.limits.trials or number)
        cost = self._costs.of(task.hparams)
        if self._qualities and self._chance.uniform(0, _MOST_GAIN) < learnt:
            cost = self._own_costs[max(self._qualities, key=self._qualities.__getitem__)]
        dearer = math.log((cost.epoch_s[-1] or self._usual_s) / self._usual_s)
        self._own_costs[task.trial_id] = cost
        lead = self._lead if run.history.trials[task.trial_id].proposed_by == "default" else 0.0
        self._qualities[task.trial_id] = self._chance.gauss(learnt + lead + self._for_cost * dearer, 1)

    def _schedule(self, space: Space, training: _Training, *, before_s: float) -> None:
        rung = space.ladder.rung_for(training.epochs_done)
        end_s = self._clock.now_s + before_s + (training.cost.epoch_s[rung] or 0.0)
        heapq.heappush(self._under_way, (end_s, next(self._order), training))

    def _row(self, space: Space, training: _Training) -> EpochRow:
        ladder, cost = space.ladder, training.cost
        rung = ladder.rung_for(training.epochs_done)
        training.epochs_done += 1
        self.epochs[rung] += 1
        sign = 1 if space.mode == "max" else -1
        score = training.quality + self._chance.gauss(0, _NOISE) + training.epochs_done  # it always improves
        joules = cost.epoch_j[rung] if cost.epoch_j else None
        start_j, training.start_j = training.start_j, 0.0
        return EpochRow(
            epoch=training.epochs_done,
            rung=rung,
            completes_rung=training.epochs_done in ladder.ends,
            metrics={space.metric: sign * score},
            seconds=cost.epoch_s[rung] or 0.0,
            energy=EnergyReading() if joules is None else EnergyReading(gpu_mj=to_millijoules(joules)),
            start_energy=EnergyReading(gpu_mj=to_millijoules(start_j)) if start_j else EnergyReading(),
        )


def simulate(
    space: Space, sampler: Sampler, costs: Costs, *, seed: int, is_learning: bool = False
) -> Simulated:
    """Simulate one search of `space`, whose trials have random scores.

    Trials that take longer tend to be better, to a degree drawn for each search: smaller batches take more
    steps. The rules for rungs, control trials, limits and workers are the real ones. No trial fails or
    diverges.

    Args:
        is_learning: See `SimulatedBackend`.
    """
    clock = VirtualClock(now_s=0.0)
    run = Run(space, sampler, MemoryLedger(), clock=clock, estimates_gain=False)
    clock.now_s = costs.first_s
    backend = SimulatedBackend(costs, clock, random.Random(seed), is_learning=is_learning)
    reason = backend.execute(run)
    return Simulated(
        num_trials=len(run.history.trials),
        epochs=tuple(backend.epochs),
        trials=tuple(run.rungs.counts()),
        seconds=clock.now_s,
        kwh=run.spent.kwh,
        reason=reason,
    )
