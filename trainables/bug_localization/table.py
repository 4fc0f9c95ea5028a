"""Bug reports in a tab-separated table, and the tree of files that they are about."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from trainables.bug_localization.project import Project, Report, in_order
from trainables.core.contract import DataError

_DAY_S = 86_400.0
_LONGEST_CELL = 2**27  # descriptions hold whole logs; csv's own limit is 2**17
_COLUMNS = ("summary", "description", "files")
_NAMES = ("bug_id", "id")
_REPORTED = ("report_timestamp", "report_time")
_FIXED = ("commit_timestamp", "commit_time")
_LISTED = 5


def read_table(table: Path, tree: Path) -> Project:
    """The reports of `table`, with the columns of Ye et al.'s data sets, about the files of `tree`.

    `summary`, `description` and `files` (paths below the tree, separated by spaces) are required; `bug_id`,
    `report_timestamp` and `commit_timestamp` (seconds since 1970, or dates as in `report_time`) are optional.
    A report may be about any file whose suffix occurs among the reports' files. Files that are not in the
    tree are left out, and so are reports with no other files.

    Raises:
        DataError: The table is missing or unusable, or none of its files is in the tree; lists all problems
            at once.
    """
    rows = _rows(table, tree)
    endings = {PurePosixPath(path).suffix for row in rows for path in _named(row)}
    found = sorted(path for path in tree.rglob("*") if path.suffix in endings and path.is_file())
    paths = tuple(path.relative_to(tree).as_posix() for path in found)
    numbers = {path: number for number, path in enumerate(paths)}
    has_times = any(row.get(column) for row in rows for column in _REPORTED)
    problems: list[str] = []
    reports = []
    for line, row in enumerate(rows):
        files = tuple(sorted({numbers[path] for path in _named(row) if path in numbers}))
        try:
            reported_s = _seconds(row, _REPORTED) if has_times else line * _DAY_S
            fixed_s = reported_s if not any(row.get(name) for name in _FIXED) else _seconds(row, _FIXED)
        except ValueError as error:
            problems.append(f"row {line + 1}: {error}")
            continue
        if files:
            reports.append(_report(row, line, files, reported_s, max(reported_s, fixed_s)))
    if not reports and not problems:
        named = next((path for row in rows for path in _named(row)), "none named")
        problems.append(
            f"no file that it names is in {tree}, such as {named}; give the tree that contains them"
        )
    _refuse(table, problems)
    texts = tuple(path.read_text(encoding="utf-8", errors="replace") for path in found)
    return Project(in_order(reports), paths, texts, _notes(rows, reports, numbers, has_times=has_times))


def _rows(table: Path, tree: Path) -> list[dict[str, str]]:
    missing = [f"{path} does not exist" for path in (table, tree) if not path.exists()]
    if missing:
        raise DataError(f"{'; '.join(missing)}; write data: {{reports: FILE, tree: FOLDER}}")
    csv.field_size_limit(_LONGEST_CELL)
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        columns = reader.fieldnames or ()
        absent = [name for name in _COLUMNS if name not in columns]
        _refuse(
            table, [f"it has no column {name}, only {', '.join(columns) or 'nothing'}" for name in absent]
        )
        return [{name: value or "" for name, value in row.items() if name} for row in reader]


def _report(
    row: Mapping[str, str], line: int, files: tuple[int, ...], reported_s: float, fixed_s: float
) -> Report:
    name = next((row[column] for column in _NAMES if row.get(column)), f"row {line + 1}")
    return Report(
        name=name,
        summary=row["summary"],
        description=row["description"],
        files=files,
        reported_s=reported_s,
        fixed_s=fixed_s,
    )


def _named(row: Mapping[str, str]) -> list[str]:
    return [PurePosixPath(path).as_posix() for path in row["files"].split()]


def _seconds(row: Mapping[str, str], columns: Sequence[str]) -> float:
    text = next((row[column] for column in columns if row.get(column)), "")
    with suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        wanted = "seconds since 1970 or a date such as 2013-05-17 09:00:00"
        raise ValueError(f"{columns[0]} must be {wanted}, got {text!r}") from None


def _notes(
    rows: Sequence[Mapping[str, str]],
    reports: Sequence[Report],
    numbers: Mapping[str, int],
    *,
    has_times: bool,
) -> dict[str, str]:
    notes = {}
    gone = {path for row in rows for path in _named(row)} - numbers.keys()
    if gone:
        left_out = len(rows) - len(reports)
        notes["reports"] = (
            f"{len(gone)} files that reports name are not in the tree, such as {min(gone)}; "
            f"{left_out} of {len(rows)} reports have no other and are left out"
        )
    if not has_times:
        notes["times"] = "the table has no times: its rows are taken to be a day apart, in their order"
    return notes


def _refuse(table: Path, problems: Sequence[str]) -> None:
    if problems:
        listed = "; ".join(problems[:_LISTED]) + ("; ..." if len(problems) > _LISTED else "")
        raise DataError(f"{table} has {len(problems)} problems: {listed}")
