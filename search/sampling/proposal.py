"""The contract of a sampler, and the sampler that reads from a list."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from search.ledger.history import ProposedBy, Status
from search.space import Space
from search.space.parameters import identity


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A configuration to train: all hparams of the trainable, and who proposed it.

    Attributes:
        seed: The trial's seed; None means the run's own, so that trials differ in hparams alone.
        parent_trial: What this proposal repeats: a trial of an earlier run (promotion, portfolio), or a
            recipe.
    """

    hparams: Mapping[str, Any]
    proposed_by: ProposedBy
    seed: int | None = None
    parent_trial: str = ""


@dataclass(frozen=True, kw_only=True)
class EarlierTrial:
    """A trial of an earlier run.

    Attributes:
        values: The metric at each rung that the trial completed, by the rung's step in `Ladder.steps`.
    """

    hparams: Mapping[str, Any]
    values: Mapping[int, float]
    status: Status
    cause: str = ""


class Sampler(Protocol):
    """Proposes configurations, and is told what became of every one of them."""

    @property
    def exhausted_reason(self) -> str:
        """Why `ask` returned None; empty as long as it has not."""
        ...

    @property
    def num_left(self) -> int | None:
        """Number of proposals still to come; None if only `ask` can tell."""
        ...

    def ask(self, trial_id: str) -> Proposal | None:
        """Return the configuration that trial `trial_id` is to train; None when there are no more."""
        ...

    def replay(self, trial_id: str, hparams: Mapping[str, Any], proposed_by: ProposedBy) -> None:
        """Record a proposal made before the run was resumed, in the order of the journal.

        It is then treated as if it had just been asked for: it is reported and finished like any other, and
        not proposed again.
        """
        ...

    def report(self, trial_id: str, rung: int, *values: float) -> None:
        """Report the value at the end of a rung, also of the rung at which the trial stops.

        With several objectives, report one value for each, in their order.
        """
        ...

    def finish(self, trial_id: str, status: Status, *, cause: str = "") -> None:
        """Report how the trial ended, or that it pauses; once for each `ask` or `resume`.

        Args:
            cause: Why it failed, as named by `search.trial.failure`. A failed attempt that is retried is not
                reported.
        """
        ...

    def resume(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        """Report that a paused trial continues: it will be reported and finished again."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far a choosing sampler trusts ranks and its model, and how well the model predicts trials.

    Attributes:
        share_of_ranks: Fraction of its decisions that follow the ranks at rungs, in [0, 1].
        losses: One minus the rank correlation with the latest outcomes, for ranks and for the model; None
            while there are too few.
        num_foreseen: Number of values that the model had predicted.
        num_covered: Number of these values that lay within its 80 % interval.
    """

    share_of_ranks: float
    losses: tuple[float, float] | None
    num_foreseen: int
    num_covered: int


@runtime_checkable
class ChoosingSampler(Sampler, Protocol):
    """A sampler that also decides which paused trial is trained further."""

    @property
    def choice_record(self) -> Mapping[str, Any]:
        """What made the last choice, its score, and the fraction of decisions by rank, as plain data."""
        ...

    def ending_record(self, trial_id: str) -> Mapping[str, Any]:
        """Return predictions and outcomes of a trial since it started or resumed, as plain data.

        Call it before `finish`. `foreseen` has a list for each prediction: the epoch, the low end of the 80 %
        interval, the expected value, the high end, and the value observed.
        """
        ...

    @property
    def trust(self) -> Trust:
        """How far it trusts ranks and its model now."""
        ...

    def choose(self, *, lowest_rung: int, may_start: bool, is_last_call: bool = False) -> str | None:
        """Return the paused trial to train further; None leaves the worker to a new trial, if one may start.

        Args:
            lowest_rung: Ranks at rungs below this one mislead.
            is_last_call: Nothing runs and no trial will come: choose the one that gives the search a fully
                trained trial, if it has none yet.
        """
        ...

    def hopeless(self) -> list[str]:
        """Return the paused trials whose state is not worth its disk space, the least promising first."""
        ...

    def is_due_to_the_top(self, trial_id: str | None) -> bool:
        """Whether this paused trial, once it continues, trains to the end."""
        ...

    def on_epoch(self, trial_id: str, epoch: int, value: float, *, ended_rung: int | None) -> None:
        """Report the finite value of an epoch, each epoch once and in order."""
        ...


class FixedList:
    """Proposes a given list in its order and learns nothing: promotion, lists and designs."""

    def __init__(self, proposals: Sequence[Proposal]) -> None:
        self._proposals = list(proposals)
        self.exhausted_reason = ""

    @property
    def num_left(self) -> int:
        return len(self._proposals)

    def ask(self, trial_id: str) -> Proposal | None:
        if self._proposals:
            return self._proposals.pop(0)
        self.exhausted_reason = "the whole list was tried"
        return None

    def replay(self, trial_id: str, hparams: Mapping[str, Any], proposed_by: ProposedBy) -> None:
        """Remove the first remaining proposal with these hparams; seeds come in the list's order."""
        keys = [identity(proposal.hparams) for proposal in self._proposals]
        if identity(hparams) in keys:
            del self._proposals[keys.index(identity(hparams))]

    def report(self, trial_id: str, rung: int, *values: float) -> None:
        return None

    def finish(self, trial_id: str, status: Status, *, cause: str = "") -> None:
        return None

    def resume(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        return None


Point = tuple[dict[str, Any], ProposedBy]
MOST_START_UP = 5  # Optuna's 10 took a tenth more epochs in `make bench-search`


def first_points(space: Space, defaults: Mapping[str, Any]) -> list[Point]:
    """Return what every search begins with: the default configuration, then the space's initial points."""
    starts: list[Point] = [({**defaults, **point}, "initial") for point in space.initial_points]
    return [(dict(defaults), "default"), *starts]


class FirstPoints:
    """The first points not yet asked for: those that every search begins with, then its portfolio."""

    def __init__(self, space: Space, defaults: Mapping[str, Any]) -> None:
        taken = () if space.start == "default" else space.portfolio.points or ()
        self._proposals = [
            *(
                Proposal(hparams=point, proposed_by=proposed_by)
                for point, proposed_by in first_points(space, defaults)
            ),
            *(
                Proposal(
                    hparams={**defaults, **point.hparams}, proposed_by="portfolio", parent_trial=point.source
                )
                for point in taken
            ),
        ]

    @property
    def is_left(self) -> bool:
        return bool(self._proposals)

    def pop(self, seen: Container[Hashable]) -> Proposal | None:
        """Remove and return the next point whose identity is not in `seen`; None when there are no more."""
        while self._proposals:
            proposal = self._proposals.pop(0)
            if identity(proposal.hparams) not in seen:
                return proposal
        return None

    def remove(self, hparams: Mapping[str, Any], *, is_default: bool) -> None:
        """Drop a point asked for before the run was resumed; the default is dropped whatever it was then."""
        self._proposals = [
            proposal
            for proposal in self._proposals
            if identity(proposal.hparams) != identity(hparams)
            and not (is_default and proposal.proposed_by == "default")
        ]


def start_up_points(num_trials: int | None) -> int:
    """Return the number of points to ask for before a sampler's model decides: at most a third of all trials.

    Points count as soon as they are asked for. Optuna counts ended trials instead, and so draws one more
    random point for each further worker.
    """
    return MOST_START_UP if num_trials is None else max(1, min(MOST_START_UP, num_trials // 3))
