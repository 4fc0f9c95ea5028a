"""Users' tables: CSV from spreadsheets, labelling tools and scripts, JSON with an object a row, Parquet."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.core.contract import DataError
from trainables.core.files import PARQUET
from trainables.engine.findings import refuse

_DELIMITERS = ",;\t|"
_DECLARED = re.compile(r"sep=(?P<delimiter>.)", re.IGNORECASE)  # a first line that Excel understands
_ROW = '{"image": "a.jpg", "label": "cat"}'
_NEXT = re.compile(r"\s*(?=\S)")
_LONGEST_CELL = 2**27  # csv's own limit is 2**17
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHER_KINDS = {  # by their first bytes
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\x1f\x8b": "compressed by gzip",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"SQLite format 3": "a database",
}
Table = tuple[list[str], list[dict[str, str]]]


def read_table(path: Path) -> Table:
    """Read the names of a table's columns, and its rows by those names; a missing cell is empty.

    The file is UTF-8, or UTF-16 with a byte-order mark. Cells are separated by commas, semicolons, tabs or
    bars, whichever the header has most of or a first line such as `sep=;` declares, or else by blanks. Blanks
    around cells and empty lines are ignored. Or each row is an object of JSON, one a line or all in a list;
    or the file is Parquet, whatever its name.

    Raises:
        DataError: No such file, another encoding or format, two columns of one name, or rows with more cells
            than the header has names, which would be read under the wrong names.
    """
    if is_parquet(path):
        names, rows = _from_parquet(path)
    else:
        text = _text(path)
        names, rows = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_csv(path, text)
    if doubled := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise DataError(
            f"{path} has two columns named {doubled[0]} in its first line, which must name the columns; "
            "rename one, or remove it"
        )
    return names, rows


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its first bytes; false also if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(PARQUET)) == PARQUET
    except OSError:
        return False


def _from_parquet(path: Path) -> Table:
    # Here, as it takes 0.1 s to import Arrow, which few tables need.
    from trainables.engine.shards import read_columns

    columns = read_columns(path)
    rows = zip(*columns.values(), strict=True)
    return list(columns), [dict(zip(columns, map(_cell, row), strict=True)) for row in rows]


def _from_csv(path: Path, text: str) -> Table:
    csv.field_size_limit(_LONGEST_CELL)
    header, _, rest = text.lstrip().partition("\n")
    if declared := _DECLARED.fullmatch(header.strip()):
        text, header = rest, declared["delimiter"]
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter if delimiter in header else " ")
    names: list[str] = []
    rows, problems = [], []
    try:
        for cells in ([cell.strip() for cell in row] for row in reader):
            if not names:
                names = cells if any(cells) else []
            elif any(cells[len(names) :]):
                what = f"line {reader.line_num} has {len(cells)} cells, and the header {len(names)} names"
                problems.append(f"{what}; put cells with the delimiter in them into quotes")
            elif any(cells):
                rows.append(dict.fromkeys(names, "") | dict(zip(names, cells, strict=False)))
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: line {reader.line_num}: {error}") from error
    refuse(str(path), problems)
    return names, rows


def _from_json(path: Path, text: str) -> Table:
    try:
        content = json.loads(text) if text.lstrip().startswith("[") else _lines(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    odd = next((row for row in content if not isinstance(row, dict)), None)
    if odd is not None or len(content) < 2:
        found = "a single object" if odd is None else f"{odd!r:.60}"
        raise DataError(f"{path} must have an object for each row, such as {_ROW}, got {found}")
    names = list(dict.fromkeys(str(name) for row in content for name in row))
    return names, [{name: _cell(row.get(name)) for name in names} for row in content]


def _lines(text: str) -> Sequence[Any]:
    """The objects of JSON Lines; one over several lines is a row too."""
    decoder, rows, start = json.JSONDecoder(), [], 0
    while found := _NEXT.match(text, start):
        row, start = decoder.raw_decode(text, found.end())
        rows.append(row)
    return rows


def _cell(value: Any) -> str:
    """A cell as CSV has it; what is neither text nor a number is left as JSON."""
    if value is None or value != value:  # pandas writes NaN
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, default=str)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    for first, kind in _OTHER_KINDS.items():
        if content.startswith(first):
            raise DataError(f"{path} is {kind}, whatever its name; save it as CSV")
    try:
        return content.decode("utf-16" if content.startswith(_WIDE) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
