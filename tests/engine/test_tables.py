"""Tables as spreadsheets and tools write them, each read as the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainables.core.contract import DataError
from trainables.engine.tables import read_table

ROWS = [{"image": "café 1.png", "score": "3.5"}, {"image": "b,c.png", "score": "1"}]
COMMAS = 'image,score\ncafé 1.png,3.5\n"b,c.png",1\n'
SEMICOLONS = "image;score\ncafé 1.png;3.5\nb,c.png;1\n"


def table(folder: Path, content: bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        COMMAS.encode(),
        COMMAS.replace("\n", "\r\n").encode("utf-8-sig"),
        COMMAS.encode("utf-16"),
        SEMICOLONS.encode("utf-8-sig"),
        SEMICOLONS.replace(";", "\t").encode("utf-16"),
        SEMICOLONS.replace(";", " ; ").encode(),
        SEMICOLONS.replace(";", "|").encode(),
        f"sep=;\r\n{SEMICOLONS}".encode(),
        ("\n" + COMMAS.replace("\n", "\n\n").rstrip()).encode(),
        COMMAS.replace("score\n", "score,,\n").encode(),
        COMMAS.replace("3.5\n", "3.5,,\n").encode(),
        json.dumps(
            [{"image": " café 1.png", "score": 3.5, "": [1]}, {"score": 1, "image": "b,c.png"}]
        ).encode(),
        "\n".join(map(json.dumps, [*ROWS])).encode("utf-8-sig"),
        " ".join(json.dumps(row, ensure_ascii=False, indent=1) for row in ROWS).encode("utf-16"),
    ],
)
def test_a_table_is_read_as_it_is_meant(tmp_path: Path, content: bytes) -> None:
    names, rows = read_table(table(tmp_path, content))
    assert [name for name in names if name] == ["image", "score"]
    assert [{name: row[name] for name in ("image", "score")} for row in rows] == ROWS


def test_blanks_part_cells_where_nothing_else_does(tmp_path: Path) -> None:
    assert read_table(table(tmp_path, b"a b\n1 2\n")) == (["a", "b"], [{"a": "1", "b": "2"}])


def test_a_missing_cell_is_empty_and_a_line_of_separators_is_none(tmp_path: Path) -> None:
    assert read_table(table(tmp_path, b"a,b\n1\n,\n2,3")) == (
        ["a", "b"],
        [{"a": "1", "b": ""}, {"a": "2", "b": "3"}],
    )
    assert read_table(table(tmp_path, b"")) == ([], [])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"image,score\nb,c.png,1\n", "line 2 has 3 cells, and the header 2 names; put cells with the delim"),
        ("image,score\ncafé.png,1\n".encode("cp1252"), r"is not UTF-8 \(byte 15\); save it as UTF-8"),
        (b"image,label,label\na.png,1,2\n", "has two columns named label in its first line, which must name"),
        (b"PAR1\x15\x04", "cannot be read: "),
        (b"PK\x03\x04\x14", "is a spreadsheet or an archive, whatever its name; save it as CSV"),
        (
            b'{"a.png": "cat", "b.png": "dog"}',
            "must have an object for each row, such as .*, got a single object",
        ),
        (b"[1, 2]", "must have an object for each row, such as .*, got 1"),
        (b'{"image": "a.png"}\n{"image": ', "is not JSON: Expecting value: line 2 column 11"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_table(table(tmp_path, content))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv cannot be read: No such file or directory"):
        read_table(tmp_path / "none.csv")
