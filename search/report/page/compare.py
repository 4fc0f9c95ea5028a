"""Two runs on one page: their best over the epochs spent, their tables, and how their spaces differ. Pure.

Two runs are compared over epochs, not hours: epochs do not depend on the machine, its load, or how many
trials ran at once. If data, budgets or metrics differ, the page begins with that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from search.report.charts.chart import BLUE, VERMILION, Chart, Scale, Series
from search.report.formatting import rung_text, value_text
from search.report.page.conclusion import conclusion, ending, spent_text
from search.report.page.elements import Cell, Element, Section, Table, Text, number_cell, text_cell
from search.report.page.history import results
from search.report.page.run_data import RunData
from search.report.page.trial_table import trial_table
from trainables.core.data_source import data_text


def comparison(one: RunData, other: RunData) -> list[Section]:
    """The page of two runs."""
    names = _names(one, other)
    both = list(zip(names, (one, other), strict=True))
    return [
        Section(
            key="summary",
            title="Summary",
            elements=[*_incomparable(both), _side_by_side(both), *_texts(both)],
        ),
        Section(key="history", title="Best by epochs spent", elements=_best(both)),
        Section(key="spaces", title="Differences between the spaces", elements=_differences(both)),
        *(
            Section(key=f"trials_{number}", title=f"Trials of {name}", elements=[trial_table(run)])
            for number, (name, run) in enumerate(both, start=1)
        ),
    ]


def _incomparable(both: list[tuple[str, RunData]]) -> list[Text]:
    """A warning for each reason why the scores of the two runs must not be compared."""
    (_, one), (_, other) = both
    metrics, data, found = (
        [ask(run) for _, run in both]
        for ask in (
            lambda run: f"{run.metric} ({run.space.mode})",
            lambda run: data_text(run.space.data),
            lambda run: run.environment.get("data"),
        )
    )
    warnings = []
    if metrics[0] != metrics[1]:
        warnings.append(f"The metrics differ: {_each(both, metrics)}")
    if data[0] != data[1]:
        warnings.append(f"The data differ: {_each(both, data)}")
    elif found[0] and found[1] and found[0] != found[1]:
        warnings.append(f"The data have the same name but changed between the runs: {data[0]}")
    if one.space.ladder != other.space.ladder:
        rungs = [_ladder_text(run) for _, run in both]
        warnings.append(f"The budgets differ: {_each(both, rungs)}")
    return [
        Text(text=f"{warning}. Scores of the two cannot be compared.", is_warning=True)
        for warning in warnings
    ]


def _each(both: list[tuple[str, RunData]], texts: list[str]) -> str:
    return "; ".join(f"{name} has {text}" for (name, _), text in zip(both, texts, strict=True))


def _ladder_text(run: RunData) -> str:
    ladder = run.space.ladder
    rungs = ", then ".join(rung_text(ladder, rung) for rung in range(len(ladder.rungs)))
    return f"{rungs} (horizon {ladder.horizon})"


def _names(one: RunData, other: RunData) -> tuple[str, str]:
    """The names of both runs; their folders if the names are equal."""
    if one.name != other.name:
        return one.name, other.name
    return str(one.ledger.folder), str(other.ledger.folder)


def _texts(both: list[tuple[str, RunData]]) -> list[Text]:
    """The conclusion and the ending of each run, in its own paragraph."""
    return [Text(text=f"{name}: {' '.join(conclusion(run))} {ending(run)}") for name, run in both]


def _side_by_side(both: list[tuple[str, RunData]]) -> Table:
    """One row per run, so that the two can be compared. The value of repeats is their mean."""
    columns = ("run", "best trial", "metric", "value", "rung", "trials", "epochs", "spent")
    return Table(caption="The two runs", columns=columns, rows=[_run_row(*each) for each in both])


def _run_row(name: str, run: RunData) -> list[Cell]:
    best = next(iter(run.configurations), None)
    return [
        text_cell(name),
        text_cell(best.first.trial_id if best else None),
        text_cell(run.metric),
        number_cell(best.mean if best else None),
        number_cell(best.rung if best else None),
        number_cell(len(run.trials)),
        number_cell(run.num_epochs),
        text_cell(spent_text(run)),
    ]


def _best(both: list[tuple[str, RunData]]) -> list[Element]:
    """The best score of each run over its epochs, as two step lines; a sentence if the metrics differ.

    At any x the better line belongs to the run that has found more for the same number of epochs. Each line
    ends where its run does. The second is dashed, for readers and printers without colours.
    """
    (_, one), (_, other) = both
    if one.metric != other.metric:
        text = f"Left out: the objective of one run is {one.metric}, of the other {other.metric}."
        return [Text(text=text)]
    lines = [_line(name, run, colour) for (name, run), colour in zip(both, (BLUE, VERMILION), strict=True)]
    if not any(line.x for line in lines):
        return [Text(text="Left out: no trial of either run has a score.")]
    lines[1] = replace(lines[1], is_dashed=True)
    elements: list[Element] = [
        Chart(
            key="compare_epochs",
            title="Score of the trial that ranks first, over the epochs spent",
            x=Scale(title="epochs spent by all trials", is_whole=True),
            y=Scale(title=one.metric_title),
            series=lines,
        )
    ]
    return elements


def _line(name: str, run: RunData, colour: str) -> Series:
    """One run as a step line: each step is a trial that took over the first rank."""
    found = results(run)
    return Series(
        name=name,
        x=[each.num_epochs for each in found],
        y=[each.best for each in found],
        hover=[f"{name}: {value_text(each.best)} after {each.num_epochs} epochs" for each in found],
        style="steps",
        colour=colour,
        has_points=True,
        size_px=4,
    )


def _differences(both: list[tuple[str, RunData]]) -> list[Element]:
    """The keys of the spaces that differ, by dotted name; a dash if a run does not have the key."""
    one, other = (dict(_flat(run.space.to_dict())) for _, run in both)
    names = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    if not names:
        return [Text(text="None: both runs searched the same space.")]
    rows = [
        [text_cell(name), text_cell(one.get(name, "-")), text_cell(other.get(name, "-"))] for name in names
    ]
    columns = ("key", *(name for name, _ in both))
    return [Table(caption="Keys of the space that differ", columns=columns, rows=rows)]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each value under its dotted key, as text. An empty mapping is a value, else `when: {}` would vanish."""
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
