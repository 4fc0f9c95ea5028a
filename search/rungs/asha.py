"""The results of every rung, and which trials continue past it.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), in its stopping and its
pausing form, the latter also with a top rung that grows (PASHA, see growth.py).

The default form was chosen by measurement. With asynchronous stopping the first trials pass a rung just for
being first: of 20 trials at eta 4, 23 % ran the whole ladder, where 1.6 % is intended. With pausing, 27
trials took 83 epochs and 6 full trainings instead of 111 and 10, and found the same best trial; the price is
a checkpoint at each pause.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from search.rungs.controls import Controls, WeakRungs
from search.rungs.growth import Growth
from search.rungs.results import Results, Score
from trainables.core.contract import Mode

_GOLDEN = (math.sqrt(5) - 1) / 2

Kind = Literal["asha", "asha_stopping", "pasha", "freeze_thaw", "none"]
RungDecision = Literal["continue", "control", "pause", "stop"]
Value = float | Sequence[float | None] | None


class Rungs:
    """Scores of every trial at every rung, and the decisions that follow from them.

    The same events in the same order give the same decisions, so a resumed run rebuilds it from the journal:
    `on_continued` for each trial that `choose_paused` returned, and every other reporting call as it came.

    - asha_stopping: a trial continues if it is in the top 1/eta of its rung now. With fewer than eta
      results only the best so far continues.
    - asha: each trial pauses at its rung, and continues once it is in the top floor(n / eta) of all
      n results there. With fewer than eta results none does, except in the last call.
    - pasha: asha below a top rung that starts as the second rung and is raised by one whenever the
      ranking of the top two rungs turns out to be unstable.
    - freeze_thaw: results are counted as in asha; which trials continue is decided elsewhere, and they may
      have paused between rungs.
    - none: every trial runs the whole ladder.

    A control trial continues whatever its value. Without control trials, the trials that two rungs have in
    common would be the best of the lower one, whose ranks agree less than those of all trials would.

    Args:
        num_rungs: Rungs of the ladder; the last one is full training and ends a trial.
        eta: One in eta trials continues. None means the kind "none".
        mode: Whether larger or smaller is better; with several objectives, one mode for each.
        num_brackets: Bracket b is judged from rung b on. Brackets share their rungs, because all trials
            that complete a rung have used the same budget.
        epsilon: For pasha only: the difference that counts as noise; None estimates it from `on_epoch`.
        control_fraction: Fraction of all training that control trials may use, in [0, 1]; see Controls.
        costs: Cost of completing each rung from the one below it, in any unit; defaults to 1 each.
        can_skip_rungs: New trials are judged one rung higher while a rung's ranking appears weak.
        can_jump: A trial may complete a rung without having completed those below, as when one epoch uses
            the joules of several. It is compared at the rung it completed, and at none below.
    """

    def __init__(
        self,
        num_rungs: int,
        *,
        eta: float | None,
        mode: Mode | Sequence[Mode],
        kind: Kind = "asha_stopping",
        num_brackets: int = 1,
        epsilon: float | None = None,
        control_fraction: float = 0.0,
        costs: Sequence[float] | None = None,
        can_skip_rungs: bool = False,
        can_jump: bool = False,
    ) -> None:
        modes: Sequence[str] = (mode,) if isinstance(mode, str) else tuple(mode)
        _check_settings(num_rungs, eta, modes, kind, num_brackets, control_fraction)
        self._kind: Kind = "none" if eta is None else kind
        self._eta = math.inf if eta is None or kind == "none" else eta
        self._signs = tuple(1.0 if mode == "max" else -1.0 for mode in modes)
        self._num_brackets = num_brackets
        self._can_jump = can_jump
        self._controls = Controls(control_fraction, [1.0] * num_rungs if costs is None else costs)
        self._brackets: dict[str, int] = {}
        self._at_chance: set[int] = set()  # rungs at which no trial is better than guessing
        self._growth = Growth(epsilon) if self._kind == "pasha" else None
        self._top_rung = min(1, num_rungs - 1) if self._growth else num_rungs - 1
        self._results = [Results(len(self._signs)) for _ in range(num_rungs)]
        can_skip_rungs = can_skip_rungs and len(modes) == 1 and self._kind != "none"
        self._weak_rungs = WeakRungs(self._results, can_skip_rungs=can_skip_rungs)
        self._paused: dict[str, int] = {}  # the rung at which each trial waits
        self._withdrawn: set[str] = set()

    @property
    def top_rung(self) -> int:
        """The highest rung that trials now go to, except in the last call. Only pasha raises it."""
        return self._top_rung

    def bracket_of(self, trial_number: int) -> int:
        """Return the bracket of a trial: the same in every run, in Hyperband's proportions."""
        num_rungs = len(self._results)
        return bracket_of(trial_number, num_brackets=self._num_brackets, num_rungs=num_rungs, eta=self._eta)

    def on_asked(self, trial_id: str, trial_number: int, *, start_rung: int | None = None) -> int:
        """Record a new trial and return the lowest rung at which it is judged.

        Args:
            start_rung: What `on_asked` returned before the run was resumed; None decides it now.
        """
        if start_rung is None:
            start_rung = max(self.bracket_of(trial_number), self.start_rung)
        self._brackets[trial_id] = start_rung
        return start_rung

    @property
    def start_rung(self) -> int:
        """The lowest rung at which new trials are judged.

        It lies above every rung where all scores are like guessing, or whose ranking appears weak.
        """
        above_chance = min(max(self._at_chance, default=-1) + 1, self._top_rung)
        return max(self._weak_rungs.lowest_trusted, above_chance)

    def set_at_chance(self, rung: int, is_at_chance: bool) -> None:
        """Record whether every trial that completed `rung` scored no better than guessing there.

        This has no effect with the kind "none", where no rung judges.
        """
        if is_at_chance and self._kind != "none":
            self._at_chance.add(rung)
        else:
            self._at_chance.discard(rung)

    def is_at_chance(self, rung: int) -> bool:
        """Whether `set_at_chance` last reported the rung to be at chance."""
        return rung in self._at_chance

    def judged_from(self, trial_id: str) -> int:
        """Return the lowest rung at which a trial may pause: its bracket's, or a control trial's next one."""
        return self._brackets.get(trial_id, 0)

    def judge_at_top_only(self, trial_id: str) -> None:
        """Let the trial continue to the top whatever its scores on the way."""
        self._brackets[trial_id] = len(self._results) - 1

    def on_epoch(self, trial_id: str, value: float) -> None:
        """Record a point of a learning curve: each epoch once and in order, before its `on_result`."""
        if self._growth:
            self._growth.on_epoch(trial_id, value)

    def on_result(
        self, trial_id: str, rung: int, value: Value, *, bracket: int | None = None, uncertainty: float = 0.0
    ) -> RungDecision:
        """Record `value` at the end of `rung` and return what becomes of the trial.

        A value that is missing, NaN or infinite stops the trial and is compared with no other. Below the
        trial's bracket any other value lets it continue and is not ranked. Of equal values the older one
        ranks first. At pasha's top rung a trial pauses, because the rung may still be raised.

        Args:
            bracket: The lowest rung at which the trial is judged; defaults to what `on_asked` returned.
            uncertainty: Plus or minus this much in the last of several objectives. Two trials tie if they
                differ by no more than the sum of their uncertainties.

        Raises:
            ValueError: There is no such rung, the number of objectives is wrong, or the trial has already
                completed this rung or a higher one.
        """
        self._check_result(trial_id, rung)
        self._end_pause(trial_id)  # a trial that reports is running
        score = self._score(value)
        # Ray's ASHA compares NaN, and `nan < cutoff` is False: 7 of 24 diverged trials ran to the end and
        # took 57 % of all epochs.
        if score is None:
            return "stop"
        self._controls.on_result(rung)
        if rung < (self._brackets.get(trial_id, 0) if bracket is None else bracket):
            self._weak_rungs.on_unjudged(trial_id, rung, score[0])
            return "continue"
        self._results[rung].add(trial_id, score, uncertainty)
        self._weak_rungs.on_result(rung)
        self._grow_if_unstable(rung)
        return self._decision(trial_id, rung)

    def choose_paused(self, *, is_last_call: bool = False) -> str | None:
        """Choose the paused trial that continues now, and mark it as continued; None if there is none.

        The highest rung comes first, and its best trial.

        Args:
            is_last_call: Nothing runs and no further trial will come. If none has completed the ladder,
                the best trial of the highest rung with any waiting then continues, however few results the
                rung has. Called again at each pause, this ends a search with a fully trained trial.
        """
        trial_id = self._next_leader()
        if trial_id is None and is_last_call and not self._results[-1]:
            waiting = (results.first_waiting() for results in reversed(self._results))
            trial_id = next(filter(None, waiting), None)
        if trial_id is not None:
            self.on_continued(trial_id)
        return trial_id

    def on_continued(self, trial_id: str) -> None:
        """Record that a paused trial continues, as decided now or before the run was resumed.

        Raises:
            ValueError: The trial is not paused.
        """
        if trial_id not in self._paused and self._kind != "freeze_thaw":
            raise ValueError(f"{trial_id} is not paused, so it cannot continue; report its results first")
        self._end_pause(trial_id)

    def withdraw(self, trial_id: str) -> None:
        """Never continue this trial: it failed, diverged or lost its checkpoint. Its results stay."""
        self._withdrawn.add(trial_id)
        self._end_pause(trial_id)

    def readmit(self, trial_id: str) -> None:
        """Undo a withdrawal: the trial is tried again."""
        self._withdrawn.discard(trial_id)

    def can_continue(self, trial_id: str, *, num_open: int) -> bool:
        """Whether a paused trial may still continue; if not, its checkpoint can go.

        False is certain, True is not. Until a trial has completed the ladder, the best one waiting at each
        rung is kept for the last call. A trial that is not paused gives False. With freeze_thaw the decision
        is made elsewhere, so only a withdrawn trial gives False.

        Args:
            num_open: Trials that run now or may still be started.
        """
        if self._kind == "freeze_thaw":
            return trial_id not in self._withdrawn
        rung = self._paused.get(trial_id)
        if rung is None:
            return False
        results = self._results[rung]
        if not self._results[-1] and results.first_waiting() == trial_id:
            return True
        return results.num_ahead(trial_id) < self._num_passing(self._most_results(rung, num_open))

    def hopeless(self, *, num_open: int) -> list[str]:
        """Return the paused trials that certainly will not continue; see `can_continue`.

        The highest rung's trials come first, and within a rung the worst.
        """
        found: list[str] = []
        if self._kind == "freeze_thaw":  # any trial may still be chosen
            return found
        for rung, results in reversed(list(enumerate(self._results))):
            num_passing = self._num_passing(self._most_results(rung, num_open))
            kept = None if self._results[-1] else results.first_waiting()
            found += [trial_id for trial_id in results.hopeless(num_passing) if trial_id != kept]
        return found

    def counts(self) -> list[int]:
        """Return the number of trials that have completed each rung, lowest rung first."""
        return list(map(len, self._results))

    def values(self, rung: int) -> Mapping[str, float]:
        """Return the first objective's value of each trial that completed `rung`, in order of arrival."""
        return {trial_id: self._signs[0] * score[0] for trial_id, score in self._results[rung].scores.items()}

    def _score(self, value: Value) -> Score | None:
        numbers = value if isinstance(value, Sequence) else (value,)
        finite = [number for number in numbers if number is not None and math.isfinite(number)]
        if value is not None and len(numbers) != len(self._signs):
            raise ValueError(f"a result needs {len(self._signs)} values, one per objective, got {value!r}")
        if len(finite) != len(self._signs):
            return None
        return tuple(sign * number for sign, number in zip(self._signs, finite, strict=True))

    def _grow_if_unstable(self, rung: int) -> None:
        is_top = 0 < rung == self._top_rung < len(self._results) - 1
        if self._growth and is_top:
            lower, upper = self._results[rung - 1].scores, self._results[rung].scores
            self._top_rung += self._growth.is_unstable(lower=lower, upper=upper)

    def _decision(self, trial_id: str, rung: int) -> RungDecision:
        if rung == len(self._results) - 1 or trial_id in self._withdrawn:
            return "stop"
        if self._kind == "none":
            return "continue"
        if self._kind == "asha_stopping":
            num_passing = max(1, self._num_passing(len(self._results[rung])))
            if self._results[rung].place(trial_id) < num_passing:
                return "continue"
        has_finished = bool(self._results[-1])
        if self._controls.take(trial_id, rung, top=self._top_rung, has_finished=has_finished):
            self._brackets[trial_id] = rung + 1
            return "control"
        if self._kind == "asha_stopping":
            return "stop"
        self._paused[trial_id] = rung
        self._results[rung].wait(trial_id)
        return "pause"

    def _end_pause(self, trial_id: str) -> None:
        rung = self._paused.pop(trial_id, None)
        if rung is not None:
            self._results[rung].leave(trial_id)

    def _num_passing(self, num_results: int) -> int:
        return int(num_results / self._eta)

    def _next_leader(self) -> str | None:
        # From the top: a trial near full training is worth more than a wider base below it. Trials that have
        # already continued still count in `len(results)`, so that one in eta of all results passes, not one
        # in eta of those waiting.
        # A rung whose ranking appears weak lets none continue: its best are no better than a new trial, or
        # worse. A rung at chance does as usual: its trials are as good as new ones, and have a head start.
        for results in reversed(self._results[self._weak_rungs.lowest_trusted : self._top_rung]):
            trial_id = results.first_waiting()
            if trial_id is not None and results.place(trial_id) < self._num_passing(len(results)):
                return trial_id
        return None

    def _most_results(self, last_rung: int, num_open: int) -> int:
        """Return the most results that `last_rung` may ever have, with open trials and leaders from below."""
        most = num_leaders = num_below = 0
        for results in self._results[: last_rung + 1]:
            # Leaders come from the rung just below; if trials can jump, from any rung below.
            num_leaders = self._num_passing(most) + (num_leaders if self._can_jump else 0)
            most = len(results) + num_open + min(num_below, num_leaders)
            num_below += results.num_waiting
        return most

    def _check_result(self, trial_id: str, rung: int) -> None:
        last = len(self._results) - 1
        if not 0 <= rung <= last:
            raise ValueError(f"rung must be from 0 to {last}, got {rung}")
        ended = [above for above in range(rung, last + 1) if trial_id in self._results[above].scores]
        if ended:
            raise ValueError(
                f"{trial_id} has already completed rung {ended[-1]}, got a result of rung {rung}"
            )


def bracket_of(trial_number: int, *, num_brackets: int, num_rungs: int, eta: float) -> int:
    """Return the bracket of a trial: b skips the rungs below rung b. The default, trial 0, is in bracket 0.

    Brackets have Hyperband's proportions (Li et al. 2018): with K rungs, bracket b gets K / (K - b) trials
    for every eta^b of bracket 0, so that each uses about the same budget. Multiples of the golden ratio
    spread the numbers, so any stretch of trials has these proportions, without randomness.
    """
    weights = [num_rungs / (num_rungs - bracket) / eta**bracket for bracket in range(num_brackets)]
    *bounds, total = itertools.accumulate(weights)
    return bisect(bounds, trial_number * _GOLDEN % 1 * total)


def _check_settings(
    num_rungs: int,
    eta: float | None,
    modes: Sequence[str],
    kind: str,
    num_brackets: int,
    control_fraction: float,
) -> None:
    """Check the arguments of `Rungs`.

    Raises:
        ValueError: One is invalid; the message says what is allowed.
    """
    most_brackets = min(num_rungs, 2) if kind == "pasha" else num_rungs
    if num_rungs < 1:
        raise ValueError(f"a ladder needs at least one rung, got {num_rungs}")
    if eta is not None and eta <= 1:
        raise ValueError(f"eta must be above 1, got {eta}")
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    if not modes or set(modes) - {"min", "max"}:
        raise ValueError(f"mode must be min or max, once per objective, got {list(modes)}")
    if kind == "pasha" and len(modes) > 1:
        raise ValueError(f"pasha compares values of one objective, got {len(modes)}; use asha")
    if not 1 <= num_brackets <= most_brackets:
        raise ValueError(f"num_brackets must be from 1 to {most_brackets}, got {num_brackets}")
    if not 0 <= control_fraction <= 1:
        raise ValueError(f"control_fraction must be a fraction from 0 to 1, got {control_fraction}")
