"""Lines of a script that are JSON with the metric among them: the scores of its epochs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from trainables.contract import BadResult


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a script said of one epoch.

    Attributes:
        epoch: Counted from 1; None where the script does not count.
        why_done: Why the script trains no further, in its own words.
    """

    epoch: int | None
    values: dict[str, float]
    why_done: str = ""


def read_row(line: str, metric: str) -> Row | None:
    """The epoch that a line tells of; None of a line that is anything else.

    Raises:
        BadResult: The metric is no number, or epochs are counted from 0.
    """
    plain = read_object(line)
    if plain is None or metric not in plain:
        return None
    if not is_number(plain[metric]):
        raise BadResult(f"the script printed {metric} as {plain[metric]!r}, which is no number")
    epoch = plain.pop("epoch", None)
    is_count = isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 1
    if epoch is not None and not is_count:
        raise BadResult(f"the script printed epoch {epoch!r}; epochs are counted from 1")
    values = {name: float(value) for name, value in plain.items() if is_number(value)}
    return Row(epoch=epoch, values=values, why_done=str(plain.get("why_done") or ""))


def read_object(line: str) -> dict[str, Any] | None:
    """The JSON object that a line is; None of any other line."""
    text = line.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        plain = json.loads(text)
    except ValueError:  # a printed dict, a format string: chatter
        return None
    return plain if isinstance(plain, dict) else None


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
