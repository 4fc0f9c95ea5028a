"""What a table is: its columns, each with name, unit, meaning and value, written once.

The CSV, the table of results/README.md (`make docs`) and the test that keeps both in step come from one list:
a new column is one more entry in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Taken = TypeVar("Taken", contravariant=True)
Whole = TypeVar("Whole")

_HPARAMS = "hparams."
METRIC = "*the metric*"  # the documents' name for the column that is named like the run's metric


@dataclass(frozen=True)
class Column(Generic[Taken]):
    """One column.

    Attributes:
        unit: As the documents write it, such as "J" or "fraction"; empty for names and texts.
        meaning: One or two sentences, in Markdown.
        value: Returns the cell of the item that a row is made of; None is an empty cell.
    """

    name: str
    unit: str
    meaning: str
    value: Callable[[Taken], Any]


@dataclass(frozen=True)
class ColumnGroup(Generic[Taken]):
    """Columns whose names the run decides, such as hyperparameters and metrics.

    Attributes:
        name: What the documents call them, such as "*hyperparameters*".
        values: Returns the cells of the item that a row is made of, by column name.
        prefix: Put before a name that a fixed column has too; if empty, that column takes precedence.
    """

    name: str
    unit: str
    meaning: str
    values: Callable[[Taken], Mapping[str, Any]]
    prefix: str = ""


Table = Sequence[Column[Item] | ColumnGroup[Item]]


def hparams_group(values: Callable[[Taken], Mapping[str, Any]]) -> ColumnGroup[Taken]:
    """The columns of the hyperparameters: a script may call one `rank`, or `seconds`."""
    meaning = f"each under its own name, or as `{_HPARAMS}NAME` if another column has that name"
    return ColumnGroup("*hyperparameters*", "", meaning, values, prefix=_HPARAMS)


def hparams_apart(hparams: Mapping[str, Any], taken: Iterable[str]) -> dict[str, Any]:
    """Hyperparameters by the names of their columns in a table whose own columns are `taken`."""
    return {**_apart(hparams, set(taken), _HPARAMS)}


def header(table: Table[Item], items: Iterable[Item] = ()) -> list[str]:
    """The names of the columns in their order, each once.

    A group has the columns of any of the rows: trials have different hyperparameters if the space has
    conditions, and a metric may first appear in the second epoch.
    """
    rows, fixed = list(items), set(column_names(table))
    names: list[str] = []
    for column in table:
        if isinstance(column, Column):
            names.append(column.name)
        else:
            names += [name for row in rows for name in _apart(column.values(row), fixed, column.prefix)]
    return list(dict.fromkeys(names))


def row_of(table: Table[Item], item: Item) -> dict[str, Any]:
    """The row by column name.

    A fixed column takes precedence over a group's column of the same name, and an earlier group over a later
    one: a script may report a metric `epochs` and have a hyperparameter `seed`, but the trial's own columns
    must stay what the documents describe.
    """
    row: dict[str, Any] = {}
    fixed = set(column_names(table))
    for group in reversed(_groups(table)):
        row.update(_apart(group.values(item), fixed, group.prefix))
    row.update({column.name: column.value(item) for column in table if isinstance(column, Column)})
    return row


def rows_of(table: Table[Item], items: Iterable[Item]) -> list[dict[str, Any]]:
    """One row for each item."""
    return [row_of(table, item) for item in items]


def column_names(table: Table[Item]) -> tuple[str, ...]:
    """The names of the fixed columns, which every run's table has."""
    return tuple(column.name for column in table if isinstance(column, Column))


def markdown(table: Table[Item]) -> str:
    """The table of a document: one line per column, with its unit and its meaning; groups are in italics."""
    lines = ["| column | unit | meaning |", "|---|---|---|"]
    for column in table:
        name = column.name if column.name.startswith("*") else f"`{column.name}`"
        cells = (name, column.unit, column.meaning)
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(lines)


def for_metric(table: Table[Item], metric: str) -> Table[Item]:
    """The table of a run, in which the column of the metric is named after the metric.

    If all runs had one name for it, a notebook that reads several would compare accuracies with errors.
    """
    return [
        replace(column, name=metric) if isinstance(column, Column) and column.name == METRIC else column
        for column in table
    ]


def plain(name: str, unit: str, meaning: str) -> Column[Mapping[str, Any]]:
    """A column of rows that are already mappings; empty if a row lacks it."""
    return Column(name, unit, meaning, lambda row: row.get(name, ""))


def lifted(
    columns: Iterable[Column[Item]], part: Callable[[Whole], Item], meaning: str | None = None
) -> list[Column[Whole]]:
    """The columns of a part, such as a trial's joules, in the table of the whole.

    A column of joules is thus written once, and is in trials.csv, energy.csv and history.csv with the same
    name and unit.

    Args:
        part: Returns the part of the item that a row of the whole is made of.
        meaning: The meaning of all of them there; None keeps that of each.
    """
    return [_lifted(column, part, meaning) for column in columns]


def _lifted(column: Column[Item], part: Callable[[Whole], Item], meaning: str | None) -> Column[Whole]:
    text = column.meaning if meaning is None else meaning
    return Column(column.name, column.unit, text, lambda whole: column.value(part(whole)))


def _groups(table: Table[Item]) -> list[ColumnGroup[Item]]:
    return [column for column in table if isinstance(column, ColumnGroup)]


def _apart(values: Mapping[str, Any], taken: Set[str], prefix: str) -> Mapping[str, Any]:
    if not prefix or taken.isdisjoint(values):
        return values
    return {f"{prefix}{name}" if name in taken else name: value for name, value in values.items()}
