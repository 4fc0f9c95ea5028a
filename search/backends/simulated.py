"""A search in virtual time: the real decisions on made scores, with what epochs were seen to take."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from search.backends.costs import Costs, PointCost
from search.energy.reading import EnergyReading
from search.ledger import Ledger
from search.run import Run
from search.sampling.proposal import Sampler
from search.space import Space
from search.trial import EpochRow
from search.trial.task import TrialTask

MOST_TRIALS = 500  # a search without a limit on trials would be simulated for ever
_MOST_GAIN = 3.0  # of a sampler that learns, from first to last trial, in spreads of chance
_FOR_COST = -1.0, 2.0  # an e-fold of an epoch's time, as of smaller batches; 16 searches: 0.6 (-1.4 to 3.2)
_WARM_SHARE = (
    0.01,
    0.5,
)  # of the first start in a worker, what a later one takes: its imports and data are there
_MOST_LEAD = 3.0  # of the default configuration, in spreads of chance: many are well tuned
_NOISE = 0.3  # of a score, against the spread of trials: neighbouring rungs rank trials at about 0.9


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """How one simulated search went.

    Attributes:
        epochs: Run at each rung; `trials` ended it.
        seconds: From the command to the last result.
        kwh: None where no joules are known.
        reason: Why it ended.
    """

    num_trials: int
    epochs: tuple[int, ...]
    trials: tuple[int, ...]
    seconds: float
    kwh: float | None
    reason: str


class MemoryLedger(Ledger):
    """A ledger that keeps its events to itself."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self._events: list[dict[str, Any]] = []

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self._events.append({"time": 0.0, **event})
        return self._events[-1]

    def events(self) -> list[dict[str, Any]]:
        return list(self._events)


@dataclass
class _Training:
    """A trial under way: what it costs, and the luck its scores have."""

    task: TrialTask
    cost: PointCost
    epochs_done: int
    quality: float
    start_j: float = 0.0


@dataclass
class _Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class _Simulation:
    """Trains nothing: each epoch ends when its cost says."""

    space: Space
    run: Run
    costs: Costs
    clock: _Clock
    chance: random.Random
    gain: float = 0.0
    for_cost: float = 0.0
    warm_share: float = 0.0
    lead: float = 0.0
    num_started: int = 0
    own_costs: dict[str, PointCost] = field(default_factory=dict)
    qualities: dict[str, float] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    under_way: list[tuple[float, int, _Training]] = field(default_factory=list)
    order: itertools.count[int] = field(default_factory=itertools.count)

    def execute(self) -> str:
        """Hand out tasks to free workers and epochs to trials, in the order of their ends."""
        while self._has_started() or self.under_way:
            self.clock.now_s, _, training = heapq.heappop(self.under_way)
            if self.run.on_epoch(training.task.trial_id, self._row(training)) == "continue":
                self._schedule(training, before_s=0.0)
        return self.run.end()

    def _has_started(self) -> bool:
        """Give every free worker a task, as long as there are any."""
        workers = self.space.resources.workers or 1
        while len(self.under_way) < workers and len(self.run.history.trials) <= MOST_TRIALS:
            task = self.run.next_task()
            if task is None:
                break
            if task.trial_id not in self.qualities:
                self._draw(task)
            cost, quality = self.own_costs[task.trial_id], self.qualities[task.trial_id]
            done = self.run.history.trials[task.trial_id].epochs
            training = _Training(task, cost, done, quality)
            self._schedule(training, before_s=self._start(training))
        return bool(self.under_way)

    def _start(self, training: _Training) -> float:
        """What a training's start takes; the first ones of the workers are over when the search begins."""
        cost, is_first = training.cost, self.num_started < (self.space.resources.workers or 1)
        self.num_started += 1
        training.start_j = self.costs.first_j if is_first else cost.start_j
        unsure_s = self.warm_share * self.costs.unsure_start_s
        return cost.warm_up_s + (0.0 if is_first else cost.start_s + unsure_s)

    def _draw(self, task: TrialTask) -> None:
        """What a new trial costs and how good it is: the later, the nearer to the best before it."""
        number = self.run.history.trials[task.trial_id].number
        learnt = self.gain * number / max(1, self.space.limits.trials or number)
        cost = self.costs.of(task.hparams)
        if self.qualities and self.chance.uniform(0, _MOST_GAIN) < learnt:
            cost = self.own_costs[max(self.qualities, key=self.qualities.__getitem__)]
        dearer = math.log((cost.epoch_s[-1] or self.usual_s) / self.usual_s)
        self.own_costs[task.trial_id] = cost
        lead = self.lead if self.run.history.trials[task.trial_id].proposed_by == "default" else 0.0
        self.qualities[task.trial_id] = self.chance.gauss(learnt + lead + self.for_cost * dearer, 1)

    @cached_property
    def usual_s(self) -> float:
        """An epoch of most configurations at the top."""
        return statistics.median(point.epoch_s[-1] or 1.0 for point in self.costs.points) or 1.0

    def _schedule(self, training: _Training, *, before_s: float) -> None:
        rung = self.space.ladder.rung_for(training.epochs_done)
        end_s = self.clock.now_s + before_s + (training.cost.epoch_s[rung] or 0.0)
        heapq.heappush(self.under_way, (end_s, next(self.order), training))

    def _row(self, training: _Training) -> EpochRow:
        ladder, cost = self.space.ladder, training.cost
        rung = ladder.rung_for(training.epochs_done)
        training.epochs_done += 1
        self.epochs[rung] += 1
        sign = 1 if self.space.mode == "max" else -1
        score = training.quality + self.chance.gauss(0, _NOISE) + training.epochs_done  # it always improves
        joules = cost.epoch_j[rung] if cost.epoch_j else None
        start_j, training.start_j = training.start_j, 0.0
        return EpochRow(
            epoch=training.epochs_done,
            rung=rung,
            completes_rung=training.epochs_done in ladder.ends,
            metrics={self.space.metric: sign * score},
            seconds=cost.epoch_s[rung] or 0.0,
            energy=EnergyReading() if joules is None else EnergyReading(gpu_mj=round(joules * 1000)),
            start_energy=EnergyReading(gpu_mj=round(start_j * 1000)) if start_j else EnergyReading(),
        )


def simulate(
    space: Space, sampler: Sampler, costs: Costs, *, seed: int, is_learning: bool = False
) -> Simulated:
    """One search of `space`, whose trials have random scores.

    What takes longer is rather better, each search by more or less: smaller batches take more steps.
    Rungs, promotions, audits, limits and workers are the real ones. No trial fails, none diverges.

    Args:
        is_learning: Later trials are better and like the best, each search by more or less: more go on.
    """
    clock = _Clock(now_s=0.0)
    run = Run(space, sampler, MemoryLedger(), clock=clock)
    clock.now_s = costs.first_s
    num_rungs = len(space.ladder.rungs)
    chance = random.Random(seed)
    gain = chance.uniform(0, _MOST_GAIN) if is_learning else 0.0
    for_cost = chance.uniform(*_FOR_COST)
    warm_share = math.exp(chance.uniform(*map(math.log, _WARM_SHARE)))
    lead = chance.uniform(0, _MOST_LEAD)
    simulation = _Simulation(
        space, run, costs, clock, chance, gain, for_cost, warm_share, lead, epochs=[0] * num_rungs
    )
    reason = simulation.execute()
    return Simulated(
        num_trials=len(run.history.trials),
        epochs=tuple(simulation.epochs),
        trials=tuple(run.rungs.counts()),
        seconds=clock.now_s,
        kwh=run.spent.kwh,
        reason=reason,
    )
