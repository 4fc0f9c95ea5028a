"""The head of a page: best score, epochs, time and energy, each with what to compare it with. Pure.

A figure that is unknown says why: nothing here is 0 for lack of a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from search.report.forecast import kept_forecast, time_text
from search.report.formatting import duration, kwh_text, value_text
from search.report.gain import default_of
from search.report.page.elements import Head, HeadFigure
from search.report.page.run_data import RunData
from search.report.unmeasured import energy_note


def head(run: RunData) -> Head:
    """The four figures at the head of the page."""
    return Head(figures=[_best(run), _epochs(run), _time(run), _energy(run)])


def _best(run: RunData) -> HeadFigure:
    """The winner's gain with its interval, or the best of the search, which was chosen for its score."""
    winner = run.promotion.winner if run.promotion else None
    if run.promotion and winner and winner["gain_mean"] is not None and not winner["is_default"]:
        default = default_of(run.promotion.rows)
        low, high = winner["gain_low"], winner["gain_high"]
        interval = "" if low is None else f" (95 % interval {low:+.3g} to {high:+.3g})"
        scores = f"{_score(winner)} in full" + (f", {_score(default)} for the default" if default else "")
        return HeadFigure(
            name="gain over the default",
            value=f"{winner['gain_mean']:+.3g}",
            detail=f"{winner['conclusion']}{interval}; {scores}",
        )
    if run.best is None:
        return HeadFigure(name=f"best {run.metric}", value="none", detail="no trial has a score")
    detail = f"{run.best.trial_id} at {run.rung_name(run.configurations[0].rung)}; {_beside_default(run)}"
    if not run.promotion:
        detail += "; not promoted yet"
    elif winner and winner["is_default"]:
        detail += "; after full training the default is the best"
    return HeadFigure(name=f"best {run.metric}", value=value_text(run.configurations[0].mean), detail=detail)


def _beside_default(run: RunData) -> str:
    """The default's score at the rung of the best, as the mean over its repeats."""
    best = run.configurations[0]
    if best.first.proposed_by == "default":
        return "it is the default"
    if run.beside_default is None or run.beside_default[0] != best.rung:
        return "the default has no score there"
    return f"{value_text(fmean(run.beside_default[2]))} for the default"


def _score(row: Mapping[str, Any]) -> str:
    return value_text(row["test_mean"] if row["test_mean"] is not None else row["val_mean"])


def _epochs(run: RunData) -> HeadFigure:
    """Epochs trained, against a full training of every trial."""
    num_trials = len(run.trials)
    whole = num_trials * run.space.ladder.ends[-1]
    share = "" if not whole else f": {run.num_epochs / whole:.0%} of {whole}, a full training of each"
    limit = run.space.limits.trials
    return HeadFigure(
        name="epochs",
        value=str(run.num_epochs),
        detail=f"{num_trials}{f' of {limit}' if limit else ''} trials{share}",
    )


def _time(run: RunData) -> HeadFigure:
    forecast = kept_forecast(run.ledger, run.space.limits)
    if forecast is None or forecast.seconds is None:
        return HeadFigure(name="time", value=duration(run.seconds), detail="no forecast")
    detail = f"forecast {time_text(forecast.seconds)}"
    return HeadFigure(name="time", value=duration(run.seconds), detail=detail)


def _energy(run: RunData) -> HeadFigure:
    joules, tariff = run.spent_j, run.space.limits.tariff
    if joules is None:
        return HeadFigure(name="energy", value="unknown", detail="see Energy")
    worth = tariff.text(joules)
    detail = f"{worth} at {tariff.co2e_basis}" if tariff.co2e_g(joules) is not None else worth
    return HeadFigure(
        name="energy",
        value=kwh_text(joules),
        detail=(detail or f"CO2e {tariff.co2e_basis}") + energy_note(run.trials),
    )
