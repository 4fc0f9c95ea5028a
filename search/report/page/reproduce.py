"""What a run was made from: data, machine and versions, and the commands that repeat it. Pure.

The commands name the space file in the run's folder, not the one it was started from: that one may have been
edited since.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.report.page.elements import (
    Cell,
    Commands,
    Element,
    Pairs,
    Points,
    Section,
    Table,
    Text,
    text_cell,
)
from search.report.page.run_data import RunData
from trainables.core.data_source import data_text
from trainables.core.data_summary import DataSummary

_MOST_CLASSES = 200  # of a table; of more, the largest and the smallest are shown
# The notes of trainings about their data, used where no preflight check ran.
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
        elements.append(_classes(data))
    return elements


def _classes(data: DataSummary) -> Table:
    """A table of the classes with their numbers of examples, the largest first.

    Of more than 200 classes the ends are shown: what unbalances a data set is at its ends.
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


def environment_section(run: RunData) -> Section:
    """Machine, devices and versions of the last session."""
    if not run.environment:
        none = "environment.json is missing, so the machine of this run is unknown."
        return Section(key="environment", title="Environment", elements=[Text(text=none)])
    return Section(
        key="environment", title="Environment", elements=[Pairs(pairs=list(_pairs(run.environment)))]
    )


def commands_section(run: RunData) -> Section:
    """Commands that repeat the search, resume it, promote, and write this page again."""
    return Section(key="commands", title="Reproduce", elements=[Commands(commands=list(_commands(run)))])


def _pairs(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of the machine; a package or a device that was not found is left out."""
    for name in ("hostname", "platform", "num_cpus", "python", "git", "folder"):
        if environment.get(name) is not None:
            yield name, str(environment[name])
    for device in environment.get("devices") or []:
        yield (
            str(device.get("kind", "device")),
            ", ".join(f"{k}: {v}" for k, v in device.items() if v is not None),
        )
    packages = environment.get("packages") or {}
    yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def _commands(run: RunData) -> Iterator[tuple[str, str]]:
    """What to do, and the command for it.

    The search again gets a name of its own: with the same name it would resume the run, which has ended.
    """
    place, space_file = run.ledger.address, str(run.ledger.space_file)
    above, _, name = place.rpartition("/")
    results = ["--results", above]
    if command := run.environment.get("command"):
        yield "as it was started", _typed(command)
    search = ["search", "--space", space_file]
    yield "the same search again", _script(*search, "--name", f"{name}-again", *results)
    yield "resume it", _script(*search, "--name", name, *results)
    yield "run its failed trials again", _script("search", "--rerun-failed", place)
    yield (
        "compare the best with the default",
        _script("promote", place, "--top", str(run.space.promote.top)),
    )
    if run.best:
        trial = ["--trial", f"{place}:{run.best.trial_id}", "--seed", str(run.best.seed)]
        yield "train the best trial alone", _script("train", "--space", space_file, *trial)
    yield "write this page again", _script("report", place)


def _script(name: str, *arguments: str) -> str:
    """A script with its arguments, quoted for a shell: a folder may have a blank in its name."""
    return shlex.join(["python", f"scripts/{name}.py", *arguments])


def _typed(command: Sequence[str]) -> str:
    """The command as it was typed: a script of Python needs its interpreter, an installed command does
    not."""
    program, *arguments = map(str, command)
    return shlex.join([*(["python"] if Path(program).suffix == ".py" else []), program, *arguments])
