"""What was found in the data: counts, parts, sizes, and what is left out. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from search.report.page.elements import Cell, Pairs, Points, Section, Table, Text, text_cell
from search.report.page.run_data import Facts
from trainables.core.data_summary import DataSummary

_MOST_CLASSES = 200  # of a table; beyond it the smallest and the largest tell more
# What trainings say of their data in their notes, where nobody looked before the run.
_NOTES = ("data", "left_out", "folder", "identical", "pixels")


def data_section(facts: Facts) -> Section:
    """The data as it was found before the last session, or as the trials noted it."""
    found = facts.environment.get("data")
    if isinstance(found, Mapping):
        parts = _parts_of(DataSummary.from_dict(found))
    elif found:
        parts = [Points(points=[str(note) for note in found])]
    else:
        parts = _noted(facts)
    return Section(key="data", title="Data", parts=parts)


def _parts_of(data: DataSummary) -> list[Text | Points | Pairs | Table]:
    names = ("found", *(["parts"] if data.parts else []), *(["sizes"] if data.sizes_px else []))
    parts: list[Text | Points | Pairs | Table] = [Pairs(pairs=list(zip(names, data.found, strict=True)))]
    if data.warnings:
        parts += [Text(text="To be known of it:"), Points(points=data.warnings)]
    if data.classes:
        parts.append(_classes(data))
    return parts


def _classes(data: DataSummary) -> Table:
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


def _noted(facts: Facts) -> list[Text | Points | Pairs | Table]:
    """What is known without a look: the notes of the trainings."""
    noted = {name: text for trial in facts.trials for name, text in trial.notes.items() if name in _NOTES}
    text = f"{facts.space.data or 'The data'} was not looked at before this run"
    if not noted:
        return [Text(text=f"{text}, and no trial noted anything of it.")]
    return [Text(text=f"{text}; its trials noted:"), Pairs(pairs=sorted(noted.items()))]
