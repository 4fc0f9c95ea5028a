"""Parses the lines with which a script reports its epochs: JSON with the metric or an epoch in it."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.core.contract import BadResult

# Colours, and what moves or hides the cursor (ECMA-48): ESC [, parameters, intermediate bytes, a final byte.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_PROGRESS = re.compile(r"\d%\|")  # tqdm, whose bar does not end its line
# NaN and infinities, which JSON does not have, as Python (`f"{x}"`), C++ and Julia format them.
_NOT_FINITE = re.compile(r"(?<=[\s:,\[])([-+]?)(nan|inf|infinity)(?=\s*[,}\]])", re.IGNORECASE)
_MAX_BRACES = 20  # tried as the beginning of an object


@dataclass(frozen=True, kw_only=True)
class Row:
    """The content of one line about an epoch.

    Attributes:
        epoch: Number of the epoch, from 1; None if the script does not count, a fraction within an epoch.
        values: Numbers, including the metric if the epoch was scored.
        done_reason: Why the script trains no further, in its own words.
    """

    epoch: int | float | None
    values: dict[str, float]
    done_reason: str = ""


def read_row(line: str, metric: str, *, first_epoch: int = 1) -> Row | None:
    """Parse a line about an epoch; None for any other line.

    A line without the metric counts if it has a whole `epoch`, as training numbers may have their own line.
    If the metric is null, the epoch was not scored.

    Args:
        first_epoch: The number that the script gives its first epoch.

    Raises:
        BadResult: The metric is no number, or the epoch no count.
    """
    given, before = _object_in(line)
    plain = {} if given is None else with_epoch(flat(given))
    if not {metric, "epoch"} & plain.keys():
        return None
    if plain.get("epoch") is None and before and not _PROGRESS.search(before):
        return None  # such as `best so far: {"val_acc": 0.5}`
    return row_of(plain, metric, first_epoch=first_epoch)


def row_of(plain: Mapping[str, Any], metric: str, *, first_epoch: int = 1) -> Row | None:
    """Parse an object or a row of a file, given as names and values, as `read_row` does a line.

    Raises:
        BadResult: The metric is no number, or the epoch no count.
    """
    given = plain.get("epoch")
    values = {name: value for name, value in plain.items() if name != "epoch"}
    epoch = _whole(given)
    if metric not in values:
        return None if epoch is None or epoch < first_epoch else _row(values, epoch + 1 - first_epoch)
    if values[metric] is not None and _number(values[metric]) is None:
        raise BadResult(
            f"the script reported {metric} as {values[metric]!r}, which is not a "
            f"number{_cure(values[metric])}"
        )
    if given is None:
        return _row(values, None)
    if isinstance(given, float) and is_within(given):
        return _row(values, given)
    if epoch is None or epoch < first_epoch:
        cure = (
            "print epoch + 1, or write first_epoch: 0 under search.command" if epoch == 0 else "print a count"
        )
        raise BadResult(f"the script reported epoch {given!r}; epochs are counted from {first_epoch}: {cure}")
    return _row(values, epoch + 1 - first_epoch)


def flat(plain: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted names."""
    found: dict[str, Any] = {}
    for name, value in plain.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def with_epoch(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the object with a key such as `Epoch` or `EPOCH` renamed to `epoch`."""
    if "epoch" in plain:
        return plain
    return {"epoch" if name.lower() == "epoch" else name: value for name, value in plain.items()}


def first_epoch_of(plain: Mapping[str, Any]) -> int | None:
    """Whether a script counts from 0 or 1, judged by its first row with an epoch; None if a row has none.

    A row of a later epoch comes from a script that resumes, or scores every few epochs: it counts from 1.
    """
    epoch = _whole(plain.get("epoch"))
    return None if epoch is None else min(1, epoch)


def is_within(epoch: object) -> bool:
    """Whether a count is a point within an epoch, such as 0.25."""
    return isinstance(epoch, float) and math.isfinite(epoch) and not epoch.is_integer()


def hint_in(line: str, metric: str) -> str:
    """Return why a line that names the metric is not read; empty if it does not name it."""
    plain, before = _object_in(line)
    if plain and metric in plain and before:
        return f'{metric} after other text ({before[:40]}) counts only if its object also has an "epoch"'
    if metric not in line or plain:
        return ""
    return (
        f"{metric} is in a line that is not a JSON object ({line.strip()[:80]}); "
        "print(json.dumps({...})) writes one"
    )


def read_object(line: str) -> dict[str, Any] | None:
    """Return the JSON object at the end of a line, after any text; None for any other line."""
    return _object_in(line)[0]


def _object_in(line: str) -> tuple[dict[str, Any] | None, str]:
    """The object, and the text before it."""
    text = _ESCAPES.sub("", line).strip()
    if text.endswith("}"):
        for brace in itertools.islice(re.finditer("{", text), _MAX_BRACES):
            if (plain := _parsed(text[brace.start() :])) is not None:
                return plain, text[: brace.start()].strip()
    return None, text


def _parsed(text: str) -> dict[str, Any] | None:
    for written in (text, _NOT_FINITE.sub(_as_python_reads_it, text)):
        try:
            plain = json.loads(written)
        except (ValueError, RecursionError):  # other output, such as a printed dict or a format string
            continue
        return plain if isinstance(plain, dict) else None
    return None


def _as_python_reads_it(found: re.Match[str]) -> str:
    if found[2].lower() == "nan":
        return "NaN"
    return "-Infinity" if found[1] == "-" else "Infinity"


def _row(plain: Mapping[str, Any], epoch: int | float | None) -> Row:
    numbers = {name: number for name, value in plain.items() if (number := _number(value)) is not None}
    return Row(epoch=epoch, values=numbers, done_reason=str(plain.get("done_reason") or ""))


def _whole(epoch: object) -> int | None:
    if isinstance(epoch, float) and epoch.is_integer():
        return int(epoch)
    return epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None


def _cure(value: object) -> str:
    """Advice about a number with a decimal comma, or in quotes."""
    found = isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d*([.,]?)\d+([eE][-+]?\d+)?\s*", value)
    if not found:
        return ""
    return "; write decimals with a point" if found[1] == "," else "; write it without quotes"


def _number(value: object) -> float | None:
    """Convert to float, also from text such as "nan", as some encoders write numbers that are not finite."""
    if isinstance(value, str) and value.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return math.inf if value > 0 else -math.inf
