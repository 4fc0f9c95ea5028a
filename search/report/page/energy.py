"""The energy of a run: score against joules, and joules by outcome. Pure.

It answers two questions: which configuration is good for its energy (a scatter with the Pareto front), and
where the joules of the search went (bars). Those of stopped and failed trials are the price of searching.
"""

from __future__ import annotations

from dataclasses import replace

from search.accounting.spending import outcome_millijoules, without_end_text
from search.energy.units import to_joules
from search.report.charts.chart import Chart, Scale, bar_chart
from search.report.page.elements import Element, Section, Table, Text, number_cell, text_cell
from search.report.page.objectives import known_values, pair_chart
from search.report.page.run_data import RunData
from search.space.objectives import Objective

# Keys are the outcomes of `spending.outcome_millijoules`, and "promoted".
_MEANING = {
    "promoted": "full trainings of promote.py",
    "finished": "trials that completed the whole ladder",
    "paused": "trials that wait at a rung to be continued",
    "stopped": "trials ended by a rung, a threshold or patience",
    "diverged": "trials whose loss became NaN or infinite",
    "failed": "trials ended by an error",
    "infeasible": "trials ended because a constraint was broken",
    "interrupted": "trials cut short by the end of the run",
    "running": "trials that are still running",
    "starts": "starts of trainings: imports, data and models",
    "lost": "trainings whose session was killed, or node lost, before they reported it",
    "background": "the workload of --background",
    "idle": "devices while unused",
    "external": "other programs on the devices, not part of the run",
    "unaccounted": "gaps in sampling",
}


def joules_section(run: RunData) -> Section:
    """Both plots with their numbers; if nothing was measured, a sentence with the reason, never zeros."""
    outcomes = _outcomes(run)
    if not outcomes:
        why = f"Left out: the joules of this run were not measured ({run.energy_reason})."
        return Section(key="energy", title="Energy", elements=[Text(text=why)])
    worth = Text(text=f"{spent_worth(run)}.")
    elements: list[Element] = [
        worth,
        *_against_energy(run),
        _outcome_chart(outcomes),
        _outcome_table(outcomes),
    ]
    return Section(key="energy", title="Energy", elements=elements)


def spent_worth(run: RunData) -> str:
    """The emissions and cost of the run's energy, with the basis of each."""
    tariff = run.space.limits.tariff
    parts = [
        tariff.text(run.spent_j),
        f"Grams: {tariff.co2e_basis}",
        f"cost: {tariff.cost_basis}",
        without_end_text(run.history),
    ]
    return "; ".join(filter(None, parts))


def _outcomes(run: RunData) -> dict[str, int]:
    """Millijoules by outcome, the promoted trainings first.

    Promotions have a journal of their own, so no trial of the search has their joules; they are added here.
    """
    of_run = outcome_millijoules(run.history)
    promoted_mj = run.promotion.history.energy.total_mj if run.promotion else None
    return {"promoted": promoted_mj, **of_run} if promoted_mj else of_run


def _against_energy(run: RunData) -> list[Element]:
    """Each trial's score over the joules of its full training, and the Pareto front of both."""
    name = run.space.joules_objective or "energy"
    space = replace(run.space, beside=(Objective(name=name, mode="min", unit="J"),))
    known = known_values(run, space)
    if not known:
        return [Text(text="Score against energy is left out: no trial has both a score and joules.")]
    unit = "one example" if name == "energy_per_example" else "full training, projected"
    chart = pair_chart(
        run,
        space,
        known,
        (0, 1),
        key="energy_front",
        title="Score against energy, with the Pareto front",
        x_title=f"energy of {unit} (J)",
    )
    note = (
        "Joules are projected to full training from the epochs done: joules spent would make a trial that "
        "was stopped early look cheap. The front is that of the highest rung that any trial has completed."
    )
    return [Text(text=note), chart]


def _outcome_chart(outcomes: dict[str, int]) -> Chart:
    """A bar for each outcome, in joules."""
    joules = [(name, to_joules(mj)) for name, mj in outcomes.items()]
    axis = Scale(title="energy (J)")
    return bar_chart(
        "energy_outcome", "Energy by outcome", axis, joules, [f"{each:.1f} J" for _, each in joules]
    )


def _outcome_table(outcomes: dict[str, int]) -> Table:
    """The energy by outcome as numbers, with shares of the whole and what each outcome means."""
    whole_mj = sum(outcomes.values())
    return Table(
        caption="Energy by outcome",
        columns=("outcome", "energy (J)", "share", "what it is"),
        rows=[
            [
                text_cell(name),
                number_cell(to_joules(mj), f"{to_joules(mj):.1f}"),
                number_cell(mj / whole_mj, f"{mj / whole_mj:.3f}"),
                text_cell(_MEANING.get(name, "")),
            ]
            for name, mj in outcomes.items()
        ],
    )
