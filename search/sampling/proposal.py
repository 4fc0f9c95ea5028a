"""What a sampler is asked for and told: its contract, and the sampler that reads from a list."""

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
        seed: The trial's seed; None is the run's own, so that trials differ in hparams alone.
        parent_trial: What this one repeats: a trial of an earlier run (promotion, portfolio), or a recipe.
    """

    hparams: Mapping[str, Any]
    proposed_by: ProposedBy
    seed: int | None = None
    parent_trial: str = ""


@dataclass(frozen=True, kw_only=True)
class EarlierTrial:
    """What an earlier run knows of a trial.

    Attributes:
        values: The metric by the step of each rung the trial ended, as `Ladder.steps` has them.
    """

    hparams: Mapping[str, Any]
    values: Mapping[int, float]
    status: Status
    cause: str = ""


class Sampler(Protocol):
    """Proposes configurations and is told the truth about every one of them."""

    @property
    def exhausted_reason(self) -> str:
        """Why `ask` gave None; empty as long as it has not."""
        ...

    @property
    def num_left(self) -> int | None:
        """Proposals that are still to come; None where only `ask` shows whether there are any."""
        ...

    def ask(self, trial_id: str) -> Proposal | None:
        """The configuration that trial `trial_id` shall train; None when there are no more."""
        ...

    def replay(self, trial_id: str, hparams: Mapping[str, Any], proposed_by: ProposedBy) -> None:
        """Take in a proposal made before a restart, in the order of the journal.

        From then on it is as if it had just been asked for: it is reported and finished like any
        other, and is not proposed again.
        """
        ...

    def report(self, trial_id: str, rung: int, *values: float) -> None:
        """Tell the value at the end of a rung, the one the trial is stopped at too.

        With several objectives: one value of each, in their order.
        """
        ...

    def finish(self, trial_id: str, status: Status, *, cause: str = "") -> None:
        """Tell how the trial ended, or that it pauses; once for each ask or resume.

        Args:
            cause: Why it failed, in the words of `search.trial.failure`. A failed attempt that is
                followed by another one is not told.
        """
        ...

    def resume(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        """Report that a paused trial continues: it will be reported and finished again."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whom a choosing sampler trusts, and how well its model foresees what trials reach.

    Attributes:
        share_of_ranks: Of its decisions the share that ranks at rungs make, in [0, 1].
        losses: One minus the rank correlation with what came lately, of ranks and of the model; None of too
            few.
        num_foreseen: Values of which the model had said what they would be.
        num_covered: Those of them that came to lie within its 80 % interval.
    """

    share_of_ranks: float
    losses: tuple[float, float] | None
    num_foreseen: int
    num_covered: int


@runtime_checkable
class ChoosingSampler(Sampler, Protocol):
    """A sampler that also says which paused trial is trained further."""

    @property
    def choice_record(self) -> Mapping[str, Any]:
        """Who chose last, the score of it, and the share of decisions that ranks make, as plain data."""
        ...

    def ending_record(self, trial_id: str) -> Mapping[str, Any]:
        """What was foreseen of the values that a trial has shown since it started or resumed, as plain data.

        To be asked before `finish`. `foreseen` has a list for each: the epoch, the low end of the 80 %
        interval, what was expected, the high end, and the value that came.
        """
        ...

    @property
    def trust(self) -> Trust:
        """Whom it trusts now."""
        ...

    def choose(self, *, lowest_rung: int, may_start: bool, is_last_call: bool = False) -> str | None:
        """The paused trial to train further; None leaves the worker to a new trial, if one may start.

        Args:
            lowest_rung: Ranks at rungs below it mislead.
            is_last_call: Nothing runs and no trial will come: one that brings a search to a fully trained
                trial, if none is there yet.
        """
        ...

    def hopeless(self) -> list[str]:
        """The paused trials whose state is not worth its disk, the least promising first."""
        ...

    def is_due_to_the_top(self, trial_id: str | None) -> bool:
        """Whether this paused trial, if it continues, continues to the end."""
        ...

    def on_epoch(self, trial_id: str, epoch: int, value: float, *, ended_rung: int | None) -> None:
        """Tell the finite value of an epoch, each once and in order."""
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
        """Strike out the first that is left with these hparams; seeds come in the list's order."""
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
MOST_START_UP = 5  # Optuna's 10 cost a tenth more of the epochs of `make bench-search`


def first_points(space: Space, defaults: Mapping[str, Any]) -> list[Point]:
    """What every search begins with: the default configuration, then the space's start points."""
    starts: list[Point] = [({**defaults, **point}, "initial") for point in space.initial_points]
    return [(dict(defaults), "default"), *starts]


class FirstPoints:
    """The first points that are still to be asked for: those of every search, then its portfolio."""

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
        """The next one that is not among the identities `seen`; None when there are no more."""
        while self._proposals:
            proposal = self._proposals.pop(0)
            if identity(proposal.hparams) not in seen:
                return proposal
        return None

    def remove(self, hparams: Mapping[str, Any], *, is_default: bool) -> None:
        """Leave out what was asked for before a restart; the default, whatever it was then."""
        self._proposals = [
            proposal
            for proposal in self._proposals
            if identity(proposal.hparams) != identity(hparams)
            and not (is_default and proposal.proposed_by == "default")
        ]


def start_up_points(num_trials: int | None) -> int:
    """How many points are asked for before a sampler's model decides: at most a third of all.

    Counted as they are asked for. Optuna counts those that ended, and so draws a random point
    more for each further worker.
    """
    return MOST_START_UP if num_trials is None else max(1, min(MOST_START_UP, num_trials // 3))
