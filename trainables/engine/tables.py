"""Users' tables: CSV as written by a spreadsheet, a labelling tool or a script."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from trainables.core.contract import DataError
from trainables.engine.findings import refuse

_DELIMITERS = ",;\t"
_LONGEST_CELL = 2**27  # csv's own limit is 2**17
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read the names of a table's columns, and its rows by those names; a missing cell is empty.

    The file is UTF-8, or UTF-16 with a byte-order mark. Cells are separated by commas, semicolons or tabs,
    whichever the header has most of, or else by blanks; blanks around cells and empty lines are ignored.

    Raises:
        DataError: No such file, another encoding, or rows with more cells than the header has names, which
            would be read under the wrong names.
    """
    csv.field_size_limit(_LONGEST_CELL)
    text = _text(path)
    header, _, _ = text.lstrip().partition("\n")
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


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-16" if content.startswith(_WIDE) else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
