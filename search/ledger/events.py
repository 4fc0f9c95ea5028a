"""The events of a journal: which exist, what each must have, and which may follow which. Pure.

Checksums prove that a line is the one that was written, not that this version understands it. A journal of a
later version may have a new kind of event, or a field that changes what the others mean; one that was edited
and sealed again may name a trial that was never asked for, or a path outside the run. Such a line is refused
where it is, with what is wrong with it, so that code that replays a journal needs no checks of its own and
computes nothing from half a line. A new kind of event or field is added here first.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from search.energy.reading import STATISTICS, EnergyReading, EnergySensors
from search.ledger.journal_lines import SCHEMA_VERSION, BadLine, other_schema
from search.trial import EpochRow
from search.trial.failure import Failure
from search.trial.rung_energy import RungEnergy
from trainables.core.files import is_safe_name

Kinds = Mapping[str, type | tuple[type, ...]]  # by field

_NUMBER = (int, float)
_SCORE = (int, float, str)  # text for a number that is not finite
_WINDOW: Kinds = {
    "window": str,
    "end": str,
    "seconds": _NUMBER,
    "energy": dict,
    "start_s": _NUMBER,
    "start_energy": dict,
    "sensors": dict,
    "statistics": dict,
}
_TRIAL: Kinds = {"trial": object}
REQUIRED: Mapping[str, Kinds] = {
    "journal_started": {"schema": object, "run": str},
    "session_started": {},
    "trial_asked": {**_TRIAL, "number": int, "proposed_by": str, "hparams": dict, "seed": int},
    "trial_resumed": _TRIAL,
    "epoch": {**_TRIAL, "row": dict},
    "trial_continued_as_control": {**_TRIAL, "rung": int},
    "epoch_overdue": {**_TRIAL, "seconds": _NUMBER, "median_s": _NUMBER},
    "window_closed": {**_TRIAL, **_WINDOW},
    "background_ended": _WINDOW,
    "devices_read": {"rows": list, "is_final": bool},
    "attempt_failed": {**_TRIAL, "failure": dict, "will_retry": bool},
    "trial_moved": {**_TRIAL, "rung": int, "memory_mib": (int, float, NoneType), "reason": str},
    "trial_ended": {**_TRIAL, "status": str, "cause": str, "message": str},
    "gain_estimated": {
        "num_trials": int,
        "num_epochs": int,
        "expected_gain": _NUMBER,
        "least_gain": _NUMBER,
        "least_is": str,
    },
    "run_ended": {"reason": str},
}
_OPTIONAL: Kinds = {
    "elapsed_s": _NUMBER,
    "parent_trial": str,
    "auto_precision": str,
    "batch_sizes": dict,
}


def _kinds_of(record: type) -> Kinds:
    """The kind of each field of a dataclass as the journal has it. A field of None is not written."""
    return {name: _kind_of(hint) for name, hint in get_type_hints(record).items()}


def _kind_of(hint: Any) -> type | tuple[type, ...]:
    """The kind of a type: a number, text or true and false are themselves, anything else is a mapping."""
    known = [each for each in get_args(hint) or (hint,) if each is not NoneType]
    if get_origin(hint) is Literal:
        return str
    plain: Mapping[Any, type | tuple[type, ...]] = {bool: bool, int: int, float: _NUMBER, str: str}
    return plain.get(known[0], dict) if len(known) == 1 else dict


_ROW, _FAILURE = _kinds_of(EpochRow), _kinds_of(Failure)
_VALUES: Kinds = {  # of the mappings, by the field that holds them
    "energy": int,
    "start_energy": int,
    "lag_s": _NUMBER,
    "metrics": _SCORE,
    "test": _SCORE,
    "measures": _SCORE,
    "notes": str,
    "sensors": str,
    "statistics": _NUMBER,
    "batch_sizes": str,
}
_ENERGY, _SENSORS, _USED = (
    {each.name for each in fields(kind)} for kind in (EnergyReading, EnergySensors, RungEnergy)
)
_ENERGY -= {"lag_s"}  # belongs to a live reading; a row has its own
_NAMES = {  # in the mappings whose fields are known
    "energy": _ENERGY,
    "start_energy": _ENERGY,
    "sensors": _SENSORS,
    "statistics": set(STATISTICS),
    "used": _USED,
}


_OF_EVENT: Mapping[str, Kinds] = {kind: {**_OPTIONAL, **required} for kind, required in REQUIRED.items()}


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
        if missing := REQUIRED[kind].keys() - event.keys():
            raise BadLine(f"({kind}) lacks {', '.join(sorted(missing))}")
        _check_names(kind, event)
        _check_kinds(kind, event, _OF_EVENT[kind])
        if "trial" in REQUIRED[kind]:
            self._check_trial(kind, event)
        if kind == "epoch":
            _check_row(event["row"])
        if kind == "session_started":
            _check_portfolio(event.get("portfolio", []))
        if kind == "attempt_failed":
            _check_failure(event["failure"])

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
    parts = {"hparams": dict, "source": str}
    if not isinstance(points, list) or not all(
        isinstance(point, Mapping)
        and point.keys() == parts.keys()
        and all(isinstance(point[name], kind) for name, kind in parts.items())
        for point in points
    ):
        raise BadLine("(session_started) has no complete portfolio")


def _check_row(row: Mapping[str, Any]) -> None:
    """Check that an epoch's row is complete, and has no field that this version does not know."""
    if not {"epoch", "rung", "metrics", "seconds"} <= row.keys():
        raise BadLine("(epoch) has no complete row")
    _check_names("epoch", row, known=_ROW)
    _check_kinds("epoch", row, _ROW)
    if row["epoch"] < 1 or row["rung"] < 0:
        raise BadLine(f"(epoch) is of epoch {row['epoch']} at rung {row['rung']}, which does not exist")


def _check_failure(failure: Mapping[str, Any]) -> None:
    if not {"cause", "message"} <= failure.keys():
        raise BadLine("(attempt_failed) has no complete failure")
    _check_names("attempt_failed", failure, known=_FAILURE)
    _check_kinds("attempt_failed", failure, _FAILURE)


def _check_kinds(kind: str, content: Mapping[str, Any], kinds: Kinds) -> None:
    """Check that each field has a value of the kind that replaying code computes with."""
    for name, value in content.items():
        if name not in kinds:
            continue
        of = _VALUES.get(name)
        is_right = _is(value, kinds[name])
        if is_right and of is not None:
            is_right = all(_is(each, of) for each in value.values())
        if not is_right:
            raise BadLine(f"({kind}) has a value of another kind: {name} is {value!r:.60}")


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    """Whether a value of JSON is of a kind. True and False are no numbers, and neither is what none can be
    computed with; the only texts of numbers are those that JSON has no number for."""
    own = type(value)  # JSON has no subclasses, and isinstance took longer
    if own is int or own is float:
        is_computable = abs(value) <= sys.float_info.max  # type: ignore[arg-type]
        return kind is object or (is_computable and (own is kind or (type(kind) is tuple and own in kind)))
    if own is str and kind is _SCORE:
        return value in ("nan", "inf", "-inf")
    return own is kind or kind is object or (type(kind) is tuple and own in kind)


def _check_names(kind: str, content: Mapping[str, Any], known: Kinds | None = None) -> None:
    """Check that neither the content nor a mapping in it has a field that this version does not know."""
    unknown = [] if known is None else list(content.keys() - known)
    for name, names in _NAMES.items():
        parts = content.get(name)  # of another kind than a mapping, that is the problem
        if isinstance(parts, dict) and (odd := parts.keys() - names):
            unknown += [f"{name}.{part}" for part in odd]
    if unknown:
        raise BadLine(f"({kind}) has fields of another version: {', '.join(sorted(unknown))}")
