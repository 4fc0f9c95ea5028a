"""What to try next: Optuna's samplers behind ask, report and finish. The only user of Optuna."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.ledger.history import ProposedBy, Status
from search.sampling.axes import axis_of, suggested
from search.sampling.feasibility import INFEASIBLE, Feasibility
from search.sampling.proposal import EarlierTrial, FirstPoints, Proposal, start_up_points
from search.space import Space
from search.space.parameters import identity

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)

_FEWEST_ENDED = 3  # a best trial, and some that it is better than
_MOST_DRAWS = 20
_POPULATION = 10
_MOST_KNOWN = 500  # ended trials that a model is fitted to: TPE sorts them all at each draw
_BEST_KEPT = 50  # TPE counts at most 25 trials as good
_REPORTS_PER_TRIM = 125  # a trim rebuilds the study, in 50 ms
_LEARNS_CONSTRAINTS = {"tpe"}  # cmaes warns about them; gp and nsga2 read them of finished trials only
_KEEPS_STATE = {"nsga2", "cmaes"}  # generation and covariance are kept in the trials that they sampled
STATES: Mapping[Status, TrialState] = {
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "paused": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "infeasible": TrialState.PRUNED,
    "interrupted": TrialState.FAIL,
}


class OptunaSampler:
    """Optuna by ask and tell: the default configuration first, then initial points, then search.

    Trials that a rung stops are reported as PRUNED with their value at every rung they completed, so that TPE
    ranks them below those that went further instead of taking a cheap score for a final one. Diverged trials
    are PRUNED too, failed ones FAIL; none is left RUNNING. After a trial that ran out of memory or broke one
    of the space's constraints, points near it are drawn again (Feasibility) unless the sampler is random; for
    TPE the trial is also PRUNED with a violated constraint. GP, NSGA-II and CMA-ES learn only from finished
    trials.

    Each draw has its own generator, seeded by the space's seed and the number of points asked for before it.
    So a search with one worker asks for the same points whether or not it was interrupted, provided the
    sampler is told the same in the same order. CMA-ES and NSGA-II also depend on the number of Optuna's
    trials, which repeated draws raise and `replay` does not.

    A model is fitted to the last 500 ended trials and the 50 best before them: TPE gives old trials next to
    no weight anyway, and otherwise the cost of a draw would grow with the search. GP and random are limited
    in the same way; NSGA-II and CMA-ES look at their latest generation and keep all trials.

    With several objectives, Optuna takes no values at rungs, so the sampler learns only that a trial was
    stopped. Reporting the metric of a cheap rung as final would favour the trials that stopped there.

    Args:
        defaults: The trainable's default hparams, with the space's fixed values in their place.
    """

    def __init__(self, space: Space, defaults: Mapping[str, Any]) -> None:
        self.exhausted_reason = ""
        self._space = space
        self._defaults = dict(defaults)
        self._axes = {name: axis_of(parameter) for name, parameter in space.parameters.items()}
        self._first = FirstPoints(space, defaults)
        self._feasibility = Feasibility(self._axes)
        self._seen: set[Hashable] = set()
        self._num_earlier = 0
        self._study = self._empty_study()
        self._open: dict[str, optuna.Trial] = {}
        self._num_reported = 0
        self._last_values: dict[str, Sequence[float]] = {}

    @property
    def num_left(self) -> None:
        return None

    def ask(self, trial_id: str) -> Proposal | None:
        if first := self._first.pop(self._seen):
            self._take(trial_id, first.hparams)
        return first or self._drawn(trial_id)

    def replay(self, trial_id: str, hparams: Mapping[str, Any], proposed_by: ProposedBy) -> None:
        """Record a proposal made before the run was resumed; one outside the space now teaches nothing."""
        self._first.remove(hparams, is_default=proposed_by == "default")
        self._take(trial_id, hparams)

    def warm_start(self, trials: Sequence[EarlierTrial]) -> int:
        """Learn from earlier runs, before the first `ask` or `replay`; return how many trials were usable.

        A trial is usable if it has ended and lies in this space. Its point may be proposed again, since its
        budget may differ here.
        """
        fitting = [each for each in trials if each.status in STATES and self._space.contains(each.hparams)]
        for number, earlier in enumerate(fitting):
            name = f"earlier {number}"
            self._open[name] = self._pinned(earlier.hparams)
            for step, value in sorted(earlier.values.items()):
                self._learn(name, step, [value])
            self.finish(name, earlier.status, cause=earlier.cause)
        self._num_earlier += len(fitting)
        return len(fitting)

    def report(self, trial_id: str, rung: int, *values: float) -> None:
        self._learn(trial_id, self._space.ladder.steps[rung], values)

    def finish(self, trial_id: str, status: Status, *, cause: str = "") -> None:
        trial = self._open.pop(trial_id, None)
        if trial is None:
            return
        values, state, kind = self._last_values.pop(trial_id, None), STATES[status], self._space.sampler
        is_infeasible = cause in INFEASIBLE
        if kind != "random" and (is_infeasible or state != TrialState.FAIL):
            self._feasibility.learn(trial.params, fits=not is_infeasible)
        if is_infeasible and kind in _LEARNS_CONSTRAINTS:
            trial.set_constraint(cause, 1.0)  # above 0 is violated
            state = TrialState.PRUNED
        if state == TrialState.COMPLETE and values is None:
            state = TrialState.FAIL
        self._study.tell(trial, values if state == TrialState.COMPLETE else None, state=state)
        self._num_reported += 1
        is_due = self._num_reported > _MOST_KNOWN and self._num_reported % _REPORTS_PER_TRIM == 0
        if is_due and kind not in _KEEPS_STATE:
            self._trim()

    def resume(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        """Open a second Optuna trial at the point, because a trial that was told takes no more values."""
        if self._space.contains(hparams):
            self._open[trial_id] = self._pinned(hparams)

    def states(self) -> list[str]:
        """Return Optuna's state of every trial in its study, in order."""
        return [trial.state.name for trial in self._study.get_trials(deepcopy=False)]

    def intermediate_values(self) -> list[dict[int, float]]:
        """Return the values that Optuna has of every trial, by the rung's step in `Ladder.steps`."""
        return [dict(trial.intermediate_values) for trial in self._study.get_trials(deepcopy=False)]

    def _empty_study(self) -> optuna.Study:
        return optuna.create_study(
            directions=["maximize" if mode == "max" else "minimize" for mode in self._space.modes],
            sampler=optuna.samplers.RandomSampler(),
        )

    def _trim(self) -> None:
        """Forget what no draw needs. It depends only on what was told, so a resumed run forgets the same."""
        study, states = self._study, (TrialState.COMPLETE, TrialState.PRUNED)
        kept = _latest_and_best(
            study.get_trials(deepcopy=False, states=states),
            latest=_MOST_KNOWN,
            best=_BEST_KEPT,
            sign=1 if self._space.mode == "max" else -1,
            front={trial.number for trial in study.best_trials} if len(study.directions) > 1 else None,
        )
        self._study = self._empty_study()
        self._study.add_trials(kept)
        for trial_id, trial in self._open.items():
            self._open[trial_id] = self._again(trial)

    def _again(self, trial: optuna.Trial) -> optuna.Trial:
        """Return an open trial of the previous study, recreated in the current one."""
        known = trial.study.get_trials(deepcopy=False)[trial.number]
        self._study.enqueue_trial(dict(known.params))
        again = self._study.ask(dict(known.distributions))
        for step, value in known.intermediate_values.items():
            again.report(value, step=step)
        return again

    def _learn(self, trial_id: str, step: int, values: Sequence[float]) -> None:
        if trial_id in self._open and all(map(math.isfinite, values)):
            self._last_values[trial_id] = values
            if len(self._study.directions) == 1:
                self._open[trial_id].report(values[0], step=step)

    def _take(self, trial_id: str, point: Mapping[str, Any]) -> None:
        if self._space.contains(point):  # a default outside the ranges runs, but teaches nothing
            self._open[trial_id] = self._pinned(point)
        self._seen.add(identity(point))

    def _pinned(self, point: Mapping[str, Any]) -> optuna.Trial:
        """Return a new Optuna trial fixed at `point`."""
        is_stateful = self._space.sampler in _KEEPS_STATE
        self._study.sampler = self._optuna_sampler(0) if is_stateful else optuna.samplers.RandomSampler()
        active = [name for name in self._axes if self._space.is_active(name, point)]
        self._study.enqueue_trial({name: self._axes[name].encode(point[name]) for name in active})
        trial = self._study.ask()
        for name in active:
            suggested(trial, name, self._axes[name])
        return trial

    def _drawn(self, trial_id: str) -> Proposal | None:
        """Draw a new point that is likely to be feasible, or else the likeliest of the new ones drawn."""
        num_repeated, unlikely = 0, []  # the latter with their clearance
        for draw in range(_MOST_DRAWS):
            self._study.sampler = self._optuna_sampler(draw, num_repeated)
            trial = self._study.ask()
            hparams = self._suggested_hparams(trial)
            if identity(hparams) in self._seen:
                num_repeated += 1
            elif self._feasibility.is_likely(trial.params):
                self._open[trial_id] = self._rounded(trial, hparams)
                self._seen.add(identity(hparams))
                return Proposal(hparams=hparams, proposed_by="sampler")
            else:
                unlikely.append((self._feasibility.clearance(trial.params), hparams))
            self._study.tell(trial, state=TrialState.FAIL)  # teaches nothing
        if unlikely:
            _, hparams = max(unlikely, key=itemgetter(0))
            self._take(trial_id, hparams)
            return Proposal(hparams=hparams, proposed_by="sampler")
        self.exhausted_reason = f"the space is exhausted: {_MOST_DRAWS} draws repeated earlier points"
        return None

    def _rounded(self, trial: optuna.Trial, hparams: Mapping[str, Any]) -> optuna.Trial:
        """Return the trial at the codes of its rounded values, which are those that `replay` would give it.

        NSGA-II and CMA-ES learn from the trials that they sampled, so theirs stay as drawn.
        """
        codes = {name: self._axes[name].encode(hparams[name]) for name in trial.params}
        if codes == trial.params or self._space.sampler in _KEEPS_STATE:
            return trial
        self._study.tell(trial, state=TrialState.FAIL)  # teaches nothing
        return self._pinned(hparams)

    def _suggested_hparams(self, trial: optuna.Trial) -> dict[str, Any]:
        hparams = dict(self._defaults)
        for name in self._space.search_order():
            if self._space.is_active(name, hparams):
                axis = self._axes[name]
                hparams[name] = axis.decode(suggested(trial, name, axis))
        return hparams

    def _optuna_sampler(self, draw: int, num_repeated: int = 0) -> BaseSampler:
        """Return a new sampler for a draw, in 0.2 to 0.4 ms: Optuna seeds a sampler only at creation."""
        kind, num_asked = self._space.sampler, len(self._seen)
        seed = random.Random(f"{self._space.training.seed} {num_asked} {draw}").getrandbits(32)
        num_start_up = start_up_points(self._space.limits.trials)
        is_start_up = kind not in _KEEPS_STATE and num_asked + self._num_earlier < num_start_up
        if is_start_up or num_repeated >= _MOST_DRAWS // 2:  # a model may insist on the one point it likes
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            # constant_liar, which keeps concurrent trials apart, is marked experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _KINDS[kind](seed)


def _latest_and_best(
    ended: Sequence[FrozenTrial], *, latest: int, best: int, sign: int, front: AbstractSet[int] | None
) -> list[FrozenTrial]:
    """Return the last `latest` trials and the `best` best of those before them, in their order.

    With one objective the best are ordered as by TPE: finished trials by their value, then those that a rung
    stopped, highest rung first. With several they are the latest on the Pareto front. A trial that violates a
    constraint is never among the best.

    Args:
        ended: Trials in the order in which they were asked for.
        sign: 1 if larger is better, -1 if smaller is.
        front: Numbers of the trials on the Pareto front; None with one objective.
    """
    earlier, kept = ended[:-latest], ended[-latest:]
    fitting = [trial for trial in earlier if not any(each > 0 for each in trial.constraints.values())]
    if front is not None:
        found = [trial for trial in fitting if trial.number in front][-best:]
    else:
        found = sorted(fitting, key=lambda trial: _goodness(trial, sign), reverse=True)[:best]
    return sorted([*found, *kept], key=lambda trial: trial.number)


def _goodness(trial: FrozenTrial, sign: int) -> tuple[bool, int, float]:
    if trial.state.name == "COMPLETE":
        return True, 0, sign * (trial.value or 0.0)
    step = max(trial.intermediate_values, default=-1)
    return False, step, sign * trial.intermediate_values.get(step, 0.0)


def _tpe(seed: int) -> BaseSampler:
    """Return TPE with one density per parameter instead of a joint one (`multivariate`).

    On ten tables of recorded curves the joint density is behind random points (`make bench-search`).
    """
    return optuna.samplers.TPESampler(
        multivariate=False, constant_liar=True, seed=seed, n_startup_trials=_FEWEST_ENDED
    )


_KINDS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    # Loads torch into this process at the first draw from a model.
    "gp": lambda seed: optuna.samplers.GPSampler(
        seed=seed, n_startup_trials=_FEWEST_ENDED, warn_independent_sampling=False
    ),
    # Optuna's population of 50 would leave a search of 50 trials random.
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
}
