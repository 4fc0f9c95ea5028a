"""The data of a run: what was found, left out and split, and how many examples each class has. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from search.report.charts.chart import Chart, Scale, Series, bar_chart, shortened
from search.report.page.elements import Cell, Element, Pairs, Points, Section, Table, Text, text_cell
from search.report.page.run_data import RunData
from trainables.core.data_source import data_text
from trainables.core.data_summary import DataSummary

_MOST_BARS = 30  # classes with a bar each
_MOST_CLASSES = 200  # in a table; of more, the largest and the smallest are shown
# The notes of trainings about their data, used if no preflight check ran.
_NOTES = ("data", "left_out", "folder", "identical", "pixels")


def data_section(run: RunData) -> Section:
    """The data as the preflight check found it before the last session, or as the trials noted it."""
    found = run.environment.get("data")
    if isinstance(found, Mapping):
        elements = _data_elements(DataSummary.from_dict(found))
    elif found:
        elements = [Points(points=[str(note) for note in found])]
    else:
        elements = _noted(run)
    return Section(key="data", title="Data", elements=elements)


def _data_elements(data: DataSummary) -> list[Element]:
    names = ("found", *(["parts"] if data.parts else []), *(["sizes"] if data.sizes_px else []))
    elements: list[Element] = [Pairs(pairs=list(zip(names, data.found, strict=True)))]
    if data.warnings:
        elements += [Text(text="Warnings:"), Points(points=data.warnings)]
    if data.classes:
        elements += [_class_chart(data), _classes(data)]
    return elements


def _class_chart(data: DataSummary) -> Chart:
    """A bar for each class, the largest on top; of many classes a falling line."""
    unit = data.class_unit or data.unit
    rows = sorted(data.classes.items(), key=lambda item: -item[1])
    scale = Scale(title=unit, is_whole=True)
    if len(rows) <= _MOST_BARS:
        bars = [(shortened(name), float(count)) for name, count in rows]
        texts = [f"{count:,}" for _, count in rows]
        return bar_chart("classes", f"{unit} of each class", scale, bars, texts, has_labels=True)
    counts = [float(count) for _, count in rows]
    return Chart(
        key="classes",
        title=f"{unit} of each of the {len(rows):,} classes",
        x=Scale(title="classes, the largest first", is_whole=True),
        y=Scale(title=unit, span=(0.0, 1.05 * max(counts))),
        series=[
            Series(
                name=unit,
                x=[float(number) for number in range(len(counts) + 1)],
                y=[*counts, counts[-1]],
                style="steps",
                is_filled=True,
                is_in_legend=False,
            )
        ],
        height_px=300,
    )


def _classes(data: DataSummary) -> Table:
    """A table of the classes with their numbers of examples, the largest first.

    Of more than 200 classes the two ends are shown, since they are what makes a data set unbalanced.
    """
    unit = data.class_unit or data.unit
    rows = sorted(data.classes.items(), key=lambda item: -item[1])
    caption = f"{unit} of each class"
    if len(rows) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        caption = f"{unit} of the {half} largest and the {half} smallest of {len(rows)} classes"
        rows = rows[:half] + rows[-half:]
    return Table(
        caption=caption,
        columns=("class", unit),
        rows=[(text_cell(name), Cell(text=str(count), order=count)) for name, count in rows],
    )


def _noted(run: RunData) -> list[Element]:
    """What is known without a preflight check: the notes of the trainings."""
    noted = {name: text for trial in run.trials for name, text in trial.notes.items() if name in _NOTES}
    text = f"{data_text(run.space.data)} was not checked before this run"
    if not noted:
        return [Text(text=f"{text}, and no trial noted anything about it.")]
    return [Text(text=f"{text}; its trials noted:"), Pairs(pairs=sorted(noted.items()))]
