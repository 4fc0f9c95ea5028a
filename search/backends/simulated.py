"""A backend in virtual time: the real decisions on made scores, with what epochs were seen to take.

The forecast simulates a search many times over. What cannot be known before a search is drawn again each time
(how good configurations are, whether dear ones are better, what a later start takes), so that the spread of
the simulated searches is the range that the forecast prints.
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

MOST_TRIALS = 500  # a search without a limit on trials would be simulated for ever
# How much better the last trial of a sampler that learns is than the first, at most, in spreads of chance.
_MOST_GAIN = 3.0
# How much better an epoch that takes e times as long makes a trial, in spreads of chance: smaller batches
# take longer and learn more. Of 16 real searches it was 0.6 (-1.4 to 3.2).
_FOR_COST = -1.0, 2.0
# Of the first start in a worker, what a later one takes: its imports and data are there.
_WARM_SHARE = 0.01, 0.5
# How much better the default configuration is than chance, at most: many are well tuned, and it then ends
# on top.
_MOST_LEAD = 3.0
# Of a score, against the spread of trials: neighbouring rungs rank trials at about 0.9.
_NOISE = 0.3


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


class MemoryJournal(Journal):
    """A journal that keeps its events to itself."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self._events: list[dict[str, Any]] = []

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self._events.append({"time": 0.0, **event})
        return self._events[-1]

    def events(self) -> list[dict[str, Any]]:
        return list(self._events)


class MemoryLedger(Ledger):
    """A ledger of a run that leaves nothing on the disk."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.journal = MemoryJournal()


@dataclass
class _Training:
    """A trial under way: what it costs, and the luck its scores have."""

    task: TrialTask
    cost: PointCost
    epochs_done: int
    quality: float
    start_j: float = 0.0


@dataclass
class VirtualClock:
    """Seconds that pass when the simulation says so."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class SimulatedBackend:
    """Trains nothing: each epoch ends when its cost says, and the clock jumps to the next end.

    Args:
        clock: The run's own; it is moved on.
        chance: Draws all that cannot be known.
        is_learning: Later trials are better and like the best, each search by more or less: more are
            promoted.

    Attributes:
        epochs: How many epochs ran at each rung.
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
        self._order = itertools.count()  # of two epochs that end at once, the one that began first
        self.epochs: list[int] = []

    def execute(
        self,
        run: Run,
        *,
        background: Background | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> str:
        """Hand out tasks to free workers and epochs to trials, in the order of their ends."""
        self.epochs = [0] * len(run.space.ladder.rungs)
        while self._has_started(run) or self._under_way:
            self._clock.now_s, _, training = heapq.heappop(self._under_way)
            if run.on_epoch(training.task.trial_id, self._row(run.space, training)) == "continue":
                self._schedule(run.space, training, before_s=0.0)
        return run.end()

    def _has_started(self, run: Run) -> bool:
        """Give every free worker a task, as long as there are any."""
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
        """What a training's start takes; the first ones of the workers are over when the search begins."""
        cost, is_first = training.cost, self._num_started < (run.space.resources.workers or 1)
        self._num_started += 1
        training.start_j = self._costs.first_j if is_first else cost.start_j
        unsure_s = self._warm_share * self._costs.unsure_start_s
        return cost.warm_up_s + (0.0 if is_first else cost.start_s + unsure_s)

    def _draw(self, run: Run, task: TrialTask) -> None:
        """What a new trial costs and how good it is: the later, the nearer to the best before it."""
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
    """One search of `space`, whose trials have random scores.

    What takes longer is rather better, each search by more or less: smaller batches take more steps.
    Rungs, promotions, control trials, limits and workers are the real ones. No trial fails, none diverges.

    Args:
        is_learning: Later trials are better and like the best, by more or less: more are promoted.
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
