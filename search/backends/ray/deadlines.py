"""Deadlines of workers: to be placed, to start, to train an epoch, to be ready for another trial.

A worker that hangs answers nothing, so the driver keeps time. Whatever exceeds its limit is ended with its
process. What has no limit, or waits for a place on a full cluster, is reported instead, so that no user faces
a silent screen for an hour. With exclusive slots an epoch's limit grows by the time that a trial may wait for
its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from search.energy.attribution.calibration_slots import GATHER_S, SLOT_S
from search.run import Run
from search.trial.epoch_time import overdue_epoch, overdue_start, start_limit_s
from search.trial.failure import Failure

_WRITING_S = 2.0  # at its limit a worker writes its stack into the trial's log
_RESET_S = 600.0  # collect garbage, end processes, restore settings: 8 s at most, unless it hangs
_CHECK_EVERY_S = 1.0
# Waits without a limit, or with a long one, are reported: first after these seconds, then every ten minutes.
_FIRST_REPORT_S = {"place": 30.0, "start": 60.0}
_REPORT_EVERY_S = 600.0

Call = Literal["place", "start", "epoch", "reset"]
Stretch = TypeVar("Stretch", bound=Hashable)


@dataclass
class _Asked:
    trial_id: str
    call: Call
    since_s: float
    say_after_s: float


class Deadlines(Generic[Stretch]):
    """Calls to Ray and its workers that have not been answered yet.

    Args:
        say: Called with a message when a wait takes long.
        places: Returns, in words, what a trial needs and what the nodes have.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        run: Run,
        *,
        say: Callable[[str], None] = lambda line: None,
        places: Callable[[], str] = lambda: "a worker",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._say, self._places, self._clock = run, say, places, clock
        self._asked: dict[Stretch, _Asked] = {}
        self._checked_s = clock()
        space = run.space
        # Before an epoch a trial may have to wait while each of the others works alone once.
        turns = (space.resources.workers or 1) if space.metering.exclusive_slots else 0
        self._held_s = turns * (GATHER_S + SLOT_S)

    def ask(self, stretch: Stretch, trial_id: str, call: Call) -> None:
        """Begin a deadline: this stretch of the trial awaits a worker, or its worker's answer."""
        say_after_s = _FIRST_REPORT_S.get(call, float("inf"))
        self._asked[stretch] = _Asked(trial_id, call, self._clock(), say_after_s)

    def answer(self, stretch: Stretch) -> None:
        """End the stretch's deadline: the answer has come, or the worker is gone."""
        self._asked.pop(stretch, None)

    def overdue(self) -> dict[Stretch, Failure | None]:
        """Return each overdue stretch once, with the trial's failure.

        The failure is None if the worker was not yet ready for the trial. Checks at most once a second, and
        reports unusually long epochs and waits.
        """
        if self._clock() - self._checked_s < _CHECK_EVERY_S:
            return {}
        self._checked_s = self._clock()
        found = {}
        for stretch, asked in list(self._asked.items()):
            waited_s = self._clock() - asked.since_s
            if waited_s > self._limit_s(asked.call):
                found[stretch] = self._failure(asked.call)
                self.answer(stretch)
            else:
                self._report(asked, waited_s)
        return found

    def _report(self, asked: _Asked, waited_s: float) -> None:
        if asked.call in ("start", "epoch"):
            has_start = asked.call == "start"
            self._run.check_epoch_time(asked.trial_id, waited_s - self._held_s, has_start=has_start)
        if waited_s > asked.say_after_s:
            asked.say_after_s = waited_s + _REPORT_EVERY_S
            log = self._run.ledger.trial(asked.trial_id).log
            if asked.call == "place":
                self._say(f"{asked.trial_id}  has waited {waited_s:.0f} s for {self._places()}")
            else:
                text = f"has been starting for {waited_s:.0f} s; what it waits for may be in {log}"
                self._say(f"{asked.trial_id}  {text}")

    def _limit_s(self, call: Call) -> float:
        if call == "reset":
            return _RESET_S
        epoch_s = self._run.space.limits.epoch_s
        if epoch_s is None or call == "place":
            return float("inf")
        return _WRITING_S + (start_limit_s(epoch_s) if call == "start" else epoch_s + self._held_s)

    def _failure(self, call: Call) -> Failure | None:
        epoch_s = self._run.space.limits.epoch_s
        if call == "reset" or epoch_s is None:
            return None
        return overdue_start(epoch_s) if call == "start" else overdue_epoch(epoch_s)
