"""The first sections: the conclusion, how the run went, what to do next; and what was searched. Pure.

The first is for a reader who reads nothing else: every doubt that would change the decision (guessing, a tie,
untrustworthy rungs) is in it, not only in its own section.
"""

from __future__ import annotations

from search.budget import Spent
from search.report.forecast import kept_forecast, outcome_text
from search.report.formatting import given_limits_text, parameter_text, rung_text
from search.report.page.conclusion import advice, conclusion, ending, rank_correlation_sentence, spent_text
from search.report.page.elements import Pairs, Points, Section, Text
from search.report.page.head import head
from search.report.page.run_data import RunData


def overview(run: RunData) -> Section:
    """The first section: figures, the conclusion, how the run went."""
    lead, *more = conclusion(run)
    return Section(
        key="summary",
        title="Summary",
        elements=[
            head(run),
            Text(text=lead, is_lead=True),
            *(Text(text=line) for line in more),
            Text(text=f"{ending(run)} It took {spent_text(run)}."),
            *_forecast_outcome(run),
            Text(text=rank_correlation_sentence(run)),
        ],
    )


def next_section(run: RunData) -> Section:
    """What to do next, the most useful first."""
    return Section(key="next", title="What to do next", elements=[Points(points=advice(run))])


def settings_section(run: RunData) -> Section:
    """The space, for readers who do not have it."""
    return Section(key="space", title="What was searched", elements=[Pairs(pairs=_settings(run))])


def _forecast_outcome(run: RunData) -> list[Text]:
    """The outcome beside the first forecast; nothing without one, or while the run continues.

    A forecast that is corrected on the way always comes true, so the first one is kept.
    """
    forecast = kept_forecast(run.ledger, run.space.limits)
    if forecast is None or run.history.ended is None:
        return []
    spent = Spent(trials=len(run.trials), hours=run.seconds / 3600, energy_j=run.spent_j)
    outcome = outcome_text(forecast, epochs=run.num_epochs, spent=spent)
    return [Text(text=f"Compared with its forecast, it {outcome}.")]


def _settings(run: RunData) -> list[tuple[str, str]]:
    """What was searched, by which rules and up to which limits."""
    space = run.space
    ladder = "; ".join(
        f"{number}: {rung_text(space.ladder, number)}" for number in range(len(space.ladder.rungs))
    )
    return [
        ("trained", space.title),
        ("objective", ", ".join(space.objective)),
        (
            "searched",
            "; ".join(f"{name}: {parameter_text(p)}" for name, p in space.parameters.items()) or "-",
        ),
        ("fixed", ", ".join(f"{name}={value}" for name, value in space.fixed.items()) or "-"),
        ("rungs", f"{ladder}; horizon {space.ladder.horizon}"),
        ("scheduler", f"{space.scheduler.mode}, eta {space.scheduler.eta:g}; sampler {space.sampler_name}"),
        ("limits", given_limits_text(space.limits) or "none"),
        ("seed", str(space.training.seed)),
    ]
