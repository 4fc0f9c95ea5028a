"""Text for people: counts, errors in one line, text from outside made safe for terminals and spreadsheets."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

# Everything that controls a terminal instead of being printed: ESC begins sequences that write the clipboard
# (OSC 52), hide a link (OSC 8) or clear the screen, and 0x80 to 0x9f do the same in one byte. Direction marks
# show text out of order, and half a surrogate pair cannot be encoded at all.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Spreadsheets take a cell that begins like this for a formula; those in East Asian languages also the wide
# forms.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def printable(text: str) -> str:
    r"""Return `text` with control characters written out, such as `\x1b`; line ends and tabs stay."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, which takes an s in the plural: "1 trial", "24 trials", "0.5 GPUs"."""
    text = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{text} {noun}{'' if number == 1 else 's'}"


def error_text(error: BaseException) -> str:
    """Return an error's text, stripped; empty if it has none, like that of a plain `assert`."""
    try:
        return str(error).strip()
    except Exception as odd:  # a class of the trainable's own
        return f"its text cannot be read: {type(odd).__name__}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; its type if it has none."""
    text = error_text(error)
    return text.splitlines()[0] if text else type(error).__name__


def type_and_line(error: BaseException) -> str:
    """Return an error's type and the first line of its text; without a text, the line that raised it.

    For example "ValueError: no such model" or "AssertionError at train.py:15: assert images".
    """
    name, text = type(error).__name__, error_text(error)
    if text:
        return f"{name}: {text.splitlines()[0]}"
    places = traceback.extract_tb(error.__traceback__)
    if not places:
        return name
    return f"{name} at {Path(places[-1].filename).name}:{places[-1].lineno}: {places[-1].line}"


def csv_cell(value: object) -> object:
    """Return `value` as a cell: text that a spreadsheet would compute gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) else text


def text_of_cell(cell: str) -> str:
    """Return the text that `csv_cell` has made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell, 1) else cell
