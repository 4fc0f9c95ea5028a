"""The first section: the verdict, how the run went, and what to try next. Pure."""

from __future__ import annotations

from search.budget import Spent
from search.report.forecast import outcome_text
from search.report.forecast_reporter import kept_forecast
from search.report.formatting import parameter_text, rung_text
from search.report.page.elements import Pairs, Points, Section, Text
from search.report.page.run_data import Facts
from search.report.page.verdict import advice, ending, spent_text, trust_sentence, verdict


def overview(facts: Facts) -> Section:
    """What a reader should know who reads nothing else."""
    lead, *more = verdict(facts)
    return Section(
        key="summary",
        title="Summary",
        parts=[
            Text(text=lead, is_lead=True),
            *(Text(text=line) for line in more),
            Text(text=f"{ending(facts)} It took {spent_text(facts)}."),
            *_foretold(facts),
            Text(text=trust_sentence(facts)),
            Text(text="What to try next:"),
            Points(points=advice(facts)),
            Pairs(pairs=_settings(facts)),
        ],
    )


def _foretold(facts: Facts) -> list[Text]:
    """What came true of the forecast, where there was one."""
    told = kept_forecast(facts.ledger)
    if told is None or facts.history.ended is None:
        return []
    spent = Spent(trials=len(facts.trials), hours=facts.seconds / 3600, energy_j=facts.spent_j)
    num_epochs = sum(len(trial.rows) for trial in facts.trials)
    return [Text(text=f"Against its forecast it {outcome_text(told, epochs=num_epochs, spent=spent)}.")]


def _settings(facts: Facts) -> list[tuple[str, str]]:
    space = facts.space
    ladder = "; ".join(
        f"{number}: {rung_text(space.ladder, number)}" for number in range(len(space.ladder.rungs))
    )
    limits = vars(space.limits).items()
    return [
        ("trained", space.title),
        ("judged by", ", ".join(space.objective)),
        (
            "searched",
            "; ".join(f"{name}: {parameter_text(p)}" for name, p in space.parameters.items()) or "-",
        ),
        ("fixed", ", ".join(f"{name}={value}" for name, value in space.fixed.items()) or "-"),
        ("rungs", f"{ladder}; horizon {space.ladder.horizon}"),
        ("who goes on", f"{space.scheduler.mode}, eta {space.scheduler.eta:g}; sampler {space.sampler}"),
        ("limits", ", ".join(f"{value:g} {name}" for name, value in limits if value is not None) or "none"),
        ("seed", str(space.seed)),
    ]
