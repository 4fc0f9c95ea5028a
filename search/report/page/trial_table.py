"""The table of all trials. Pure.

No trial is left out: one without a score has no rank but is listed all the same, with its state, because what
is missing is part of the result.
"""

from __future__ import annotations

from dataclasses import replace

from search.energy.units import to_joules
from search.energy.usable import NO_SENSOR
from search.ledger.history import TrialRecord
from search.ranking import Configuration
from search.report.formatting import mean_text
from search.report.page.elements import Cell, Element, Section, Table, Text, hparam_cell, number_cell
from search.report.page.run_data import RunData
from search.report.page.trial_details import trial_details

_REASONS_SHOWN = 3  # for missing joules; on a cluster each node may have its own


def trial_section(run: RunData) -> Section:
    """Every trial: the ranked ones in their order, then the others."""
    reasons = list(dict.fromkeys(filter(None, (_no_energy_reason(run, trial) for trial in run.trials))))
    note = (
        "Ranked by the largest budget, then by the metric. Click a column's name to sort by it, and a "
        "trial's to see its curve, hyperparameters, log and confusion."
    )
    table = replace(trial_table(run), trial_column="trial")
    elements: list[Element] = [Text(text=note), table.without_empty_columns()]
    if run.space.repeats > 1:
        repeated = "Repeats of a configuration rank together, by the mean of those that have a score."
        elements[1:1] = [Text(text=repeated), configuration_table(run)]
    if reasons and all(mj is None for mj in run.energy_mj.values()):
        elements.append(Text(text="Energy is empty because it is unknown: see Energy."))
    elif reasons:
        shown = "; ".join(reasons[:_REASONS_SHOWN])
        elements.append(Text(text=f"Energy is empty if it is unknown: {shown}."))
    if table.rows and (empty := table.empty_columns):
        elements.append(
            Text(text=f"Columns left out because they are empty for all trials: {', '.join(empty)}.")
        )
    if run.trials:
        elements.append(trial_details(run))
    return Section(key="trials", title="Trials", elements=elements)


def configuration_table(run: RunData) -> Table:
    """A row for each configuration with a score, for spaces that repeat configurations."""
    columns = ("rank", "trial", f"{run.metric} (mean)", "repeats", "rung")
    return Table(
        caption=f"{len(run.configurations)} configurations, each with its repeats",
        columns=[*columns, *run.shown_hparams],
        rows=[_configuration(run, rank, each) for rank, each in enumerate(run.configurations, start=1)],
    )


def _configuration(run: RunData, rank: int, each: Configuration) -> list[Cell]:
    """One configuration. Its cells split the text of `mean_text`: "0.95 ± 0.01 (3 repeats)"."""
    trial = each.first
    mean, _, repeats = mean_text(each).partition(" (")
    return [
        number_cell(rank),
        Cell(text=_name(trial), order=trial.trial_id, hint=" ".join(one.trial_id for one in each.trials)),
        number_cell(each.mean, mean),
        Cell(text=repeats.removesuffix(")") or "1 repeat", order=len(each.scored)),
        number_cell(each.rung),
        *(hparam_cell(trial.hparams.get(name)) for name in run.shown_hparams),
    ]


def _name(trial: TrialRecord) -> str:
    return trial.trial_id + (" (default)" if trial.proposed_by == "default" else "")


def trial_table(run: RunData) -> Table:
    """A row for each trial: ranked ones in their order, then the others. Repeats of one configuration
    share a rank."""
    columns = ("rank", "trial", run.metric, *run.shown_hparams)
    table = Table(
        caption=f"{len(run.trials)} trials of {run.name}",
        columns=[*columns, "rung", "epochs", "state", "time (s)", "energy (J)"],
        rows=[_row(run, trial) for trial in run.in_order],
    )
    return table.with_constants_last(first=3)


def _row(run: RunData, trial: TrialRecord) -> list[Cell]:
    return [
        number_cell(run.ranks.get(trial.trial_id)),
        Cell(text=_name(trial), order=trial.trial_id),
        number_cell(trial.value(run.metric)),
        *(hparam_cell(trial.hparams.get(name)) for name in run.shown_hparams),
        number_cell(trial.rung),
        number_cell(trial.epochs),
        state_cell(trial),
        number_cell(trial.seconds, f"{trial.seconds:.1f}"),
        _joules_cell(run, trial),
    ]


def state_cell(trial: TrialRecord) -> Cell:
    """The state of a trial, with the cause of a failure, and the message under the mouse."""
    state = trial.status + (f": {trial.cause}" if trial.cause and trial.cause != trial.status else "")
    return Cell(text=state, order=state, hint=trial.message)


def _joules_cell(run: RunData, trial: TrialRecord) -> Cell:
    """The joules of a trial, or an empty cell with the reason: 0 would rank it as the most frugal."""
    mj = run.energy_mj[trial.trial_id]
    if mj is None:
        return number_cell(None, hint=_no_energy_reason(run, trial))
    return number_cell(to_joules(mj), f"{to_joules(mj):.1f}")


def _no_energy_reason(run: RunData, trial: TrialRecord) -> str:
    if run.energy_mj[trial.trial_id] is not None:
        return ""
    return trial.sensors.get("reason") or NO_SENSOR
