"""The freeze-thaw search behind the contract of a sampler."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import astuple
from typing import Any

from search.freeze_thaw.decider import MOST_DRAWS, Choice, FreezeThaw
from search.ledger.history import ProposedBy, Status
from search.sampling.feasibility import INFEASIBLE
from search.sampling.proposal import FirstPoints, Proposal, Trust
from search.space import Space
from search.space.parameters import identity


class FreezeThawSampler:
    """Decides which paused trial is trained further and where a new one starts; see `FreezeThaw`.

    None of its state is stored: a resumed run tells it the same events in the order of the journal, and it
    decides the same.

    Args:
        defaults: The default configuration: every hparam of the trainable.

    Attributes:
        choice: The last choice of `choose`, for the journal; None for a first point.
    """

    def __init__(self, space: Space, defaults: Mapping[str, Any]) -> None:
        ladder = space.ladder
        # If rungs differ in more than epochs, a curve jumps between them and only their ends compare.
        self._steps = list(ladder.ends) if ladder.pauses else list(range(1, len(ladder.rungs) + 1))
        self._search = FreezeThaw(space, defaults, self._steps)
        self._pauses = ladder.pauses
        self._first = FirstPoints(space, defaults)
        self._seen: set[Hashable] = set()  # includes first points, which may repeat each other
        self._hparams: dict[str, Mapping[str, Any]] = {}
        self._default_id: str | None = None
        self._finished: set[str] = set()
        self._paused: set[str] = set()
        self._foreseen: dict[str, list[list[float]]] = {}  # by trial, since it started or resumed
        self.choice: Choice | None = None
        self.exhausted_reason = ""

    @property
    def num_left(self) -> None:
        return None

    @property
    def choice_record(self) -> Mapping[str, Any]:
        if self.choice is None:
            return {}
        share = round(self._search.guard.share, 4)
        record: dict[str, Any] = {"decided_by": self.choice.decided_by, "ranks_share": share}
        if self.choice.score is not None and math.isfinite(self.choice.score):
            record["score"] = round(self.choice.score, 4)
        return record

    @property
    def trust(self) -> Trust:
        guard = self._search.guard
        return Trust(
            share_of_ranks=guard.share,
            losses=guard.losses,
            num_foreseen=guard.num_foreseen,
            num_covered=guard.num_covered,
        )

    def ending_record(self, trial_id: str) -> Mapping[str, Any]:
        foreseen = self._foreseen.get(trial_id)
        return {"foreseen": foreseen} if foreseen else {}

    def choose(self, *, lowest_rung: int, may_start: bool, is_last_call: bool = False) -> str | None:
        """Return the paused trial to train further; None leaves the worker to a new trial."""
        self.choice = None
        if is_last_call:
            return None if self._finished else self._search.furthest()
        if self.is_due_to_the_top(self._default_id):
            return self._default_id
        if may_start and self._first.is_left:
            return None
        self.choice = self._search.choose(may_start=may_start, lowest_rung=lowest_rung)
        return self.choice.trial_id if self.choice else None

    def hopeless(self) -> list[str]:
        """Return the paused trials whose state can go, the first to go first; see `FreezeThaw.hopeless`."""
        return [trial_id for trial_id in self._search.hopeless() if trial_id != self._default_id]

    def is_due_to_the_top(self, trial_id: str | None) -> bool:
        """Whether this is the paused default configuration, and another trial has completed the ladder.

        It then trains to the end without a pause: it shows what the search has gained, and also whether low
        ranks mean anything, because it is the one trial that ranks have not chosen.
        """
        return trial_id == self._default_id and trial_id in self._paused and bool(self._finished)

    def ask(self, trial_id: str) -> Proposal | None:
        first = self._first.pop(self._seen)
        chosen = self.choice.hparams if self.choice else None
        hparams = first.hparams if first else self._search.new_point(chosen)
        if hparams is None:
            self.exhausted_reason = f"the space is exhausted: {MOST_DRAWS} draws repeated earlier points"
            return None
        self._take(trial_id, hparams)
        proposal = first or Proposal(hparams=hparams, proposed_by="sampler")
        if proposal.proposed_by == "default":
            self._default_id = trial_id
        return proposal

    def replay(self, trial_id: str, hparams: Mapping[str, Any], proposed_by: ProposedBy) -> None:
        self._first.remove(hparams, is_default=proposed_by == "default")
        if proposed_by == "default":
            self._default_id = trial_id
        self._take(trial_id, hparams)

    def on_epoch(self, trial_id: str, epoch: int, value: float, *, ended_rung: int | None) -> None:
        """Record an epoch's finite value; `ended_rung` is the rung that the epoch completes, if any."""
        at = epoch if self._pauses else None if ended_rung is None else ended_rung + 1
        if at is not None and (foreseen := self._search.on_epoch(trial_id, at, value)):
            rounded = [float(f"{number:.6g}") for number in astuple(foreseen)]
            self._foreseen.setdefault(trial_id, []).append([epoch, *rounded])

    def report(self, trial_id: str, rung: int, *values: float) -> None:
        return None

    def finish(self, trial_id: str, status: Status, *, cause: str = "") -> None:
        if status == "interrupted":
            return
        self._foreseen.pop(trial_id, None)
        if status == "paused":
            self._paused.add(trial_id)
            self._search.on_paused(trial_id)
            return
        if status == "finished":
            self._finished.add(trial_id)
        if status == "diverged":
            self._search.on_diverged(trial_id)
        if cause in INFEASIBLE or status != "failed":
            self._search.learn_feasibility(self._hparams[trial_id], fits=cause not in INFEASIBLE)
        self._paused.discard(trial_id)
        self._search.withdraw(trial_id)

    def resume(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        self._paused.discard(trial_id)
        self._search.on_resumed(trial_id)

    def _take(self, trial_id: str, hparams: Mapping[str, Any]) -> None:
        self._seen.add(identity(hparams))
        self._hparams[trial_id] = hparams
        self._search.on_asked(trial_id, hparams)
