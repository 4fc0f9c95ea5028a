"""How the points of a search's portfolio fared, as sentences. Pure.

They have no privilege: rungs judge them like any other point. So the question is whether what was good on
other data is good here: whether a point reached the top third of the other trials at its lowest rung.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.ledger.history import TrialRecord
from search.report.formatting import value_text
from search.space import Space

_FEWEST_OTHERS = 3  # fewer have no third


@dataclass(frozen=True, kw_only=True)
class StartOutcome:
    """How a point of the portfolio fared.

    Attributes:
        rung: The lowest rung that it completed; None if it completed none.
        num_others: Trials from outside the portfolio that have a value at that rung.
        is_top: Whether it was in the top third of these, False if it was lost without a value (diverged,
            failed, infeasible); None if that is not known.
    """

    trial: TrialRecord
    rung: int | None
    num_others: int
    is_top: bool | None


def start_outcomes(trials: Sequence[TrialRecord], space: Space) -> list[StartOutcome]:
    """How each point of the portfolio that has been tried fared, in the order of the trials."""
    taken = [trial for trial in trials if trial.proposed_by == "portfolio"]
    others = [trial for trial in trials if trial.proposed_by != "portfolio"]
    return [_outcome(trial, others, space) for trial in taken]


def portfolio_sentence(trials: Sequence[TrialRecord], space: Space) -> str:
    """Whether what was good elsewhere is good here; empty without a portfolio."""
    found = start_outcomes(trials, space)
    if not found:
        return ""
    judged = [each for each in found if each.is_top is not None]
    if not judged:
        return f"too few other trials to compare {_counted(found)} of the portfolio with"
    top = [each for each in judged if each.is_top]
    others = f"the top third of up to {max(each.num_others for each in judged)} others at their lowest rung"
    if not top:
        return f"0 of {_counted(judged)} of the portfolio reached {others}: it does not help here"
    names = ", ".join(_named(each.trial) for each in top)
    return f"{len(top)} of {_counted(judged)} of the portfolio reached {others}: {names}"


def portfolio_points(trials: Sequence[TrialRecord], space: Space) -> list[str]:
    """A line for each point of the portfolio: where it came from, and how it did."""
    return [_line(each, space) for each in start_outcomes(trials, space)]


def _outcome(trial: TrialRecord, others: Sequence[TrialRecord], space: Space) -> StartOutcome:
    ended = (row.ended_rung for row in trial.rows if row.ended_rung is not None)
    rung = min(ended, default=None)
    value = None if rung is None else trial.value_at(space.metric, rung)
    if rung is None or value is None:
        is_lost = trial.status in ("diverged", "failed", "infeasible")
        return StartOutcome(trial=trial, rung=rung, num_others=0, is_top=False if is_lost else None)
    sign = 1 if space.mode == "max" else -1
    values = [each for other in others if (each := other.value_at(space.metric, rung)) is not None]
    num_better = sum(sign * each > sign * value for each in values)
    is_top = num_better < len(values) / 3 if len(values) >= _FEWEST_OTHERS else None
    return StartOutcome(trial=trial, rung=rung, num_others=len(values), is_top=is_top)


def _counted(found: Sequence[StartOutcome]) -> str:
    return "1 point" if len(found) == 1 else f"{len(found)} points"


def _line(each: StartOutcome, space: Space) -> str:
    value = None if each.rung is None else each.trial.value_at(space.metric, each.rung)
    if value is None:
        return f"{_named(each.trial)}: {each.trial.status}, without a value at any rung"
    place = {
        True: f"in the top third of {each.num_others} others",
        False: f"not in the top third of {each.num_others} others",
        None: "too few others to compare with",
    }[each.is_top]
    return f"{_named(each.trial)}: {space.metric} {value_text(value)} at rung {each.rung}, {place}"


def _named(trial: TrialRecord) -> str:
    return f"{trial.trial_id} (from {trial.parent_trial})"
