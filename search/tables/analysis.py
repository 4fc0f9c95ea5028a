"""Tables about trials together: configurations, pareto, rung_correlation and duplicate_curves.csv.

A row here is not a single trial but what several of them show: repeats of one point, the front of several
objectives, two rungs compared, a hyperparameter without effect. The calculations are elsewhere (`ranking`,
`objective`, `rank_correlation`, `duplicate_curves`); these are their columns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from search.duplicate_curves import DuplicateCurves, trials_with_one_curve
from search.energy.units import to_joules
from search.ledger.history import History, TrialRecord
from search.rank_correlation import RungCorrelation, rung_correlations
from search.ranking import Configuration, configurations
from search.run.objective import ObjectiveValues, pareto_front
from search.space import Space
from search.tables.columns import (
    METRIC,
    Column,
    ColumnGroup,
    Table,
    column_names,
    for_metric,
    header,
    hparams_group,
    rows_of,
)


@dataclass(frozen=True)
class ConfigurationRow:
    """A configuration with a score, and its rank.

    It is named after its oldest repeat: the name of the best one would change with luck, and promotion takes
    configurations by name.
    """

    rank: int
    found: Configuration


@dataclass(frozen=True)
class ParetoRow:
    """A trial that no other dominates, and its values."""

    space: Space
    trial: TrialRecord
    values: ObjectiveValues

    @property
    def beside(self) -> dict[str, float]:
        """The values of the objectives other than the metric, by name."""
        return dict(zip(self.space.objective[1:], self.values.numbers[1:], strict=True))


# configurations.csv, written if a space asks for repeats. `value_std`, `value_min` and `value_max` show
# whether a lead is more than the spread over seeds; `num_failed` and `num_open` what the mean does not
# include. The names of all repeats are last, as they make the longest cell.
CONFIGURATION_TABLE: Table[ConfigurationRow] = [
    Column("rank", "", "1 is best; the largest budget first, then the mean", lambda row: row.rank),
    Column(
        "trial_id",
        "",
        "the oldest repeat with a score; promotion knows the configuration by its name",
        lambda row: row.found.first.trial_id,
    ),
    Column("proposed_by", "", "as in trials.csv", lambda row: row.found.first.proposed_by),
    Column(METRIC, "its own", "mean over the repeats", lambda row: row.found.mean),
    Column(
        "value_std",
        "the metric's",
        "sample standard deviation over the repeats; empty with one repeat",
        lambda row: row.found.spread,
    ),
    Column("value_min", "the metric's", "lowest value of the repeats", lambda row: min(row.found.values)),
    Column("value_max", "the metric's", "highest value of the repeats", lambda row: max(row.found.values)),
    Column("num_repeats", "trials", "repeats in the mean", lambda row: len(row.found.scored)),
    Column(
        "num_failed",
        "trials",
        "repeats that failed, diverged or are infeasible",
        lambda row: row.found.num_failed,
    ),
    Column(
        "num_open",
        "trials",
        "repeats that neither failed nor completed a rung",
        lambda row: row.found.num_open,
    ),
    Column(
        "rung",
        "",
        "the highest rung that all repeats with a score have completed",
        lambda row: row.found.rung,
    ),
    Column("num_higher", "trials", "repeats that completed a higher rung", lambda row: row.found.num_higher),
    Column(
        "seconds",
        "s",
        "of all repeats, without their starts",
        lambda row: round(sum(trial.seconds for trial in row.found.trials), 3),
    ),
    Column(
        "energy_j",
        "J",
        "of all repeats, as in trials.csv; empty if that of any repeat is unknown",
        lambda row: to_joules(row.found.energy_mj),
    ),
    hparams_group(lambda row: row.found.first.hparams),
    Column(
        "trials",
        "",
        "names of all repeats",
        lambda row: " ".join(trial.trial_id for trial in row.found.trials),
    ),
]


# pareto.csv, written if a space has several objectives: the trials to choose from. Going down, the metric
# gets worse and another objective better. A difference within `energy_uncertainty_j` is no reason to choose.
PARETO_TABLE: Table[ParetoRow] = [
    Column("trial_id", "", "as in trials.csv", lambda row: row.trial.trial_id),
    Column(METRIC, "its own", "as in trials.csv", lambda row: row.trial.value(row.space.metric)),
    ColumnGroup(
        "*the other objectives*",
        "its own",
        "each under its own name. `energy` (J): what full training would use, as "
        "`energy_projected_full_j`; `energy_per_example` (J): joules of its epochs divided by their examples",
        lambda row: row.beside,
    ),
    Column("status", "", "as in trials.csv", lambda row: row.trial.status),
    Column("rung", "", "the same in all rows", lambda row: row.trial.rung),
    Column("epochs", "epochs", "epochs run, as in trials.csv", lambda row: row.trial.epochs),
    Column(
        "energy_uncertainty_j",
        "J",
        "expected error (±) of an objective in joules",
        lambda row: row.values.cost and row.values.cost.uncertainty_j,
    ),
    Column(
        "energy_scope",
        "",
        "the parts included in an objective in joules; trials with other parts than the first are left out",
        lambda row: row.values.cost and row.values.cost.scope,
    ),
    Column("energy_quality", "", "as in trials.csv", lambda row: row.trial.sensors.get("quality", "")),
    hparams_group(lambda row: row.trial.hparams),
]


# rung_correlation.csv: whether a rung ranks trials like the next one. `better_half_value` is the one to read:
# over all trials, the hopeless ones, which are last at any budget, make every ranking look consistent.
RUNG_CORRELATION_TABLE: Table[RungCorrelation] = [
    Column("rung", "", "the rung whose ranking is checked, from 0", lambda rung: rung.rung),
    Column("next_rung", "", "the rung that it is checked against", lambda rung: rung.rung + 1),
    Column("num_trials", "trials", "trials that completed both", lambda rung: rung.num_trials),
    Column(
        "num_control_trials",
        "trials",
        "control trials among them, which continued whatever their value",
        lambda rung: rung.num_control_trials,
    ),
    Column(
        "overall_value",
        "",
        "correlation over all trials, from -1 (reversed) to 1 (the same order); empty with fewer than four",
        lambda rung: rung.overall and rung.overall.value,
    ),
    Column("overall_low", "", "lower end of its interval", lambda rung: rung.overall and rung.overall.low),
    Column("overall_high", "", "upper end", lambda rung: rung.overall and rung.overall.high),
    Column(
        "better_half_value",
        "",
        "correlation over the half that the lower rung ranks higher, where the winner is decided",
        lambda rung: rung.better_half and rung.better_half.value,
    ),
    Column(
        "better_half_low",
        "",
        "lower end of its interval",
        lambda rung: rung.better_half and rung.better_half.low,
    ),
    Column("better_half_high", "", "upper end", lambda rung: rung.better_half and rung.better_half.high),
    Column("warning", "", "why the lower rung's ranking cannot be trusted", lambda rung: rung.warning or ""),
]
# duplicate_curves.csv: groups of trials whose scores are equal to the last bit although their hparams differ.
DUPLICATE_CURVES_TABLE: Table[DuplicateCurves] = [
    Column(
        "trials",
        "",
        "names of the trials, the one that trained longest first",
        lambda group: " ".join(group.trials),
    ),
    Column(
        "hparams",
        "",
        "the hyperparameters that differ, as JSON, each with its values in the order of the trials",
        lambda group: json.dumps(group.hparams),
    ),
    Column(
        "num_epochs",
        "epochs",
        "epochs that all of them trained; the difference may have an effect later",
        lambda group: group.num_epochs,
    ),
    Column("warning", "", "the warning that is printed at the end of the run", lambda group: group.warning),
]
CONFIGURATION_COLUMNS = tuple(name for name in column_names(CONFIGURATION_TABLE) if name != METRIC)
PARETO_COLUMNS = tuple(name for name in column_names(PARETO_TABLE) if name != METRIC)
RUNG_CORRELATION_COLUMNS = column_names(RUNG_CORRELATION_TABLE)
DUPLICATE_CURVES_COLUMNS = column_names(DUPLICATE_CURVES_TABLE)


def configuration_columns(space: Space, history: History) -> list[str]:
    """The names of the columns of a run's configurations.csv."""
    return header(for_metric(CONFIGURATION_TABLE, space.metric), _configurations(space, history))


def configuration_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per configuration with a score, its repeats as one, best first."""
    return rows_of(for_metric(CONFIGURATION_TABLE, space.metric), _configurations(space, history))


def _configurations(space: Space, history: History) -> list[ConfigurationRow]:
    """The ranked configurations; those without a score have no rank and no row."""
    found = configurations(history.trials.values(), space.metric, space.mode, repeats=space.repeats)
    return [ConfigurationRow(rank, each) for rank, each in enumerate(found, start=1)]


def pareto_columns(space: Space, history: History) -> list[str]:
    """The names of the columns of a run's pareto.csv, with the hparams that its trials have."""
    return header(for_metric(PARETO_TABLE, space.metric), _front(space, history))


def pareto_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per trial that no other dominates, the best by metric first."""
    return rows_of(for_metric(PARETO_TABLE, space.metric), _front(space, history))


def _front(space: Space, history: History) -> list[ParetoRow]:
    """The trials of the Pareto front, the best by metric first."""
    return [
        ParetoRow(space, trial, values)
        for trial, values in pareto_front(space, list(history.trials.values()))
    ]


def rung_correlation_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per rung below the top one: how its ranking agrees with the next one's.

    Rungs that fewer than four trials completed have a row too, with empty values: that nothing is known is a
    result.
    """
    trials, num_rungs = list(history.trials.values()), len(space.ladder.rungs)
    found = rung_correlations(trials, space.metric, space.mode, num_rungs=num_rungs)
    return rows_of(RUNG_CORRELATION_TABLE, found)


def duplicate_curves_rows(space: Space, history: History) -> list[dict[str, Any]]:
    """One row per group of trials that trained identically although their hparams differ.

    Equal to the last bit, since a seed fixes everything else: a difference that has any effect shows in the
    loss of the first epoch.
    """
    return rows_of(DUPLICATE_CURVES_TABLE, trials_with_one_curve(history.trials.values(), space.metric))
