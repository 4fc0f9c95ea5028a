"""What each choice does by itself: the ablations of a space beside the default configuration. Pure.

A score is compared with the default's at the same rung only, and never called a gain: it comes from
validation, and mostly from one seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search.ranking import Configuration
from search.report.formatting import hparams_text, mean_text
from search.report.page.elements import Cell, Section, Table, Text, number_cell, text_cell
from search.report.page.run_data import RunData
from search.report.page.trial_table import state_cell
from search.sampling.designs import ablated
from search.space.parameters import identity, is_same
from search.trial.batch_size import as_proposed


def ablations_section(run: RunData) -> Section:
    """A row for each variant of each ablation; no elements if the space has none."""
    title, rows = "Ablations", list(_rows(run)) if run.space.ablations else []
    if not rows:
        return Section(key="ablations", title=title, elements=[])
    seeds = f"{run.space.repeats} seeds each" if run.space.repeats > 1 else "one seed each"
    note = (
        f"Each row changes one thing in the default configuration, the first row ({run.metric_title}). "
        f"Differences are on validation, with {seeds}, and seeds alone move a score: promote what matters."
    )
    columns = ("ablation", "changed", run.metric, "against the default", "rung", "trial", "state")
    table = Table(caption="Ablations", columns=columns, rows=rows, trial_column="trial")
    return Section(key="ablations", title=title, elements=[Text(text=note), table])


def _rows(run: RunData) -> Iterator[list[Cell]]:
    """The default, then the variants group by group, in the order of the space."""
    default = run.space.default_hparams(run.trainable)
    scored = {_point(run, each.first.hparams): each for each in run.configurations}
    trials = {_point(run, trial.hparams): trial for trial in reversed(run.trials)}
    base = scored.get(identity(default))
    for group, point in [("default", default), *ablated(run.space, default)]:
        trial, found = trials.get(identity(point)), scored.get(identity(point))
        if trial is None or (group != "default" and identity(point) == identity(default)):
            continue
        changed = [name for name, value in point.items() if not is_same(value, default[name])]
        yield [
            text_cell(group),
            text_cell(hparams_text(point, changed)),
            _score(found),
            _difference(found, base),
            number_cell(found.rung if found else None),
            text_cell(trial.trial_id),
            state_cell(trial),
        ]


def _score(found: Configuration | None) -> Cell:
    return number_cell(None) if found is None else number_cell(found.mean, mean_text(found))


def _difference(found: Configuration | None, base: Configuration | None) -> Cell:
    """The score minus the default's; empty for the default itself, and if the rungs differ."""
    if found is None or base is None or found is base:
        return number_cell(None)
    if found.rung != base.rung:
        return number_cell(None, hint="the two completed different rungs")
    difference = found.mean - base.mean
    return number_cell(difference, f"{difference:+.4g}")


def _point(run: RunData, hparams: Mapping[str, Any]) -> Any:
    return identity(as_proposed(hparams, run.space.fixed))
