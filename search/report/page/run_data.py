"""Everything that a page shows of a run, read once from the run's folder.

Most sections read no other file, so they all show the same moment of a run that may not have ended, and tests
make the data from a history in memory. What several sections need, such as the ranking, is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from search.accounting.unreported import lost_mj
from search.energy.units import to_joules
from search.guessing import AgainstGuessing, against_guessing
from search.ledger import Ledger
from search.ledger.history import Event, History, TrialRecord
from search.promotion import BASELINES
from search.rank_correlation import RungCorrelation, rung_correlations
from search.ranking import Configuration, configurations
from search.report.formatting import rung_text
from search.report.page.bounds import reached_bounds
from search.report.unmeasured import no_energy_text
from search.space import Space
from search.space.parameters import Edge
from search.space.record import recorded_trainable
from search.tables.promoted import examples_in, promoted_rows, winner_of
from trainables.core.contract import Trainable


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The promoted trainings of a run, which have a folder and a journal of their own.

    Attributes:
        ledger: The ledger of the promotion, not of the search.
        rows: The rows of promoted.csv, the best on validation first.
    """

    ledger: Ledger
    history: History
    rows: Sequence[Mapping[str, Any]]

    @property
    def winner(self) -> Mapping[str, Any] | None:
        """The row of the best searched configuration; None if no training of one has finished."""
        return winner_of(self.rows, self.history)

    def trainings(self, source: str) -> list[TrialRecord]:
        """The finished full trainings of one configuration, in the order of their seeds."""
        runs = [run for run in self.history.trials.values() if run.parent_trial == source]
        return [run for run in runs if run.status == "finished"]


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run as its journal records it.

    Attributes:
        environment: environment.json of the last session; empty if the file is missing.
        promotion: The latest promotion; None before the first.
    """

    ledger: Ledger
    space: Space
    history: History
    events: Sequence[Event] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    promotion: Promotion | None = None

    @property
    def name(self) -> str:
        return self.ledger.folder.name

    @property
    def metric(self) -> str:
        return self.space.metric

    @property
    def metric_title(self) -> str:
        """The metric with its direction, for an axis: for an error rate, lower points are the good ones."""
        return f"{self.metric} ({'larger' if self.space.mode == 'max' else 'smaller'} is better)"

    @cached_property
    def trials(self) -> list[TrialRecord]:
        return list(self.history.trials.values())

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Configurations with a score, best first; without repeats each trial is one."""
        return configurations(self.trials, self.metric, self.space.mode, repeats=self.space.repeats)

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """Trials with a score, those of the best configuration first."""
        return [trial for each in self.configurations for trial in each.scored]

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Ranks by trial, which repeats of a configuration share; trials without a score have none."""
        order = enumerate(self.configurations, start=1)
        return {trial.trial_id: rank for rank, each in order for trial in each.scored}

    @cached_property
    def in_order(self) -> list[TrialRecord]:
        """All trials: the ranked ones in their order, then the others in the order they were proposed."""
        return [*self.ranked, *(trial for trial in self.trials if trial.trial_id not in self.ranks)]

    @property
    def best(self) -> TrialRecord | None:
        """The trial that ranks first: the largest budget, then the metric. None if no trial has a score."""
        return next(iter(self.ranked), None)

    @cached_property
    def against_guessing(self) -> AgainstGuessing | None:
        """The best configuration against guessing on validation; None if the score of guessing is unknown."""
        order = self.configurations
        return against_guessing(self.space, order[0], num_compared=len(order)) if order else None

    @property
    def default(self) -> TrialRecord | None:
        return next((trial for trial in self.trials if trial.proposed_by == "default"), None)

    @cached_property
    def beside_default(self) -> tuple[int, list[float], list[float]] | None:
        """The highest rung that the best configuration and the default both completed, and the scores of
        their repeats there; None if there is no such rung.

        The default may have been stopped, and its score from fewer epochs would make any trial that ran
        longer look better.
        """
        defaults = [trial for trial in self.trials if trial.proposed_by == "default"]
        for best in self.configurations[:1]:
            for rung in range(best.rung, -1, -1):
                ours, its = (self._values_at(trials, rung) for trials in (best.scored, defaults))
                if ours and its:
                    return rung, ours, its
        return None

    def _values_at(self, trials: Sequence[TrialRecord], rung: int) -> list[float]:
        values = (trial.value_at(self.metric, rung) for trial in trials)
        return [value for value in values if value is not None]

    @cached_property
    def rung_correlations(self) -> list[RungCorrelation]:
        return rung_correlations(
            self.trials, self.metric, self.space.mode, num_rungs=len(self.space.ladder.rungs)
        )

    @cached_property
    def reached_bounds(self) -> dict[str, Edge]:
        """The parameters whose bound the best trial has reached and which could go beyond it."""
        return reached_bounds(self.space, self.best, self._accepts) if self.best else {}

    @cached_property
    def trainable(self) -> Trainable:
        """The trainable as the run recorded it."""
        return recorded_trainable(self.ledger.folder, self.space)

    def _accepts(self, hparams: Mapping[str, Any]) -> bool:
        """Whether the recorded trainable accepts these hparams."""
        try:
            self.trainable.hparams(**hparams)
        except ValueError:
            return False
        except TypeError:  # hparams that were renamed since the run began
            return True
        return True

    @cached_property
    def shown_hparams(self) -> list[str]:
        """The searched hparams, then those that differ between trials without being searched, as those of
        initial points may."""
        names = dict.fromkeys((*self.space.parameters, *(n for trial in self.trials for n in trial.hparams)))
        return [name for name in names if name in self.space.parameters or self._varies(name)]

    @property
    def num_epochs(self) -> int:
        """Epochs of all trials, repeated ones too."""
        return sum(len(trial.rows) for trial in self.trials)

    @property
    def seconds(self) -> float:
        """The duration of all sessions together, without the time between a kill and the next start."""
        sessions = self.history.sessions
        return sum(one.elapsed_s for one in sessions.all)

    @cached_property
    def spent_j(self) -> float | None:
        """Joules of trials, background and idle devices, lost ones included; None if nothing was measured."""
        further_mj = self.history.sessions.beside_mj + lost_mj(self.history)
        reported_mj = self.history.reported_mj
        return None if reported_mj is None and not further_mj else to_joules((reported_mj or 0) + further_mj)

    @cached_property
    def energy_mj(self) -> dict[str, int | None]:
        """Millijoules of all attempts by trial; None if unknown. Cached, because a trial adds them up at each
        access, and several sections need them."""
        return {trial.trial_id: trial.energy.total_mj for trial in self.trials}

    @property
    def energy_reason(self) -> str:
        """Why joules are unknown, and how to have them estimated; the page says it in one place."""
        return no_energy_text(self.trials)

    def rung_name(self, rung: int) -> str:
        """A rung as "rung 1 (2 epochs, 20 px)"."""
        return f"rung {rung} ({rung_text(self.space.ladder, rung)})"

    def _varies(self, name: str) -> bool:
        """Whether trials differ in a hyperparameter, compared by `repr`: a value may be a list, and 1 is not
        1.0 or True."""
        return len({repr(trial.hparams[name]) for trial in self.trials if name in trial.hparams}) > 1


def read_run(folder: Path) -> RunData:
    """Read the run in `folder`, whether it has ended or not.

    Raises:
        LedgerError: There is no run, or its journal cannot be read.
        SpaceError: Its space or its record of the trainable cannot be used.
    """
    ledger = Ledger.open(folder)
    events = ledger.events()
    return run_data(ledger, ledger.read_space(), events, History(events))


def run_data(
    ledger: Ledger,
    space: Space,
    events: Sequence[Event],
    history: History,
    read_history: Callable[[Ledger], History] = Ledger.read_history,
) -> RunData:
    """What a page shows of a run whose journal has already been read.

    Args:
        read_history: Reads the histories of its promotion and baselines.

    Raises:
        LedgerError: One of these histories cannot be read.
    """
    return RunData(
        ledger=ledger,
        space=space,
        history=history,
        events=events,
        environment=ledger.environment(),
        promotion=_promotion(ledger, space, history, read_history),
    )


def _promotion(
    ledger: Ledger, space: Space, history: History, read_history: Callable[[Ledger], History]
) -> Promotion | None:
    """The latest promotion with its rows, including those of baselines; None without one.

    Rows are computed from the journals, not read from promoted.csv, which is written at the end of a
    promotion: while one runs, the file is missing or an earlier promotion's.
    """
    latest = _latest(ledger.promotion_folder)
    if latest is None:
        return None
    promoted = read_history(latest)
    sources = dict.fromkeys(run.parent_trial for run in promoted.trials.values())
    trials = [history.trials[source] for source in sources if source in history.trials]
    baselines = [_latest(ledger.baseline_folder(name)) for name in BASELINES]
    rows = promoted_rows(
        trials,
        promoted,
        space,
        [(read_history(each), examples_in(each)) for each in baselines if each],
        examples=examples_in(latest),
    )
    return Promotion(ledger=latest, history=promoted, rows=rows)


def _latest(folder: Path) -> Ledger | None:
    """The latest of `folder`, `folder-2` and so on that has a run.

    By what their journals say, not by the files' times: those of a run that was copied, or fetched from a
    bucket, are of the moment when it was.
    """
    found = [ledger for path in folder.parent.glob(f"{folder.name}*") if (ledger := Ledger(path)).has_run]
    return max(found, key=_last_written) if len(found) > 1 else next(iter(found), None)


def _last_written(ledger: Ledger) -> tuple[float, int, str]:
    """When the last intact line of a journal was written; of equal ones promotion-10 comes after -2."""
    events = ledger.journal.scan().events
    return events[-1]["time"] if events else 0.0, len(ledger.folder.name), ledger.folder.name
