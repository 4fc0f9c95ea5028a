"""The events of a journal: which exist, what each must have, and which may follow which. Pure.

Checksums prove that a line is the one that was written, not that this version understands it. A journal of a
later version may have a new kind of event, or a field that changes what the others mean; one that was edited
and sealed again may name a trial that was never asked for, or a path outside the run. Such a line is refused
where it is, with what is wrong with it, so that code that replays a journal needs no checks of its own and
computes nothing from half a line. A new kind of event or field is added here first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from search.energy.reading import STATISTICS, EnergyReading, EnergySensors
from search.ledger.journal_lines import SCHEMA_VERSION, BadLine, other_schema
from search.trial import EpochRow
from trainables.core.files import is_safe_name

_WINDOW = {"window", "end", "seconds", "energy", "start_s", "start_energy", "sensors", "statistics"}
REQUIRED: Mapping[str, set[str]] = {
    "journal_started": {"schema", "run"},
    "session_started": set(),
    "trial_asked": {"trial", "number", "proposed_by", "hparams", "seed"},
    "trial_resumed": {"trial"},
    "epoch": {"trial", "row"},
    "trial_continued_as_control": {"trial", "rung"},
    "epoch_overdue": {"trial", "seconds", "median_s"},
    "window_closed": {"trial", *_WINDOW},
    "background_ended": _WINDOW,
    "devices_read": {"rows", "is_final"},
    "attempt_failed": {"trial", "failure", "will_retry"},
    "trial_moved": {"trial", "rung", "memory_mib", "reason"},
    "trial_ended": {"trial", "status", "cause", "message"},
    "gain_estimated": {"num_trials", "num_epochs", "expected_gain", "least_gain", "least_is"},
    "run_ended": {"reason"},
}
_ROW, _ENERGY, _SENSORS = (
    {each.name for each in fields(kind)} for kind in (EpochRow, EnergyReading, EnergySensors)
)
_ENERGY -= {"lag_s"}  # belongs to a live reading; a row has its own


class EventChecker:
    """Checks that each event may follow those before it, so that replaying code can rely on their form."""

    def __init__(self) -> None:
        self._trials: set[str] = set()

    def check(self, event: Mapping[str, Any], seq: int) -> None:
        """Check the next event of a journal, and remember its trial.

        Raises:
            BadLine: The event may not be there; the message says why.
        """
        kind = str(event.get("event"))
        # The first line names the schema and the run; a second such line means two journals in one file.
        if (kind == "journal_started") != (seq == 0):
            raise BadLine("begins the journal a second time" if seq else "does not begin a journal")
        if kind not in REQUIRED:
            raise BadLine(f"is an event of unknown kind ({kind!r}): a later version may have written it")
        if seq == 0 and event.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise BadLine(other_schema(event["schema"]))
        if missing := REQUIRED[kind] - event.keys():
            raise BadLine(f"({kind}) lacks {', '.join(sorted(missing))}")
        if "trial" in REQUIRED[kind]:
            self._check_trial(kind, event)
        if kind == "epoch":
            _check_row(event["row"])
        if kind == "session_started":
            _check_portfolio(event.get("portfolio", []))
        if event.keys() >= _WINDOW:
            _check_window(kind, event)

    def _check_trial(self, kind: str, event: Mapping[str, Any]) -> None:
        """Check that the event's trial was proposed before, or is proposed now with the next number.

        A trial's name becomes that of a folder below the run, so it must not lead out of the run.
        """
        trial = event["trial"]
        if not isinstance(trial, str) or not is_safe_name(trial):
            raise BadLine(f"names a trial {trial!r}, which cannot be a folder's name")
        if kind != "trial_asked":
            if trial not in self._trials:
                raise BadLine(f"({kind}) names {trial}, which no earlier line asks for")
            return
        if trial in self._trials:
            raise BadLine(f"asks for {trial} a second time")
        if event["number"] != len(self._trials):
            raise BadLine(f"asks for trial number {event['number']} where {len(self._trials)} is next")
        start_rung = event.get("start_rung", 0)
        if type(start_rung) is not int or start_rung < 0:
            raise BadLine(f"lets {trial} start at rung {start_rung!r}, which does not exist")
        self._trials.add(trial)


def _check_portfolio(points: object) -> None:
    """Check that each point of a portfolio has its values and their source."""
    parts = {"hparams": Mapping, "source": str}
    if not isinstance(points, list) or not all(
        isinstance(point, Mapping)
        and point.keys() == parts.keys()
        and all(isinstance(point[name], kind) for name, kind in parts.items())
        for point in points
    ):
        raise BadLine("(session_started) has no complete portfolio")


def _check_row(row: object) -> None:
    """Check that an epoch's row is complete, and has no field that this version does not know."""
    if not isinstance(row, Mapping) or not {"epoch", "rung", "metrics", "seconds"} <= row.keys():
        raise BadLine("(epoch) has no complete row")
    readings = {name: row.get(name, {}) for name in ("energy", "start_energy")}
    of_readings = [f"{name}.{part}" for name, parts in readings.items() for part in parts.keys() - _ENERGY]
    unknown = [*(row.keys() - _ROW), *of_readings]
    if unknown:
        raise BadLine(f"(epoch) has fields of another version: {', '.join(sorted(unknown))}")


def _check_window(kind: str, event: Mapping[str, Any]) -> None:
    """Check that the account of a window is complete, and has no field that this version does not know."""
    known = {
        "energy": _ENERGY,
        "start_energy": _ENERGY,
        "sensors": _SENSORS,
        "statistics": set(STATISTICS),
    }
    if not all(isinstance(event[name], Mapping) for name in known):
        raise BadLine(f"({kind}) has no complete account")
    unknown = [f"{name}.{part}" for name, parts in known.items() for part in event[name].keys() - parts]
    if unknown:
        raise BadLine(f"({kind}) has fields of another version: {', '.join(sorted(unknown))}")
