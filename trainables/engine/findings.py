"""Problems in the files of a data set and what was left out or changed, by kind, for one message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trainables.core.contract import DataError
from trainables.core.data_summary import LeftOut

_WORDED = 5  # problems without a kind that are listed
_NAMED = 3  # places of each kind that are named; all are counted


class Findings:
    """Problems, for which data is refused, what is left out, and notes on what is changed."""

    def __init__(self) -> None:
        self._problems: dict[str, list[str]] = defaultdict(list)
        self._left_out: dict[str, list[str]] = defaultdict(list)
        self._notes: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add_problem(self, what: str, where: str = "") -> None:
        """Add a problem by its kind, in the singular, with the file and annotation that have it."""
        self._problems[what].append(where)

    def leave_out(self, what: str, where: str) -> None:
        """Add something left out by its kind, in the singular, with its name or file and annotation."""
        self._left_out[what].append(where)

    def add_note(self, topic: str, what: str, where: str = "") -> None:
        """Add a sentence under a topic such as "boxes", with the file and annotation it is about."""
        self._notes[topic, what].append(where)

    @property
    def problems(self) -> list[str]:
        """A line for each kind of problem."""
        return [line_of(what, places) for what, places in self._problems.items()]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return tuple(
            LeftOut(reason=what, count=len(places), names=tuple(places[:_NAMED]))
            for what, places in self._left_out.items()
        )

    @property
    def notes(self) -> dict[str, str]:
        """Notes by topic."""
        lines: dict[str, list[str]] = defaultdict(list)
        for (topic, what), places in self._notes.items():
            lines[topic].append(line_of(what, places))
        return {topic: "; ".join(of_topic) for topic, of_topic in lines.items()}

    def refuse(self, source: str) -> None:
        """Raise DataError with all problems, if there are any."""
        if self._problems:
            num = sum(map(len, self._problems.values()))
            count = f"{num} problems" if num > 1 else "a problem"
            raise DataError(f"{source} has {count}: {'; '.join(self.problems)}")


def refuse(source: str, problems: Sequence[str]) -> None:
    """Raise DataError if there are problems, listing the first few."""
    if problems:
        listed = "; ".join(problems[:_WORDED]) + ("; ..." if len(problems) > _WORDED else "")
        raise DataError(f"{source} has {len(problems)} problems: {listed}")


def line_of(what: str, places: Sequence[str]) -> str:
    """A kind with its count and its first places: "no such image (9): annotation 1, ... and 6 more"."""
    named = [place for place in places if place]
    count = f" ({len(places)})" if len(places) > 1 else ""
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"{what}{count}: {', '.join(named[:_NAMED])}{more}" if named else f"{what}{count}"
