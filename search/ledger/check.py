"""Whether a run's record is whole: what `check.py` says of it, and how it is repaired."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from search.ledger.folder import Ledger
from search.ledger.journal_lines import Scan

_SET_ASIDE = "set-aside"


@dataclass
class RecordCheck:
    """What was found in one run's folder.

    Attributes:
        whole: What can be relied on.
        notes: What a kill left, and the next start mends by itself.
        problems: What cannot be relied on.
    """

    folder: Path
    whole: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_record(ledger: Ledger) -> RecordCheck:
    """Read the run's record, and change nothing."""
    check = RecordCheck(ledger.folder)
    _check_journal(ledger.scan(), check)
    if unknown := ledger.unknown_trials():
        check.problems.append(
            f"{len(unknown)} folders in trials/ are of trials that no whole line of the journal asks for: "
            + ", ".join(unknown)
        )
    return check


def repair_record(ledger: Ledger) -> list[str]:
    """Cut a damaged journal behind its last whole line and set aside what it does not know.

    Nothing is deleted: the journal as it was and the folders stay in the run's folder.

    Returns:
        What was done, a line each; empty where the record was whole.

    Raises:
        LedgerError: Another process has the run, nothing of its journal is whole, or the disk takes no more.
    """
    ledger.lock()
    try:
        done = []
        found = ledger.scan()
        if found.problem and not found.is_torn:
            copy, found = ledger.repair()
            done.append(f"cut the journal behind line {len(found.events)}; {copy.name} has what it was")
        done += [f"moved trials/{name} to {_SET_ASIDE}/" for name in _set_aside(ledger)]
        return done
    finally:
        ledger.unlock()


def _check_journal(found: Scan, check: RecordCheck) -> None:
    num_trials = sum(event["event"] == "trial_asked" for event in found.events)
    if found.events:
        last = found.events[-1]
        check.whole.append(
            f"journal: {len(found.events)} lines, up to {last['event']}"
            f"{' of ' + last['trial'] if 'trial' in last else ''}; {num_trials} trials"
        )
    number = found.chain.seq + 1
    if found.is_torn or not (found.events or found.rest):
        check.notes.append(f"journal: line {number} was cut short by a kill; the next start drops it")
    elif found.problem:
        following = f"; {found.num_following} lines follow it" if found.num_following else ""
        check.problems.append(f"journal: line {number} {found.problem}{following}")


def _set_aside(ledger: Ledger) -> list[str]:
    """Move the folders of trials that the journal does not know out of the way; gives their names."""
    unknown = ledger.unknown_trials()
    for name in unknown:
        target = ledger.folder / _SET_ASIDE / name
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{name}-{number}")
        target.parent.mkdir(exist_ok=True)
        (ledger.folder / "trials" / name).rename(target)
    return unknown
